//! The report as a page that needs nothing but itself: style, script and data are in it.
//!
//! Invariants: every text from the run is escaped, by the templates; the page stays small however long the run was (the
//! timeline is aggregated, tables are cut and say so).

use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, PreEscaped, html};

use super::figures::{Figures, Spread};
use super::html::{page, table, thousands};
use super::shrink::shrink;
use super::story;
use super::timeline::Timeline;
use super::{Property, Report, Verdict};
use crate::checker::{Checker, Findings};
use crate::history::{Event, Micros};

/// Findings that are shown with their operations, per property.
const FINDINGS_SHOWN: usize = 2;
/// Reasons why a property was not decided that are shown.
const UNDECIDED_SHOWN: usize = 5;
/// Windows without writes that are listed.
const WINDOWS_SHOWN: usize = 30;

/// The page.
pub(super) fn render(report: &Report, events: &[Event], checkers: &[Checker]) -> String {
    let verdict = report.verdict.word();
    let class = verdict.split(' ').next().unwrap_or_default().to_lowercase();
    let timeline = Timeline::new(report, events);
    let data = serde_json::to_string(&timeline).unwrap_or_default().replace("</", "<\\/");
    let title = format!("{} {}: {verdict}", report.scenario, report.seed);
    let body = html! {
        header class={ "banner " (class) } {
            h1 { (report.scenario) ": " (verdict) }
            p { (headline(report)) }
        }
        main {
            (facts(report))
            @if !report.shortcomings.is_empty() {
                h2 { "The run shows too little" }
                ul { @for why in &report.shortcomings { li { (why) } } }
            }
            (findings(report, events, checkers))
            (PreEscaped(include_str!("timeline.html")))
            (properties(&report.properties))
            (times(&report.figures))
            (faults(&report.figures))
            (windows(&report.figures))
            footer {
                "History " a href="history.jsonl" { "history.jsonl" } ", figures "
                a href="report.json" { "report.json" } ", logs in " code { "logs/" }
                ", as far as they were kept. Check again: " code { "raftshare-chaos check history.jsonl" }
                ". A seed constrains a run of real processes, it does not replay it."
            }
        }
        script type="application/json" id="data" { (PreEscaped(data)) }
        script { (PreEscaped(include_str!("timeline.js"))) }
    };
    page(&title, &body)
}

fn headline(report: &Report) -> String {
    match report.verdict {
        Verdict::Pass => "Every property was decided and held.".into(),
        Verdict::Violation => {
            let broken = report.properties.iter().filter(|property| property.findings.violations > 0);
            let words: Vec<&str> = broken.map(|property| property.property.as_str()).collect();
            format!("Broken: {}.", words.join("; "))
        }
        Verdict::Unknown => "Nothing was seen to break, but something could not be decided.".into(),
        Verdict::Invalid => "Too little happened, or the run was interrupted: it shows nothing.".into(),
        Verdict::Skipped => "This machine lacks what the scenario needs.".into(),
        Verdict::Harness => "The harness failed; nothing is said about the product.".into(),
    }
}

fn facts(report: &Report) -> Markup {
    let figures = &report.figures;
    let installed: usize = figures.faults.values().map(|tally| tally.installed).sum();
    let checks: u64 = report.properties.iter().map(|property| property.findings.checks).sum();
    let violations: u64 = report.properties.iter().map(|property| property.findings.violations).sum();
    let mut facts = vec![
        (report.rounds.to_string(), "rounds"),
        (long(figures.duration_us), "duration"),
        (thousands(figures.operations as u64), "operations"),
        (thousands(report.unknown as u64), "of unknown outcome"),
        (thousands(checks), "checks"),
        (thousands(violations), "violations"),
        (thousands(installed as u64), "faults and repairs"),
        (format!("{:.0}/s", figures.acknowledged_per_second), "acknowledged"),
    ];
    if figures.failover.count > 0 {
        facts.push((short(figures.failover.p50_us), "failover p50"));
        facts.push((short(figures.failover.p99_us), "failover p99"));
    }
    facts.push((short(figures.unavailable_us), "without writes, in all"));
    html! {
        div.facts { @for (value, name) in &facts { div.fact { b { (value) } span { (name) } } } }
        div.again { code id="command" { (report.command) } button id="copy" type="button" { "copy" } }
        p.dim {
            "Seed " (report.seed) ", " (report.nodes) " nodes, " (report.clients) " clients, version "
            (report.version) ", revision " code { (report.revision) } ", begun "
            time { (utc(report.started_at)) } " UTC."
        }
    }
}

fn findings(report: &Report, events: &[Event], checkers: &[Checker]) -> Markup {
    let broken: Vec<&Property> = report.properties.iter().filter(|property| property.findings.violations > 0).collect();
    html! {
        @if !broken.is_empty() { h2 { "What was violated" } }
        @for property in broken {
            h3 { (property.property) " " span.dim { "(" (property.name) ")" } }
            @let checker = checkers.iter().find(|checker| checker.name == property.name);
            @for finding in property.findings.first.iter().take(FINDINGS_SHOWN) {
                div.finding {
                    p { (finding.what) }
                    @if let Some(checker) = checker {
                        (story::tell(&shrink(events, checker, finding), finding))
                    }
                }
            }
            @let rest = property.findings.violations.saturating_sub(FINDINGS_SHOWN as u64);
            @if rest > 0 { p.dim { "and " (thousands(rest)) " more" } }
        }
    }
}

