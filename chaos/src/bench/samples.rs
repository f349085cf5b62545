//! Durations that were measured, and their percentiles.
//!
//! Invariant: every sample is kept as it was measured, to the microsecond.

use std::time::Duration;

use crate::report::percentile;

/// A set of durations.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    micros: Vec<u64>,
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.micros.push(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The value below which `percent` of them lie, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        percentile(&sorted, percent) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut samples = Samples::default();
        for micros in [3_000, 1_000, 2_500] {
            samples.add(Duration::from_micros(micros));
        }
        assert_eq!((samples.count(), samples.percentile_ms(50), samples.percentile_ms(100)), (3, 2.5, 3.0));
        assert_eq!(Samples::default().percentile_ms(50), 0.0);
    }
}
