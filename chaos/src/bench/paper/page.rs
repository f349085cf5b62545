//! The evaluation as one page that needs nothing but itself.
//!
//! Invariants: every text is escaped, by the templates; a published figure never stands without the place in the report
//! that it is from, and both machines are named before the first of them.

use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, PreEscaped, html};

use super::{Check, Evaluation, Loads};
use crate::bench::chart::{STYLE, number};
use crate::bench::load::{Summary, Wire};
use crate::bench::point::Point;
use crate::bench::sweep::Sweep;
use crate::bench::{Figure, original};
use crate::report::html::{page, table, thousands};

/// Placement of the charts.
const PLOTS: &str = ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,560px),1fr));gap:12px;\
    margin-top:12px}.plots .plot{width:100%;height:auto;border:1px solid var(--line);border-radius:8px}\
    .plots+h3{margin-top:28px}.once{white-space:nowrap}";

/// The page.
pub(super) fn render(evaluation: &Evaluation) -> String {
    let (failed, all) = (evaluation.failed(), evaluation.checks.len());
    let class = if failed == 0 && all > 0 { "pass" } else { "violation" };
    let title = format!("The report's evaluation: {} of {all} checks pass", all - failed);
    let body = html! {
        style { (PreEscaped(STYLE)) (PreEscaped(PLOTS)) }
        header class={ "banner " (class) } {
            h1 { (title) }
            p {
                "Napster-with-Replication was published with an evaluation. This is the same evaluation of raftshare "
                (evaluation.revision) ", on real index nodes and peers."
                @if evaluation.quick { " It is the short form: its figures only show that it runs." }
            }
        }
        main {
            (facts(evaluation))
            (machines(evaluation))
            @if !evaluation.figures.is_empty() { (figures(&evaluation.figures)) }
            @for loads in &evaluation.loads { (scalability(loads)) }
            (checks(&evaluation.checks))
            footer {
                p { "Measured on " (date(evaluation.at)) " by " code { (evaluation.command.join(" ")) } }
                @for note in &evaluation.notes { p { (note) } }
            }
        }
    };
    page(&title, &body)
}

/// A wire format in words.
pub(super) fn wire_words(wire: Wire) -> &'static str {
    match wire {
        Wire::Native => "scalability over today's API",
        Wire::V0 => "scalability over /v0, the original's wire format",
    }
}

fn date(at: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at))
}

fn facts(evaluation: &Evaluation) -> Markup {
    let (ahead, compared) = evaluation.ahead();
    let points: Vec<&Point> = evaluation.loads.iter().flat_map(|loads| &loads.sweep.points).collect();
    let best = points.iter().max_by(|one, other| one.per_second.total_cmp(&other.per_second));
    let failed: u64 = points.iter().map(|point| point.total.failed).sum();
    let fact = |value: String, what: &str| html! { div.fact { b { (value) } span { (what) } } };
    html! {
        div.facts {
            (fact(format!("{} / {}", evaluation.checks.len() - evaluation.failed(), evaluation.checks.len()), "checks pass"))
            @if compared > 0 { (fact(format!("{ahead} / {compared}"), "core figures ahead of the published ones")) }
            @if let Some(best) = best {
                (fact(thousands(best.per_second as u64), &format!("operations/s at best, by {} peers", best.peers)))
                (fact(thousands(failed), "requests failed under load"))
            }
        }
    }
}

fn machines(evaluation: &Evaluation) -> Markup {
    let rows = html! {
        tr { th { "published" } td { (original::SYSTEM) } td { (original::MACHINE) } }
        tr {
            th { "ours" }
            td { "three index nodes with consensus; every acknowledged write is on the disks of a majority" }
            td { (evaluation.machine.text()) "; nodes, peers and the load generator share it" }
        }
    };
    html! {
        h2 { "Where the columns come from" }
        (table(&[("column", false), ("what ran", false), ("on which machine", false)], &rows))
        p.dim {
            "The machines differ, so a ratio of the two says how far apart the figures are, not how much of that the "
            "software makes. Only the checks decide about success."
        }
    }
}

