//! The figures of a stress test, for people and for programs.
//!
//! Invariant: a report says that a run passed only if the books add up, every order was settled, and the nodes agree.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::Plan;
use super::buyer::Log;
use super::ledger::Verdict;
use crate::market::Nodes;

/// How long after a fault a gap between two purchases is put down to it.
const EFFECT_MAX: Duration = Duration::from_secs(2);

/// Something that was done to the nodes.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// What.
    pub what: String,
    /// When, since the run began.
    #[serde(rename = "atMs", serialize_with = "milliseconds")]
    pub at: Duration,
    /// The longest time without an acknowledged purchase that it caused.
    #[serde(rename = "gapMs", serialize_with = "milliseconds_option")]
    pub gap: Option<Duration>,
}

/// The outcome of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Buyers.
    pub buyers: u16,
    /// Products.
    pub products: u16,
    /// How long orders were placed.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// Purchases that were acknowledged.
    pub purchases: u64,
    /// Of them, baskets of several products.
    pub baskets: u64,
    /// Restocks and transfers.
    pub other_trades: u64,
    /// Purchases a second.
    pub per_second: f64,
    /// Latency of acknowledged purchases, from the first attempt on: median, 99th percentile, longest.
    #[serde(rename = "latencyMs")]
    pub latency: [f64; 3],
    /// The longest time without an acknowledged purchase.
    #[serde(rename = "longestGapMs", serialize_with = "milliseconds")]
    pub longest_gap: Duration,
    /// Orders refused: too little was left; the price had risen.
    pub sold_out: u64,
    /// See `sold_out`.
    pub dearer: u64,
    /// Orders placed again because their outcome was not known; because nobody served them.
    pub unknown: u64,
    /// See `unknown`.
    pub not_served: u64,
    /// Receipts that were asked for again and were the same.
    pub receipts_repeated: u64,
    /// What was done to the nodes.
    pub faults: Vec<Fault>,
    /// Whether every unit is accounted for.
    pub books: Verdict,
    /// The nodes, compared at the end.
    pub nodes: Nodes,
    /// What else must not happen.
    pub violations: Vec<String>,
}

fn milliseconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value.as_secs_f64() * 1e6).round() / 1e3)
}

fn milliseconds_option<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => milliseconds(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn seconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value.as_secs_f64() * 1e3).round() / 1e3)
}

impl Report {
    pub(super) fn of(
        plan: &Plan,
        took: Duration,
        logs: &[Log],
        mut faults: Vec<Fault>,
        books: Verdict,
        nodes: Nodes,
    ) -> Self {
        let total = |part: fn(&Log) -> u64| logs.iter().map(part).sum::<u64>();
        let mut purchases: Vec<(u32, u32)> = logs.iter().flat_map(|log| log.purchases.iter().copied()).collect();
        purchases.sort_unstable();
        let moments: Vec<Duration> = purchases.iter().map(|(at, _)| Duration::from_micros((*at).into())).collect();
        let mut latencies: Vec<u32> = purchases.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        for fault in &mut faults {
            fault.gap = gap_after(&moments, fault.at);
        }
        let violations = logs.iter().flat_map(|log| log.violations.iter().cloned()).collect();
        Self {
            buyers: plan.buyers,
            products: plan.products,
            took,
            purchases: purchases.len() as u64,
            baskets: total(|log| log.baskets),
            other_trades: total(|log| log.other_trades),
            per_second: (purchases.len() as f64 / took.as_secs_f64().max(1e-3)).round(),
            latency: [percentile(&latencies, 0.5), percentile(&latencies, 0.99), percentile(&latencies, 1.0)],
            longest_gap: gaps(&moments).map(|(_, gap)| gap).max().unwrap_or(took),
            sold_out: total(|log| log.sold_out),
            dearer: total(|log| log.dearer),
            unknown: total(|log| log.unknown),
            not_served: total(|log| log.not_served),
            receipts_repeated: total(|log| log.repeated),
            faults,
            books,
            nodes,
            violations,
        }
    }

    /// Whether nothing happened that must not happen.
    pub fn passed(&self) -> bool {
        self.purchases > 0 && self.books.holds() && self.violations.is_empty() && self.nodes.agree()
    }

