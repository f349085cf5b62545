//! A small history told: a lane per client, and a table of its operations.
//!
//! Invariant: the operations of the finding are marked; of a long history only the end is shown, and that is said.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::figures::kind;
use super::html::table;
use crate::checker::Finding;
use crate::history::{Action, Answer, Attributes, Branch, Change, Condition, Event, Micros, Op, Txn};
use crate::model::{Model, Operation, Outcome, file_of, peer_of};
use crate::workload::level_text;

/// Operations that are shown.
const SHOWN_MAX: usize = 60;
/// Height of a lane, width of the names, width of the whole drawing.
const LANE: usize = 26;
const NAMES: f64 = 110.0;
const WIDTH: f64 = 960.0;

/// The events as a drawing and a table.
pub(super) fn tell(events: &[Event], finding: &Finding) -> Markup {
    let model = Model::new(events);
    let mut operations: Vec<&Operation> = model.operations.values().collect();
    operations.sort_by_key(|operation| (operation.invoked, operation.id));
    if operations.is_empty() {
        return Markup::default();
    }
    let named = |operation: &Operation| finding.operations.contains(&operation.id);
    let left_out = operations.len().saturating_sub(SHOWN_MAX);
    // The named ones stay, wherever they are.
    let late = operations.split_off(left_out);
    operations.retain(|operation| named(operation));
    operations.extend(late);
    html! {
        @if left_out > 0 { p.dim { (left_out) " earlier operations, which led to that state, are left out." } }
        (drawing(&operations, &named))
        details open { summary { "operations" } (operations_table(&operations, &named)) }
    }
}

fn drawing(operations: &[&Operation], named: &dyn Fn(&Operation) -> bool) -> Markup {
    let mut lanes: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        let next = lanes.len();
        lanes.entry(who(operation)).or_insert(next);
    }
    let first = operations.iter().map(|operation| operation.invoked).min().unwrap_or(0);
    let ends = operations.iter().filter_map(|operation| operation.completed);
    let last = ends.chain(operations.iter().map(|operation| operation.invoked)).max().unwrap_or(1);
    // Real time leaves most of the drawing empty; the order of the moments is what counts.
    let mut moments: Vec<Micros> =
        operations.iter().flat_map(|operation| [operation.invoked, operation.end().min(last)]).collect();
    moments.sort_unstable();
    moments.dedup();
    let step = (WIDTH - NAMES - 20.0) / moments.len().max(2) as f64;
    let x = |at: Micros| NAMES + step * moments.partition_point(|&moment| moment < at) as f64;
    let height = lanes.len() * LANE + 22;
    let bar = |operation: &Operation| {
        let y = lanes.get(who(operation)).copied().unwrap_or(0) * LANE + 8;
        let (from, open) = (x(operation.invoked), operation.completed.is_none());
        let until = if open { WIDTH - 8.0 } else { x(operation.end()) };
        let (from, width) = (format!("{from:.1}"), format!("{:.1}", (until - from).max(6.0)));
        let colour = if named(operation) { "var(--bad)" } else { "var(--ack)" };
        let (dashes, opacity) = if open { (Some("4 3"), ".12") } else { (None, ".35") };
        html! {
            rect x=(from) y=(y) width=(width) height="16" rx="3" fill=(colour) stroke=(colour)
                stroke-dasharray=[dashes] fill-opacity=(opacity) {
                title { (operation.id) ": " (asked(&operation.op)) " " (answered(operation)) }
            }
        }
    };
    html! {
        div.scroll {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } style="min-width:560px;width:100%" role="img"
                aria-label="operations by client" {
                @for (name, lane) in &lanes {
                    @let y = lane * LANE + 16;
                    text x="6" y=(y + 4) { (name) }
                    line x1=(NAMES) x2=(WIDTH) y1=(y) y2=(y) stroke="var(--line)" {}
                }
                @for operation in operations { (bar(operation)) }
                text x=(NAMES) y=(height - 4) { (seconds(first, 3)) " s" }
                text x=(WIDTH - 8.0) y=(height - 4) text-anchor="end" {
                    (seconds(last, 3)) " s; moments in order, not to scale"
                }
            }
        }
    }
}

fn operations_table(operations: &[&Operation], named: &dyn Fn(&Operation) -> bool) -> Markup {
    let rows = html! {
        @for operation in operations {
            tr.shown[named(operation)] {
                td.n { (operation.id) }
                td { (who(operation)) }
                td.n { (seconds(operation.invoked, 6)) }
                td.n { (operation.completed.map_or("never".into(), |at| seconds(at, 6))) }
                td { (asked(&operation.op)) }
                td { (answered(operation)) }
            }
        }
    };
    let (sent, answered) = (("sent (s)", true), ("answered (s)", true));
    table(&[("id", true), ("client", false), sent, answered, ("asked", false), ("answer", false)], &rows)
}

fn seconds(at: Micros, digits: usize) -> String {
    format!("{:.digits$}", at as f64 / 1e6)
}

fn who(operation: &Operation) -> &str {
    peer_of(&operation.op).unwrap_or(&operation.client)
}