/// Where the report states a figure, and how it words it.
fn published(figure: &Figure) -> (&'static str, &'static str) {
    match figure.name.as_str() {
        "convergence" => ("Table 1", "replication convergence"),
        "read-leader-dead" => ("Table 1", "failover recovery time"),
        "cycle" => ("Table 1", "write latency (lease + announce)"),
        "freshness" => ("§2.2.2", "window in which the shadow is stale"),
        "failover" => ("§2.1.1", "failover of writes, which the original did not have"),
        _ => ("", ""),
    }
}

fn original_text(figure: &Figure) -> String {
    // Of the shadow's lag only a bound is published.
    let bound = if figure.name == "freshness" { "< " } else { "" };
    figure.original.map_or("–".into(), |value| format!("{bound}{value} {}", figure.unit))
}

fn figures(figures: &[Figure]) -> Markup {
    let ms = |value: Option<f64>| value.map_or("–".into(), |value| format!("{} ms", number(value)));
    let rows = html! {
        @for figure in figures {
            @let (place, words) = published(figure);
            tr {
                th { @if words.is_empty() { (figure.what) } @else { (words) } div.dim { (figure.what) } }
                td.n { (original_text(figure)) }
                td.dim { (place) }
                td.n { (number(figure.value)) " " (figure.unit) }
                td.n { (ms(figure.p99_ms)) }
                td.n { (thousands(figure.samples as u64)) }
                td.n { (figure.errors) }
                td.once { (ratio(figure.original, figure.value)) }
            }
        }
    };
    let headings = [
        ("figure", false),
        ("published", true),
        ("in the report", false),
        ("ours, median", true),
        ("99th percentile", true),
        ("samples", true),
        ("errors", true),
        ("compared", false),
    ];
    html! {
        h2 { "Core figures" }
        (table(&headings, &rows))
    }
}

/// How two times compare.
fn ratio(original: Option<f64>, ours: f64) -> Markup {
    html! {
        @match original {
            Some(original) if ours > 0.0 && ours <= original => span.good { (number(original / ours)) " times as fast" },
            Some(original) if original > 0.0 => span.maybe { (number(ours / original)) " times as slow" },
            _ => span.dim { "–" },
        }
    }
}

fn scalability(loads: &Loads) -> Markup {
    let title = wire_words(loads.wire);
    let (first, rest) = title.split_at(1);
    html! {
        h2 { (first.to_uppercase()) (rest) }
        (points(&loads.sweep))
        div.plots { @for (_, chart) in loads.sweep.charts() { (chart.inline()) } }
        @if !loads.at_published_rates.is_empty() {
            h3 { "At the rates that the original was published to reach" }
            (at_published_rates(&loads.at_published_rates))
            p.dim {
                "Above, the peers ask as fast as they are answered, so latencies are those of a machine at its limit. "
                "Here they ask for as many operations a second as the original served. For a search the report has 2 to "
                "4 ms (§8.2.2), and the slides have " (number(original::SEARCH_MS)) " ms; neither says with how many peers."
            }
        }
    }
}

fn points(sweep: &Sweep) -> Markup {
    let rows = html! {
        @for point in &sweep.points {
            @let published = original::at(point.peers);
            tr {
                th.n { (thousands(point.peers)) }
                td.n { (published.map_or("–".into(), |(rate, _)| format!("{rate} /s"))) }
                td.n { (thousands(point.per_second as u64)) " /s" }
                td.n { (published.map_or("–".into(), |(_, ms)| format!("{ms} ms"))) }
                td.n { (latency(point.by_kind.get("register"))) }
                td.n { (latency(point.by_kind.get("search"))) }
                td.n { (format!("{:.2} %", point.error_rate * 100.0)) }
                td { (leader_note(point)) }
            }
        }
    };
    let headings = [
        ("peers", true),
        ("published", true),
        ("ours", true),
        ("published register", true),
        ("ours: register mean / p99", true),
        ("ours: search mean / p99", true),
        ("ours: failed", true),
        ("", false),
    ];
    table(&headings, &rows)
}

