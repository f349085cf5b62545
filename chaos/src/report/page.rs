//! The report as a page.

use super::Report;
use super::shrink::shrink;
use super::timeline::Timeline;
use crate::checker::Checker;
use crate::history::Event;

/// The page.
pub(super) fn render(report: &Report, events: &[Event], checkers: &[Checker]) -> String {
    let timeline = serde_json::to_string(&Timeline::new(report, events)).unwrap_or_default();
    let shown = report.properties.iter().flat_map(|property| {
        let checker = checkers.iter().find(|checker| checker.name == property.name);
        let finding = property.findings.first.first();
        checker.zip(finding).map(|(checker, finding)| (finding, shrink(events, checker, finding)))
    });
    let findings: Vec<String> = shown.map(|(finding, events)| format!("{} ({})", finding.what, events.len())).collect();
    format!("<!doctype html><title>{}</title><pre>{findings:?}</pre><script>{timeline}</script>", report.scenario)
}
