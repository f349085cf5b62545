//! Aligned columns for people.

/// Titles of right-aligned columns.
const NUMERIC: [&str; 8] = ["#", "VER", "SIZE", "COPIES", "APPLIED", "LAG", "CONTACT", "FILES"];

/// Pads every column to its widest cell; numbers, by their header, to the right.
pub(super) fn align(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |cell: &str| cell.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|title| width(title)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match widths.get_mut(column) {
                Some(widest) => *widest = (*widest).max(width(cell)),
                None => widths.push(width(cell)),
            }
        }
    }
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths.get(column).copied().unwrap_or(0).saturating_sub(width(cell)));
            let right = header.get(column).is_some_and(|title| NUMERIC.contains(title));
            let (before, after) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("  {before}{cell}{after}"));
        }
        line.trim_end().get(1..).unwrap_or_default().to_owned()
    };
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    std::iter::once(line(&titles)).chain(rows.iter().map(|row| line(row))).collect()
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
