//! The report as a page that needs nothing but itself: style, script and data are in it.
//!
//! Invariants: every text from the run is escaped; the page stays small however long the run was (the timeline is
//! aggregated, tables are cut and say so).

use std::fmt::Write as _;

use super::figures::Spread;
use super::shrink::shrink;
use super::story;
use super::timeline::Timeline;
use super::{Property, Report, STYLE, Verdict, escape};
use crate::checker::Checker;
use crate::history::{Event, Micros};

/// Findings that are shown with their operations, per property.
const FINDINGS_SHOWN: usize = 2;
/// Windows without writes that are listed.
const WINDOWS_SHOWN: usize = 30;

/// The page.
pub(super) fn render(report: &Report, events: &[Event], checkers: &[Checker]) -> String {
    let class = report.verdict.word().split(' ').next().unwrap_or_default().to_lowercase();
    let timeline = Timeline::new(report, events);
    let data = serde_json::to_string(&timeline).unwrap_or_default().replace("</", "<\\/");
    let mut body = String::new();
    let _ = write!(
        body,
        "<header class=\"banner {class}\"><h1>{}: {}</h1><p>{}</p></header><main>",
        escape(&report.scenario),
        report.verdict.word(),
        escape(&headline(report))
    );
    facts(&mut body, report);
    if !report.shortcomings.is_empty() {
        body.push_str("<h2>The run shows too little</h2><ul>");
        for why in &report.shortcomings {
            let _ = write!(body, "<li>{}</li>", escape(why));
        }
        body.push_str("</ul>");
    }
    findings(&mut body, report, events, checkers);
    body.push_str(include_str!("timeline.html"));
    properties(&mut body, &report.properties);
    figures(&mut body, report);
    windows(&mut body, report);
    let _ = write!(
        body,
        "<footer>History <a href=\"history.jsonl\">history.jsonl</a>, figures <a href=\"report.json\">report.json</a>, logs \
         in <code>logs/</code>, as far as they were kept. Check again: <code>raftshare-chaos check history.jsonl</code>. \
         A seed constrains a run of real processes, it does not replay it.</footer></main>"
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{} {}: {}</title>\n<style>{STYLE}</style>\n<body>{body}\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>{}</script>\n</body>\n</html>\n",
        escape(&report.scenario),
        report.seed,
        report.verdict.word(),
        include_str!("timeline.js")
    )
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

fn facts(body: &mut String, report: &Report) {
    let figures = &report.figures;
    let installed: usize = figures.faults.values().map(|tally| tally.installed).sum();
    let mut fact = |value: String, name: &str| {
        let _ = write!(body, "<div class=fact><b>{value}</b><span>{name}</span></div>");
    };
    let checks: u64 = report.properties.iter().map(|property| property.findings.checks).sum();
    let violations: u64 = report.properties.iter().map(|property| property.findings.violations).sum();
    fact(format!("{}", report.rounds), "rounds");
    fact(long(figures.duration_us), "duration");
    fact(thousands(figures.operations as u64), "operations");
    fact(thousands(report.unknown as u64), "of unknown outcome");
    fact(thousands(checks), "checks");
    fact(thousands(violations), "violations");
    fact(thousands(installed as u64), "faults and repairs");
    fact(format!("{:.0}/s", figures.acknowledged_per_second), "acknowledged");
    if figures.failover.count > 0 {
        fact(short(figures.failover.p50_us), "failover p50");
        fact(short(figures.failover.p99_us), "failover p99");
    }
    fact(short(figures.unavailable_us), "without writes, in all");
    let wrapped = std::mem::take(body).replacen("<div class=fact>", "<div class=facts><div class=fact>", 1);
    let _ = write!(
        body,
        "{wrapped}</div><div class=again><code id=command>{}</code><button id=copy type=button>copy</button></div>\
         <p class=dim>Seed {}, {} nodes, {} clients, version {}, revision <code>{}</code>, begun <time>{}</time> UTC.</p>",
        escape(&report.command),
        report.seed,
        report.nodes,
        report.clients,
        escape(&report.version),
        escape(&report.revision),
        utc(report.started_at)
    );
}

fn findings(body: &mut String, report: &Report, events: &[Event], checkers: &[Checker]) {
    let broken = || report.properties.iter().filter(|property| property.findings.violations > 0);
    if broken().next().is_none() {
        return;
    }
    body.push_str("<h2>What was violated</h2>");
    for property in broken() {
        let _ = write!(body, "<h3>{} <span class=dim>({})</span></h3>", escape(&property.property), property.name);
        let checker = checkers.iter().find(|checker| checker.name == property.name);
        for finding in property.findings.first.iter().take(FINDINGS_SHOWN) {
            let _ = write!(body, "<div class=finding><p>{}</p>", escape(&finding.what));
            if let Some(checker) = checker {
                body.push_str(&story::tell(&shrink(events, checker, finding), finding));
            }
            body.push_str("</div>");
        }
        let rest = property.findings.violations.saturating_sub(FINDINGS_SHOWN as u64);
        if rest > 0 {
            let _ = write!(body, "<p class=dim>and {} more</p>", thousands(rest));
        }
    }
}

fn properties(body: &mut String, properties: &[Property]) {
    body.push_str(
        "<h2>Properties</h2><div class=scroll><table><thead><tr><th>property</th><th class=n>checks</th>\
         <th class=n>violations</th><th>verdict</th></tr></thead><tbody>",
    );
    for property in properties {
        let findings = &property.findings;
        let (class, word) = match () {
            () if findings.violations > 0 => ("bad", "violated"),
            () if !findings.undecided.is_empty() => ("maybe", "not decided"),
            () if findings.checks == 0 => ("maybe", "nothing was checked"),
            () => ("good", "holds"),
        };
        let undecided: String = findings
            .undecided
            .iter()
            .take(5)
            .map(|why| format!("<br><span class=dim>{}</span>", escape(why)))
            .collect();
        let _ = write!(
            body,
            "<tr><th scope=row>{}<br><span class=dim><code>{}</code></span>{undecided}</th><td class=n>{}</td>\
             <td class=n>{}</td><td class={class}>{word}</td></tr>",
            escape(&property.property),
            escape(&property.name),
            thousands(findings.checks),
            thousands(findings.violations),
        );
    }
    body.push_str("</tbody></table></div>");
}

fn figures(body: &mut String, report: &Report) {
    let figures = &report.figures;
    body.push_str(
        "<h2>Times</h2><div class=scroll><table><thead><tr><th>what</th><th class=n>count</th><th class=n>p50</th>\
         <th class=n>p95</th><th class=n>p99</th><th class=n>max</th></tr></thead><tbody>",
    );
    let mut row = |name: &str, spread: &Spread| {
        let _ = write!(
            body,
            "<tr><th scope=row>{}</th><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td>\
             <td class=n>{}</td></tr>",
            escape(name),
            thousands(spread.count as u64),
            short(spread.p50_us),
            short(spread.p95_us),
            short(spread.p99_us),
            short(spread.max_us)
        );
    };
    if figures.failover.count > 0 {
        row("from a fault to the next acknowledged write", &figures.failover);
    }
    for (kind, spread) in &figures.latency {
        row(&format!("{kind}, acknowledged"), spread);
    }
    body.push_str(
        "</tbody></table></div><h2>Faults</h2><div class=scroll><table><thead><tr><th>fault or repair</th>\
         <th class=n>took effect</th><th class=n>skipped</th><th class=n>indeterminate</th></tr></thead><tbody>",
    );
    for (name, tally) in &figures.faults {
        let _ = write!(
            body,
            "<tr><th scope=row>{}</th><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td></tr>",
            escape(name),
            tally.installed,
            tally.skipped,
            tally.indeterminate
        );
    }
    body.push_str("</tbody></table></div>");
}

fn windows(body: &mut String, report: &Report) {
    let mut windows = report.figures.unavailable.clone();
    if windows.is_empty() {
        return;
    }
    windows.sort_by_key(|window| std::cmp::Reverse(window.until - window.from));
    let _ = write!(
        body,
        "<h2>Spans without an acknowledged write</h2><p class=dim>{} spans of 0.25 s and more, {} in all; the longest first. \
         Select one to see it in the timeline.</p><div class=scroll><table><thead><tr><th class=n>length</th>\
         <th class=n>from</th><th class=n>until</th><th></th></tr></thead><tbody>",
        windows.len(),
        short(report.figures.unavailable_us)
    );
    for window in windows.iter().take(WINDOWS_SHOWN) {
        let _ = write!(
            body,
            "<tr><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td><button type=button data-from={} \
             data-until={}>show</button></td></tr>",
            short(window.until - window.from),
            short(window.from),
            short(window.until),
            window.from,
            window.until
        );
    }
    body.push_str("</tbody></table></div>");
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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

/// Date and time of seconds since 1970 (the civil calendar from day numbers, by Howard Hinnant).
fn utc(seconds: u64) -> String {
    let (days, rest) = (i64::try_from(seconds / 86_400).unwrap_or(0) + 719_468, seconds % 86_400);
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
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
