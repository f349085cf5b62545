//! `Range`, `If-Range`, `If-Match` and `If-None-Match` of RFC 9110, as pure functions of header values.
//!
//! Invariant: a selected range is within the file. As the RFC requires, a malformed header means "send the whole file",
//! never an error.

/// The part of a file to send. Both ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole file (200).
    Whole,
    /// One range (206).
    Range {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// A range outside the file (416).
    Unsatisfiable,
}

impl Part {
    /// First byte and number of bytes to send.
    pub fn span(&self, size: u64) -> (u64, u64) {
        match *self {
            Part::Whole => (0, size),
            Part::Range { first, last } => (first, last - first + 1),
            Part::Unsatisfiable => (0, 0),
        }
    }
}

/// Decides what to send. `etag` is that of the file, including the quotes.
pub fn select(range: Option<&str>, if_range: Option<&str>, etag: &str, size: u64) -> Part {
    let Some(range) = range else { return Part::Whole };
    // If-Range needs a strong comparison: a weak tag or a date (this server sends none) never matches.
    if if_range.is_some_and(|condition| condition.trim() != etag) {
        return Part::Whole;
    }
    parse(range, size).unwrap_or(Part::Whole)
}

/// `None` if the header is malformed, has several ranges, or uses another unit.
fn parse(range: &str, size: u64) -> Option<Part> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    if first.is_empty() {
        let suffix = digits(last)?;
        if suffix == 0 || size == 0 {
            return Some(Part::Unsatisfiable);
        }
        return Some(Part::Range { first: size.saturating_sub(suffix), last: size - 1 });
    }
    let first = digits(first)?;
    let last = if last.is_empty() { u64::MAX } else { digits(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Part::Unsatisfiable);
    }
    Some(Part::Range { first, last: last.min(size - 1) })
}

/// Numbers beyond 64 bits are past the end of any file, so they saturate.
fn digits(text: &str) -> Option<u64> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Whether `If-Match` allows these bytes to be sent (strong comparison).
pub fn is_wanted(if_match: Option<&str>, etag: &str) -> bool {
    if_match.is_none_or(|list| list.trim() == "*" || list.split(',').any(|tag| tag.trim() == etag))
}

/// Whether `If-None-Match` says that the client already has these bytes (weak comparison).
pub fn is_cached(if_none_match: Option<&str>, etag: &str) -> bool {
    let Some(list) = if_none_match else { return false };
    list.trim() == "*" || list.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_the_rfc_says() {
        let range = |first, last| Part::Range { first, last };
        for (header, size, expected) in [
            ("bytes=0-0", 10, range(0, 0)),
            ("bytes=2-5", 10, range(2, 5)),
            ("bytes=2-", 10, range(2, 9)),
            ("bytes=2-99", 10, range(2, 9)),
            ("bytes=-3", 10, range(7, 9)),
            ("bytes=-99", 10, range(0, 9)),
            ("BYTES=1-2", 10, range(1, 2)),
            ("bytes=9-99999999999999999999999", 10, range(9, 9)),
            ("bytes=10-", 10, Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Part::Unsatisfiable),
            ("bytes=-0", 10, Part::Unsatisfiable),
            ("bytes=0-", 0, Part::Unsatisfiable),
            ("bytes=-1", 0, Part::Unsatisfiable),
            ("bytes=5-2", 10, Part::Whole),
            ("bytes=0-1,4-5", 10, Part::Whole),
            ("bytes=a-b", 10, Part::Whole),
            ("bytes=-", 10, Part::Whole),
            ("bytes=+1-2", 10, Part::Whole),
            ("lines=1-2", 10, Part::Whole),
            ("", 10, Part::Whole),
        ] {
            assert_eq!(select(Some(header), None, "\"x\"", size), expected, "{header} of {size}");
        }
        assert_eq!(select(None, None, "\"x\"", 10), Part::Whole);
    }

    #[test]
    fn if_range_compares_strongly_and_if_none_match_weakly() {
        let with = |condition| select(Some("bytes=1-2"), Some(condition), "\"x\"", 10);
        assert_eq!(with("\"x\""), Part::Range { first: 1, last: 2 });
        for other in ["\"y\"", "W/\"x\"", "Sat, 21 Nov 2026 07:00:00 GMT"] {
            assert_eq!(with(other), Part::Whole, "{other}");
        }
        for hit in ["*", "\"x\"", "W/\"x\"", "\"a\", \"x\""] {
            assert!(is_cached(Some(hit), "\"x\""), "{hit}");
        }
        assert!(!is_cached(Some("\"a\""), "\"x\"") && !is_cached(None, "\"x\""));
        assert!(is_wanted(None, "\"x\"") && is_wanted(Some("*"), "\"x\"") && is_wanted(Some("\"a\",\"x\""), "\"x\""));
        assert!(!is_wanted(Some("W/\"x\""), "\"x\"") && !is_wanted(Some("\"a\""), "\"x\""));
    }
}