    /// The longest gap of all faults whose description begins so.
    fn longest_gap_after(&self, what: &str) -> Option<Duration> {
        self.faults.iter().filter(|fault| fault.what.starts_with(what)).filter_map(|fault| fault.gap).max()
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<28}{value}");
        };
        let [p50, p99, longest] = self.latency;
        let ms = |gap: Duration| format!("{:.0} ms", gap.as_secs_f64() * 1e3);
        line("buyers, products", format!("{}, {}", self.buyers, self.products));
        line(
            "purchases",
            format!("{} in {:.1} s ({} of several products)", self.purchases, self.took.as_secs_f64(), self.baskets),
        );
        line("purchases/s", format!("{:.0}", self.per_second));
        line("latency p50, p99, longest", format!("{p50:.2} ms, {p99:.2} ms, {longest:.0} ms"));
        line("restocks and transfers", self.other_trades.to_string());
        line("refused", format!("{} sold out, {} dearer than seen", self.sold_out, self.dearer));
        line("placed again", format!("{} of unknown outcome, {} not served", self.unknown, self.not_served));
        line("receipts asked for again", format!("{}, all the same", self.receipts_repeated));
        line("longest gap", format!("{} without an acknowledged purchase", ms(self.longest_gap)));
        for what in ["killed", "paused"] {
            if let Some(gap) = self.longest_gap_after(what) {
                line(&format!("  after a {what} leader"), format!("{} at most", ms(gap)));
            }
        }
        for fault in &self.faults {
            let gap = fault.gap.map_or_else(|| "the run ended".to_owned(), |gap| format!("gap {}", ms(gap)));
            line(&format!("  at {:.1} s", fault.at.as_secs_f64()), format!("{}: {gap}", fault.what));
        }
        let books = &self.books;
        line("units sold, supplied", format!("{}, {}", books.sold, books.supplied));
        line("oversold", books.oversold.to_string());
        line("lost", books.lost.to_string());
        line("carried out twice", books.doubled.to_string());
        line("answers shared", books.shared_transactions.to_string());
        let compared = self.nodes.nodes.iter().filter(|node| node.applied.is_some()).count();
        let agree = if self.nodes.agree() { "have the same state" } else { "DO NOT AGREE" };
        line("nodes", format!("{compared} of {} answered and {agree}", self.nodes.nodes.len()));
        for what in books.examples.iter().chain(&self.nodes.differences).chain(&self.violations) {
            line("VIOLATION", what.clone());
        }
        line("verdict", if self.passed() { "PASS".to_owned() } else { "FAIL".to_owned() });
        text
    }
}

/// A percentile of sorted microseconds, in milliseconds.
fn percentile(sorted: &[u32], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).map_or(0.0, |&micros| f64::from(micros) / 1e3)
}

/// The times between one purchase and the next, each with the moment of the next.
fn gaps(moments: &[Duration]) -> impl Iterator<Item = (Duration, Duration)> {
    moments.windows(2).map(|pair| (pair[1], pair[1] - pair[0]))
}

/// The longest gap that ends after a fault, within the time that a fault can have an effect.
fn gap_after(moments: &[Duration], fault: Duration) -> Option<Duration> {
    let from = moments.partition_point(|moment| *moment < fault).saturating_sub(1);
    let gaps = gaps(&moments[from.min(moments.len())..]);
    gaps.take_while(|(end, gap)| *end - *gap <= fault + EFFECT_MAX).map(|(_, gap)| gap).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(values: &[u64]) -> Vec<Duration> {
        values.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_gap_belongs_to_the_fault_that_it_follows() {
        let moments = ms(&[0, 10, 20, 900, 910, 9_000, 9_100]);
        let gap = |at: u64| gap_after(&moments, Duration::from_millis(at)).map(|gap| gap.as_millis());
        assert_eq!(gap(15), Some(8_090), "a gap that begins within the effect counts whole");
        assert_eq!(gap(9_050), Some(100));
        assert_eq!(gap(9_200), None);
        assert_eq!(gap_after(&[], Duration::ZERO), None);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<u32> = (1..=100).map(|n| n * 1_000).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| percentile(&sorted, share)), [50.0, 99.0, 100.0]);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }
}
