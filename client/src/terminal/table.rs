//! Aligned columns for people.

use comfy_table::{CellAlignment, Table, presets};

/// Titles of right-aligned columns.
const NUMERIC: [&str; 14] = [
    "#", "VER", "SIZE", "COPIES", "APPLIED", "LAG", "CONTACT", "FILES", "PRICE", "COST", "STOCK", "LEFT", "PRODUCTS",
    "UNITS",
];

/// Lays out the header and the rows as lines; columns of numbers are right-aligned.
pub(super) fn align(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec()).add_rows(rows.iter().cloned());
    for (column, title) in table.column_iter_mut().zip(header) {
        if NUMERIC.contains(title) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["1".into(), "a".into(), "4.2M".into()], vec!["10".into(), "größer.txt".into(), "31".into()]];
        let lines = align(&["#", "NAME", "SIZE"], &rows);
        assert_eq!(lines, ["  #  NAME        SIZE", "  1  a           4.2M", " 10  größer.txt    31"]);
    }
}
