//! Numbers for people: sizes, counts, durations.

use std::time::{Duration, UNIX_EPOCH};

/// A size: `4.2M`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 { format!("{value:.0}{}", UNITS[unit]) } else { format!("{value:.1}{}", UNITS[unit]) }
}

/// A number with separators: `918,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A remaining time: `0:41`.
pub fn minutes(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1_000);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The remaining time of a lease, which is unknown without a leader (R5).
pub fn remaining(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(|| "-".into(), minutes)
}

/// The time since a Unix time: `5m`.
pub fn ago(unix_seconds: u64) -> String {
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds));
    let seconds = then.and_then(|then| then.elapsed().ok()).map_or(0, |elapsed| elapsed.as_secs());
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        let sizes = [0, 999, 1_024, 4_404_019, 99 << 20, 5 << 30].map(size);
        assert_eq!(sizes, ["0", "999", "1.0K", "4.2M", "99M", "5.0G"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 41_000, 125_000].map(minutes), ["0:00", "0:01", "0:41", "2:05"]);
    }
}
