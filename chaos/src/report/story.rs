//! A small history told: a lane per client, and a table of its operations.
//!
//! Invariant: the operations of the finding are marked; of a long history only the end is shown, and that is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape;
use super::figures::kind;
use crate::checker::Finding;
use crate::history::{Answer, Event, Micros, Op};
use crate::model::{Model, Operation, Outcome, file_of, peer_of};

/// Operations that are shown.
const SHOWN_MAX: usize = 60;
/// Height of a lane, width of the names, width of the whole drawing.
const LANE: usize = 26;
const NAMES: f64 = 110.0;
const WIDTH: f64 = 960.0;

/// The events as a drawing and a table.
pub(super) fn tell(events: &[Event], finding: &Finding) -> String {
    let model = Model::new(events);
    let mut operations: Vec<&Operation> = model.operations.values().collect();
    operations.sort_by_key(|operation| (operation.invoked, operation.id));
    let mut text = String::new();
    if operations.is_empty() {
        return text;
    }
    let named = |operation: &Operation| finding.operations.contains(&operation.id);
    let left_out = operations.len().saturating_sub(SHOWN_MAX);
    if left_out > 0 {
        // The named ones stay, wherever they are.
        let (early, late) = operations.split_at(left_out);
        let kept: Vec<&Operation> =
            early.iter().copied().filter(|one| named(one)).chain(late.iter().copied()).collect();
        operations = kept;
        let _ = write!(text, "<p class=dim>{left_out} earlier operations, which led to that state, are left out.</p>");
    }
    drawing(&mut text, &operations, &named);
    table(&mut text, &operations, &named);
    text
}

fn drawing(text: &mut String, operations: &[&Operation], named: &dyn Fn(&Operation) -> bool) {
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
    let _ = write!(
        text,
        "<div class=scroll><svg viewBox=\"0 0 {WIDTH} {height}\" style=\"min-width:560px;width:100%\" role=img \
         aria-label=\"operations by client\">"
    );
    for (name, lane) in &lanes {
        let y = lane * LANE + 16;
        let _ = write!(
            text,
            "<text x=6 y={}>{}</text><line x1={NAMES} x2={WIDTH} y1={y} y2={y} stroke=\"var(--line)\"/>",
            y + 4,
            escape(name)
        );
    }
    for operation in operations {
        let y = lanes.get(who(operation)).copied().unwrap_or(0) * LANE + 8;
        let from = x(operation.invoked);
        let open = operation.completed.is_none();
        let until = if open { WIDTH - 8.0 } else { x(operation.end()) };
        let colour = if named(operation) { "var(--bad)" } else { "var(--ack)" };
        let dashes = if open { " stroke-dasharray=\"4 3\" fill-opacity=.12" } else { " fill-opacity=.35" };
        let _ = write!(
            text,
            "<rect x={from:.1} y={y} width={:.1} height=16 rx=3 fill=\"{colour}\" stroke=\"{colour}\"{dashes}><title>{}: {} \
             {}</title></rect>",
            (until - from).max(6.0),
            operation.id,
            escape(&asked(&operation.op)),
            escape(&answered(operation))
        );
    }
    let _ = write!(
        text,
        "<text x={NAMES} y={}>{:.3} s</text><text x={} y={} text-anchor=end>{:.3} s; moments in order, not to scale</text>\
         </svg></div>",
        height - 4,
        first as f64 / 1e6,
        WIDTH - 8.0,
        height - 4,
        last as f64 / 1e6
    );
}

fn table(text: &mut String, operations: &[&Operation], named: &dyn Fn(&Operation) -> bool) {
    text.push_str(
        "<details open><summary>operations</summary><div class=scroll><table><thead><tr><th class=n>id</th><th>client</th>\
         <th class=n>sent (s)</th><th class=n>answered (s)</th><th>asked</th><th>answer</th></tr></thead><tbody>",
    );
    for operation in operations {
        let class = if named(operation) { " class=shown" } else { "" };
        let answered_at = operation.completed.map_or("never".into(), |at| format!("{:.6}", at as f64 / 1e6));
        let _ = write!(
            text,
            "<tr{class}><td class=n>{}</td><td>{}</td><td class=n>{:.6}</td><td class=n>{answered_at}</td><td>{}</td>\
             <td>{}</td></tr>",
            operation.id,
            escape(who(operation)),
            operation.invoked as f64 / 1e6,
            escape(&asked(&operation.op)),
            escape(&answered(operation))
        );
    }
    text.push_str("</tbody></table></div></details>");
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
            format!("{} read of {file}{whom}{index}", crate::workload::level_text(*level))
        }
        Op::Search { level, node, min_index, .. } => {
            let level = level.map_or("default", crate::workload::level_text);
            let index = min_index.map(|index| format!(" from index {index} on")).unwrap_or_default();
            format!("{level} search for {file} at node {node}{index}")
        }
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
        Outcome::Ok(Answer::Found { version: 0 }, _) => "not found".into(),
        Outcome::Ok(Answer::Found { version }, _) => format!("found v{version}"),
        Outcome::Ok(Answer::File { version: 0, .. }, _) => "no such file".into(),
        Outcome::Ok(Answer::File { version, hash }, _) => format!("v{version} {}", brief(hash)),
    }
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
        let text = tell(&sample.events(), &finding);
        assert_eq!(text.matches("class=shown").count(), 1);
        assert!(text.contains("earlier operations"));
        assert!(text.matches("<tr").count() < SHOWN_MAX + 5);
    }
}