fn properties(properties: &[Property]) -> Markup {
    let verdict = |findings: &Findings| match () {
        () if findings.violations > 0 => ("bad", "violated"),
        () if !findings.undecided.is_empty() => ("maybe", "not decided"),
        () if findings.checks == 0 => ("maybe", "nothing was checked"),
        () => ("good", "holds"),
    };
    let rows = html! {
        @for Property { name, property, findings } in properties {
            @let (class, word) = verdict(findings);
            tr {
                th scope="row" {
                    (property) br; span.dim { code { (name) } }
                    @for why in findings.undecided.iter().take(UNDECIDED_SHOWN) { br; span.dim { (why) } }
                }
                td.n { (thousands(findings.checks)) }
                td.n { (thousands(findings.violations)) }
                td class=(class) { (word) }
            }
        }
    };
    html! {
        h2 { "Properties" }
        (table(&[("property", false), ("checks", true), ("violations", true), ("verdict", false)], &rows))
    }
}

fn times(figures: &Figures) -> Markup {
    let row = |name: &str, spread: &Spread| {
        html! {
            tr {
                th scope="row" { (name) }
                td.n { (thousands(spread.count as u64)) }
                @for us in [spread.p50_us, spread.p95_us, spread.p99_us, spread.max_us] { td.n { (short(us)) } }
            }
        }
    };
    let rows = html! {
        @if figures.failover.count > 0 { (row("from a fault to the next acknowledged write", &figures.failover)) }
        @for (kind, spread) in &figures.latency { (row(&format!("{kind}, acknowledged"), spread)) }
    };
    let headings = [("what", false), ("count", true), ("p50", true), ("p95", true), ("p99", true), ("max", true)];
    html! { h2 { "Times" } (table(&headings, &rows)) }
}

fn faults(figures: &Figures) -> Markup {
    let rows = html! {
        @for (name, tally) in &figures.faults {
            tr {
                th scope="row" { (name) }
                @for count in [tally.installed, tally.skipped, tally.indeterminate] { td.n { (count) } }
            }
        }
    };
    let headings = [("fault or repair", false), ("took effect", true), ("skipped", true), ("indeterminate", true)];
    html! { h2 { "Faults" } (table(&headings, &rows)) }
}

fn windows(figures: &Figures) -> Markup {
    let mut windows = figures.unavailable.clone();
    windows.sort_by_key(|window| std::cmp::Reverse(window.until - window.from));
    let rows = html! {
        @for window in windows.iter().take(WINDOWS_SHOWN) {
            tr {
                @for us in [window.until - window.from, window.from, window.until] { td.n { (short(us)) } }
                td { button type="button" data-from=(window.from) data-until=(window.until) { "show" } }
            }
        }
    };
    html! {
        @if !windows.is_empty() {
            h2 { "Spans without an acknowledged write" }
            p.dim {
                (windows.len()) " spans of 0.25 s and more, " (short(figures.unavailable_us))
                " in all; the longest first. Select one to see it in the timeline."
            }
            (table(&[("length", true), ("from", true), ("until", true), ("", false)], &rows))
        }
    }
}

fn short(us: Micros) -> String {
    match us {
        0..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn long(us: Micros) -> String {
    let seconds = us / 1_000_000;
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}

/// Date and time of seconds since 1970.
fn utc(seconds: u64) -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    time.replace('T', " ").trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::ALL;
    use crate::checker::sample::good;
    use crate::report::judge;

    #[test]
    fn a_page_is_self_contained_and_says_what_matters() {
        let sample = good();
        let page = render(&judge(&sample.model(), ALL, None), &sample.events(), ALL);
        for word in ["PASS", "raftshare-chaos run", "one holder per file", "from a fault to the next"] {
            assert!(page.contains(word), "{word}");
        }
        for outside in ["http://", "https://", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_violation_is_shown_with_its_operations_and_everything_is_escaped() {
        let mut sample = good();
        sample.grant((300, 301), "<a>", "f", 100, 10, 2).grant((350, 351), "b", "f", 100, 11, 2);
        let page = render(&judge(&sample.model(), ALL, None), &sample.events(), ALL);
        assert!(page.contains("What was violated") && page.contains("&lt;a&gt;"));
        assert!(!page.contains("<a>"), "a peer's name is text");
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(utc(1_795_254_786), "2026-11-21 09:53:06");
        assert_eq!(
            (short(1_500), short(520_000), short(1_230_000)),
            ("1.5 ms".into(), "520 ms".into(), "1.23 s".into())
        );
        assert_eq!((long(59_000_000), long(1_800_000_000)), ("59 s".into(), "30 min 00 s".into()));
        assert_eq!((thousands(999), thousands(1_234_567)), ("999".into(), "1,234,567".into()));
    }
}
