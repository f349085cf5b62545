//! Rules about the form of a file: widths, titles, openings, lengths.

use super::tree::{Finding, prose};

/// Columns of a line of comment or prose. Rustfmt keeps code to the same.
const COLUMNS: usize = 120;
/// Lines of a file. Most have 100 to 350.
const LINES: usize = 500;
/// Longer files, each with what makes it hard to read in parts.
const LONG: [(&str, &str); 1] =
    [("docs/api.md", "a reference: one table for each endpoint, in the order of the contract")];

fn is_wide(line: &str) -> bool {
    line.chars().count() > COLUMNS
}

fn width(index: usize, line: &str) -> Finding {
    Finding::new(index, format!("{} columns, not {COLUMNS}", line.chars().count()))
}

/// Comments, which begin with a mark. Strings and commands may be as wide as what they say.
pub(crate) fn wide_comments(text: &str, mark: &str) -> Vec<Finding> {
    let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(mark));
    comments.filter(|(_, line)| is_wide(line)).map(|(index, line)| width(index, line)).collect()
}

/// Markdown outside of code blocks and tables.
pub(crate) fn wide_prose(text: &str) -> Vec<Finding> {
    let lines = prose(text).filter(|(_, line)| !line.starts_with('|') && is_wide(line));
    lines.map(|(index, line)| width(index, line)).collect()
}

/// A document opens with its title and has no second one.
pub(crate) fn titles(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if !text.starts_with("# ") {
        found.push(Finding::new(0, "does not open with a title, `# …`"));
    }
    let others = prose(text).skip(1).filter(|(_, line)| line.starts_with("# "));
    found.extend(others.map(|(index, _)| Finding::new(index, "a second title")));
    found
}

/// A source opens with what it is for.
pub(crate) fn opening(text: &str) -> Vec<Finding> {
    if text.starts_with("//! ") { Vec::new() } else { vec![Finding::new(0, "does not open with `//!`")] }
}

/// Files beyond the limit that have no reason for it, and reasons that are no longer needed.
pub(crate) fn too_long<'a>(files: impl Iterator<Item = (&'a str, usize)>) -> Vec<String> {
    let excused = |file: &str| LONG.iter().any(|(name, _)| *name == file);
    files
        .filter(|&(file, lines)| (lines > LINES) != excused(file))
        .map(|(file, lines)| format!("{file}: {lines} lines, and the limit is {LINES}; correct it or the exceptions"))
        .collect()
}

/// Lines of one list that another one has to repeat and does not.
pub(crate) fn lines_left_out(common: &str, stricter: &str) -> Vec<String> {
    let entries = common.lines().filter(|line| line.trim_start().starts_with('{'));
    entries.filter(|entry| !stricter.lines().any(|line| line == *entry)).map(str::to_owned).collect()
}

#[test]
fn a_wide_comment_is_found() {
    let wide = "x".repeat(COLUMNS);
    assert_eq!(
        wide_comments(&format!("let a = \"{wide}\";\n    // {wide}"), "//"),
        [Finding::new(1, "127 columns, not 120")]
    );
    assert_eq!(wide_comments(&format!("// {}", "ü".repeat(117)), "//"), [], "columns are characters");
}

#[test]
fn wide_prose_is_found_outside_of_tables_and_code() {
    let wide = "x".repeat(COLUMNS + 1);
    let text = format!("| {wide} |\n```\n{wide}\n```\n{wide}");
    assert_eq!(wide_prose(&text), [Finding::new(4, "121 columns, not 120")]);
}

#[test]
fn a_document_without_a_title_or_with_two_is_found() {
    assert_eq!(titles("# One\n```sh\n# a comment\n```\n## Two"), []);
    assert_eq!(titles("One"), [Finding::new(0, "does not open with a title, `# …`")]);
    assert_eq!(titles("# One\n\n# Two"), [Finding::new(2, "a second title")]);
}

#[test]
fn a_source_without_an_opening_is_found() {
    assert_eq!(opening("//! Why.\nuse a;"), []);
    assert_eq!(opening("use a;\n//! Why.").len(), 1);
}

#[test]
fn a_long_file_is_found_and_so_is_an_exception_too_many() {
    assert_eq!(too_long([("a.rs", LINES), ("docs/api.md", LINES + 1)].into_iter()), [""; 0]);
    assert_eq!(too_long([("a.rs", LINES + 1)].into_iter()).len(), 1);
    assert_eq!(too_long([("docs/api.md", LINES)].into_iter()).len(), 1);
}

#[test]
fn an_entry_that_a_list_lacks_is_found() {
    let common = "list = [\n    { path = \"a\" },\n    { path = \"b\" },\n]";
    assert_eq!(lines_left_out(common, "    { path = \"c\" },\n    { path = \"b\" },"), ["    { path = \"a\" },"]);
}