fn at_published_rates(sweeps: &[Sweep]) -> Markup {
    let rows = html! {
        @for (sweep, point) in sweeps.iter().flat_map(|sweep| sweep.points.iter().map(move |point| (sweep, point))) {
            @let published = original::at(point.peers).map(|(_, ms)| ms);
            @let register = point.by_kind.get("register");
            tr {
                th.n { (thousands(point.peers)) }
                td.n { (number(sweep.rate.unwrap_or_default())) " /s" }
                td.n { (published.map_or("–".into(), |ms| format!("{ms} ms"))) }
                td.n { (latency(register)) }
                td.once { (ratio(published, register.map_or(0.0, |summary| summary.mean_ms))) }
                td.n { (latency(point.by_kind.get("search"))) }
                td.n { (thousands(point.total.done)) }
                td.n { (point.total.failed) }
                td { (leader_note(point)) }
            }
        }
    };
    let headings = [
        ("peers", true),
        ("operations", true),
        ("published register", true),
        ("ours: register mean / p99", true),
        ("compared", false),
        ("ours: search mean / p99", true),
        ("samples", true),
        ("errors", true),
        ("", false),
    ];
    table(&headings, &rows)
}

/// Part of the time nobody served: a latency from such a run says little.
fn leader_note(point: &Point) -> Markup {
    html! { @if point.leader_changed { span.maybe { "the leader changed" } } }
}

fn latency(summary: Option<&Summary>) -> String {
    let done = summary.filter(|summary| summary.done > 0);
    done.map_or("–".into(), |summary| format!("{} / {} ms", number(summary.mean_ms), number(summary.p99_ms)))
}

fn checks(checks: &[Check]) -> Markup {
    let rows = html! {
        @for (index, check) in checks.iter().enumerate() {
            @let first = index == 0 || checks[index - 1].scenario != check.scenario;
            tr.shown[!check.pass] {
                th { @if first { (check.scenario) } }
                td { (check.what) }
                td.dim { (check.source) }
                td { (check.expected) }
                td { (check.ours) }
                td { @if check.pass { span.good { "pass" } } @else { span.bad { "FAIL" } } }
            }
        }
    };
    let headings = [
        ("scenario", false),
        ("check", false),
        ("in the report", false),
        ("expected", false),
        ("ours", false),
        ("", false),
    ];
    html! {
        h2 { "Checks" }
        (table(&headings, &rows))
        p.dim { "Rows that say “ours” are about what the original could not do." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pass: bool) -> Check {
        let (scenario, what, source) = ("core flows", "a <b> & c".to_owned(), "§7.3");
        Check { scenario, what, source, expected: "1".into(), ours: "2".into(), pass }
    }

    fn evaluation() -> Evaluation {
        let figures = vec![
            Figure::of("cycle", "lease + announce", 2.2, "ms").with_original(original::CYCLE_MS),
            Figure::of("failover", "kill -9 until a write", 16.0, "ms"),
        ];
        Evaluation { figures, checks: vec![check(true), check(false)], ..Evaluation::new(true) }
    }

    #[test]
    fn a_failed_check_makes_the_banner_and_texts_are_escaped() {
        let page = render(&evaluation());
        for words in ["1 of 2 checks pass", "banner violation", "a &lt;b&gt; &amp; c", "FAIL", "4 times as fast"] {
            assert!(page.contains(words), "{words}");
        }
        let checks = vec![check(true)];
        assert!(render(&Evaluation { checks, ..evaluation() }).contains("banner pass"));
        assert!(render(&Evaluation { checks: Vec::new(), ..evaluation() }).contains("banner violation"));
    }

    #[test]
    fn both_machines_are_named_before_the_first_figure() {
        let page = render(&evaluation());
        let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
        let figures = at("Core figures");
        assert!(at(original::MACHINE) < figures && at(&Evaluation::new(true).machine.cpu) < figures);
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = render(&evaluation());
        for word in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn slower_is_said_as_plainly_as_faster() {
        assert!(ratio(Some(8.0), 2.0).into_string().contains("4 times as fast"));
        assert!(ratio(Some(8.0), 24.0).into_string().contains("3 times as slow"));
        assert!(!ratio(None, 24.0).into_string().contains("times"));
    }
}
