//! Values as the library wants them: numbers, histograms that were read, and rows with labels.
//!
//! The library's own histograms and families take a lock for each value. So the values are counted elsewhere, and
//! copied into these when somebody asks.

use std::fmt;

use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use raft_store::histogram::Reading;

/// How many nanoseconds a second has.
const NANOS_PER_SECOND: f64 = 1e9;

/// Defines a gauge. The help is a sentence without its full stop, which the library adds.
pub fn gauge<V>(registry: &mut Registry, name: &str, help: &str, value: V)
where
    V: EncodeGaugeValue + fmt::Debug + Send + Sync + 'static,
{
    registry.register(name, help, ConstGauge::new(value));
}

/// Defines a counter, by its name without `_total`.
pub fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

/// A histogram as it was when it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The largest value of each bucket, and how many values are in it and in no earlier one.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Observed {
    /// Values in the unit in which they were recorded.
    pub fn of(reading: &Reading) -> Self {
        Self::scaled(reading, 1.0)
    }

    /// Durations, which were recorded in nanoseconds, in seconds.
    pub fn seconds(reading: &Reading) -> Self {
        Self::scaled(reading, NANOS_PER_SECOND)
    }

    fn scaled(reading: &Reading, per_unit: f64) -> Self {
        let bound = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64 / per_unit);
        let buckets = reading.buckets().map(|(largest, count)| (bound(largest), count)).collect();
        Self { buckets, sum: reading.sum() as f64 / per_unit }
    }
}

impl TypedMetric for Observed {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Observed {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Values of one metric, each with its labels. Without any, the metric is left out.
#[derive(Debug)]
pub struct Rows<L, M>(pub Vec<(L, M)>);

impl<L: EncodeLabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for Rows<L, M> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (labels, metric) in &self.0 {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Unit;
    use raft_store::histogram::{Histogram, millis};

    use super::*;

    static BOUNDS: [u64; 2] = millis([1, 20]);

    #[test]
    fn durations_are_told_in_seconds_and_buckets_add_up() {
        let histogram = Histogram::new(&BOUNDS);
        for ms in [1, 2, 500] {
            histogram.record_time(Duration::from_millis(ms));
        }
        let mut registry = Registry::with_prefix("raftshare");
        registry.register_with_unit("took", "Time", Unit::Seconds, Observed::seconds(&histogram.read()));
        counter(&mut registry, "done", "What was done", 3);
        gauge(&mut registry, "term", "Current term", 7_u64);
        registry.register("none", "Left out", Rows(Vec::<([(&str, &str); 0], ConstCounter)>::new()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        let expected = "\
# HELP raftshare_took_seconds Time.
# TYPE raftshare_took_seconds histogram
raftshare_took_seconds_bucket{le=\"0.001\"} 1
raftshare_took_seconds_bucket{le=\"0.02\"} 2
raftshare_took_seconds_bucket{le=\"+Inf\"} 3
raftshare_took_seconds_sum 0.503
raftshare_took_seconds_count 3
# HELP raftshare_done_total What was done.
# TYPE raftshare_done_total counter
raftshare_done_total 3
# HELP raftshare_term Current term.
# TYPE raftshare_term gauge
raftshare_term 7
";
        assert_eq!(text, expected);
    }
}
