//! stub
use super::Report;
use crate::checker::Checker;
use crate::history::Event;
pub(super) fn render(_report: &Report, _events: &[Event], _checkers: &[Checker]) -> String {
    String::new()
}
