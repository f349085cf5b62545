//! Rows of text in columns.
//!
//! Invariant: a column is as wide as the longest text in it, so that whatever is measured stands below its heading.

use std::fmt::Write as _;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// On the left, as words.
    Left,
    /// On the right, as numbers.
    Right,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Columns {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with headings only.
    pub fn new<'a>(headings: impl IntoIterator<Item = (Side, &'a str)>) -> Self {
        let (sides, headings) = headings.into_iter().map(|(side, heading)| (side, heading.to_owned())).unzip();
        Self { sides, rows: vec![headings] }
    }

    /// Adds a row, with a cell for each heading.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, without an end of line after the last.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let lengths = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            lengths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                line.push_str(if line.is_empty() { " " } else { "  " });
                let _ = match side {
                    Side::Left => write!(line, "{cell:<width$}"),
                    Side::Right => write!(line, "{cell:>width$}"),
                };
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Columns::new([(Side::Left, "WHAT"), (Side::Right, "N"), (Side::Left, "TARGET")]);
        table.row(vec!["≥ something long".into(), "7".into(), "< 5".into()]);
        table.row(vec!["short".into(), "1234".into(), String::new()]);
        let expected = " WHAT                 N  TARGET\n ≥ something long     7  < 5\n short             1234";
        assert_eq!(table.text(), expected);
    }
}
