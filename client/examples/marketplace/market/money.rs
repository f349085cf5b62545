//! Amounts of money as whole minor units (cents), so that sums are exact.

use std::fmt;
use std::str::FromStr;

/// Largest price or total, in minor units; far below what would overflow in a sum.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// An amount of money that is not negative, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Price(i64);

/// Why text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a price; write it like 3, 3.5 or 3.50, from 0 to 10000000000")]
pub struct BadPrice {
    text: String,
}

impl Price {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount in minor units, if it is in range.
    pub fn from_minor(minor: i64) -> Option<Self> {
        (0..=AMOUNT_MAX).contains(&minor).then_some(Self(minor))
    }

    /// The amount in minor units, which is what the index stores.
    pub fn minor(self) -> i64 {
        self.0
    }

    /// What so many pieces cost; the largest amount where the product is larger.
    pub fn times(self, pieces: u64) -> Self {
        let pieces = i64::try_from(pieces).unwrap_or(i64::MAX);
        Self(self.0.saturating_mul(pieces).min(AMOUNT_MAX))
    }

    /// The sum; the largest amount where it is larger.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).min(AMOUNT_MAX))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl FromStr for Price {
    type Err = BadPrice;

    fn from_str(text: &str) -> Result<Self, BadPrice> {
        parse(text).ok_or_else(|| BadPrice { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Price> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let hundredths: i64 = part.parse::<i64>().ok()? * if part.len() == 1 { 10 } else { 1 };
    Price::from_minor(whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(hundredths)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_whole_minor_units() {
        for (text, minor) in [("3", 300), ("3.5", 350), ("3.05", 305), ("0", 0), ("10000000000", AMOUNT_MAX)] {
            assert_eq!(text.parse::<Price>().map(Price::minor), Ok(minor), "{text}");
        }
        for text in ["", "-1", "1.", ".5", "1.234", "1,5", "x", "10000000000.01", "99999999999999999999"] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
        assert_eq!(Price(1_205).to_string(), "12.05");
        assert_eq!(Price(AMOUNT_MAX).times(u64::MAX).minor(), AMOUNT_MAX);
    }
}
