//! Times as the original writes them: RFC 3339, with the zero time for "unknown".
//!
//! Invariant: a time that comes in is checked and then dropped. No decision rests on it (T4).

/// What the original writes where a time is not known.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

const DAY_SECONDS: u64 = 24 * 60 * 60;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_UNIX: u64 = 719_468;
/// Days in 400 years: the calendar repeats after them.
const ERA_DAYS: u64 = 146_097;

/// Unix seconds as RFC 3339 in UTC.
pub fn rfc3339(unix_seconds: u64) -> String {
    let (day, second) = (unix_seconds / DAY_SECONDS, unix_seconds % DAY_SECONDS);
    // Years are counted from March, so that the day that some of them have more is their last.
    let days = day + DAYS_BEFORE_UNIX;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Whether a text is a time in RFC 3339, as Go's `encoding/json` reads one: any fraction of a second, `Z` or an offset.
pub fn is_rfc3339(text: &str) -> bool {
    parts(text).is_some()
}

fn parts(text: &str) -> Option<()> {
    let (date, rest) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(clock, fraction)| (clock, Some(fraction)));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let zone_is_valid = zone == "Z" || {
        let [hours, minutes] = numbers(&zone[1..], ':', [2, 2])?;
        hours <= 24 && minutes < 60
    };
    let valid = (1..=12).contains(&month)
        && (1..=days_in(month, year)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && fraction.is_none_or(digits)
        && zone_is_valid;
    valid.then_some(())
}

fn days_in(month: u32, year: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Numbers with exactly so many digits, between separators.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u32; N]> {
    let mut found = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = found.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    found.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_715_420_000, "2024-05-11T09:33:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
            assert!(is_rfc3339(expected));
        }
    }

    #[test]
    fn times_of_go_are_read_and_others_are_not() {
        for good in [ZERO, "2025-01-01T12:00:00Z", "2025-11-30T20:25:06.123456789+05:30", "2024-02-29T00:00:00.5-08:00"]
        {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "now",
            "1715420000",
            "2025-01-01",
            "2025-01-01 12:00:00Z",
            "2025-01-01T12:00:00",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00+0530",
            "25-01-01T00:00:00Z",
            "2025-01-01T00:00:00Zulu",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