/// The operation in words.
fn asked(op: &Op) -> String {
    let file = file_of(op).unwrap_or_default();
    match op {
        Op::Acquire { ttl_ms, .. } => format!("{} {file} for {ttl_ms} ms", kind(op)),
        Op::Renew { fence, ttl_ms, .. } => format!("renew {file}, fence {fence}, for {ttl_ms} ms"),
        Op::Release { fence, .. } => format!("release {file}, fence {fence}"),
        Op::Publish { fence, version, hash, keep, .. } => {
            let under = fence.map_or("no lease".to_owned(), |fence| format!("fence {fence}"));
            let named = version.map(|version| format!(" as v{version}")).unwrap_or_default();
            let kept = if *keep { ", keeping the lease" } else { "" };
            format!("publish {file}{named} {} under {under}{kept}", brief(hash))
        }
        Op::Read { level, node, min_index, .. } => {
            let whom = node.map(|node| format!(" at node {node}")).unwrap_or_default();
            let index = min_index.map(|index| format!(" from index {index} on")).unwrap_or_default();
            format!("{} read of {file}{whom}{index}", level_text(*level))
        }
        Op::Search { level, node, min_index, .. } => {
            let level = level.map_or("default", level_text);
            let index = min_index.map(|index| format!(" from index {index} on")).unwrap_or_default();
            format!("{level} search for {file} at node {node}{index}")
        }
        Op::Txn(txn) => transaction(txn),
        Op::ReadAttributes { name, level, node, min_index } => {
            let index = min_index.map(|index| format!(" from index {index} on")).unwrap_or_default();
            format!("{} read of the attributes of {name} at node {node}{index}", level_text(*level))
        }
        Op::LookUp { txn, level, node } => format!("{} look-up of {txn} at node {node}", level_text(*level)),
        Op::Register { .. } | Op::Leave { .. } => format!("{} {file}", kind(op)),
    }
}

fn answered(operation: &Operation) -> String {
    match &operation.outcome {
        Outcome::Unknown => "unknown".into(),
        Outcome::Refused(code) => format!("refused: {code}"),
        Outcome::Ok(Answer::Done, _) => "done".into(),
        Outcome::Ok(Answer::Granted { fence, ttl_ms, version, .. }, _) => {
            format!("granted: fence {fence}, {ttl_ms} ms left, v{version}")
        }
        Outcome::Ok(Answer::Denied { holder, position }, _) => {
            let place = position.map(|position| format!(", place {position} in line")).unwrap_or_default();
            format!("denied: {holder} has it{place}")
        }
        Outcome::Ok(Answer::Published { version }, _) => format!("v{version}"),
        Outcome::Ok(Answer::Applied { branch, txn, names }, _) => {
            let branch = if *branch == Branch::Then { "then" } else { "else" };
            let names = names.iter().map(|after| format!("{} {}", after.name, attributes(&after.attributes)));
            format!("{txn}, {branch}: {}", names.collect::<Vec<_>>().join("; "))
        }
        Outcome::Ok(Answer::Forgotten, _) => "nothing is known of it".into(),
        Outcome::Ok(Answer::Attributes { attributes: seen, .. }, _) => attributes(seen),
        Outcome::Ok(Answer::Found { version: 0 }, _) => "not found".into(),
        Outcome::Ok(Answer::Found { version }, _) => format!("found v{version}"),
        Outcome::Ok(Answer::File { version: 0, .. }, _) => "no such file".into(),
        Outcome::Ok(Answer::File { version, hash }, _) => format!("v{version} {}", brief(hash)),
    }
}

/// A transaction in words.
fn transaction(txn: &Txn) -> String {
    let conditions = txn.conditions.iter().map(|condition| match condition {
        Condition::Exists { name, exists: true } => format!("{name} exists"),
        Condition::Exists { name, exists: false } => format!("{name} does not exist"),
        Condition::Version { name, version } => format!("{name} is at v{version}"),
        Condition::Attribute { name, attr, is, value } => format!("{name} {attr} {} {value}", is.sign()),
        Condition::Lease { name, fence } => format!("{name} is leased under fence {fence}"),
    });
    let conditions = conditions.collect::<Vec<_>>().join(" and ");
    let (then, otherwise) = (changes(&txn.then), changes(&txn.otherwise));
    if conditions.is_empty() { then } else { format!("if {conditions}: {then}; else: {otherwise}") }
}

fn changes(changes: &[Change]) -> String {
    let words = changes.iter().map(|Change { name, action, fence }| {
        let under = fence.map(|fence| format!(" under fence {fence}")).unwrap_or_default();
        match action {
            Action::Set { attr, value } => format!("{name} {attr} = {value}{under}"),
            Action::Add { attr, by, min, max } => {
                let least = min.map(|min| format!(" (at least {min})")).unwrap_or_default();
                let most = max.map(|max| format!(" (at most {max})")).unwrap_or_default();
                format!("{name} {attr} {by:+}{least}{most}{under}")
            }
            Action::Unset { attr } => format!("{name} without {attr}{under}"),
            Action::Delete => format!("delete {name}{under}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

fn attributes(attributes: &Attributes) -> String {
    let words = attributes.iter().map(|(attr, value)| format!("{attr} {value}"));
    format!("{{{}}}", words.collect::<Vec<_>>().join(", "))
}

fn brief(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::sample::good;

    #[test]
    fn the_findings_operations_are_marked_and_the_rest_is_cut() {
        let mut sample = good();
        for at in 300..400 {
            sample.read((at, at + 1), "f", 2, "h2");
        }
        let finding = Finding { what: "x".into(), operations: vec![3] };
        let text = tell(&sample.events(), &finding).into_string();
        assert_eq!(text.matches("class=\"shown\"").count(), 1);
        assert!(text.contains("earlier operations"));
        assert!(text.matches("<tr").count() < SHOWN_MAX + 5);
    }
}
