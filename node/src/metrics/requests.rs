//! Answers to HTTP requests: how many of each status, and how long they took.
//!
//! Invariant: each endpoint of the contract has a row that was made at the start. All other paths share one, so a
//! scanner cannot grow the table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::contract::{ROUTES, Route};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use raft_store::histogram::{Histogram, micros};

use super::encode::{Observed, Rows};

/// Paths that a node serves beside the contract: the wire format of the original.
const V0: [&str; 8] = [
    "/v0/register",
    "/v0/announce",
    "/v0/heartbeat",
    "/v0/lease",
    "/v0/delete",
    "/v0/search",
    "/v0/peers",
    "/v0/healthz",
];
/// The label of all other paths.
const OTHER: &str = "other";
/// Status codes have three digits; these are the first one and the number of them.
const CODE_MIN: u16 = 100;
/// See [`CODE_MIN`].
const CODES: usize = 500;
/// Labels of the classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Bounds for the time that an answer takes: 100 µs to 10 s.
static SECONDS_BOUNDS: [u64; 16] = micros([
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
]);

/// Answers by route and status.
pub struct Requests {
    /// One for each route of the contract, in its order, one for each of [`V0`], and one for all other paths. Routes
    /// that differ only in their method share the row of the first.
    rows: Box<[Row]>,
}

/// Answers of one route.
struct Row {
    codes: Box<[AtomicU64]>,
    classes: [Histogram; CLASSES.len()],
}

impl Default for Row {
    fn default() -> Self {
        Self {
            codes: std::iter::repeat_with(AtomicU64::default).take(CODES).collect(),
            classes: std::array::from_fn(|_| Histogram::new(&SECONDS_BOUNDS)),
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self { rows: std::iter::repeat_with(Row::default).take(ROUTES.len() + V0.len() + 1).collect() }
    }
}

#[derive(Debug, Clone, Copy, EncodeLabelSet)]
struct Code {
    route: &'static str,
    code: u16,
}

#[derive(Debug, Clone, Copy, EncodeLabelSet)]
struct Class {
    route: &'static str,
    status: &'static str,
}

impl Requests {
    /// The row of a path, if it has one of its own. Rows of the contract's routes are at their place in [`ROUTES`].
    pub fn place_of(path: &str) -> Option<usize> {
        let v0 = || V0.iter().position(|known| *known == path).map(|place| ROUTES.len() + place);
        Route::place_of(path).or_else(v0)
    }

    /// Counts an answer; `route` is what [`Requests::place_of`] says of its path.
    pub fn answered(&self, route: Option<usize>, status: u16, took: Duration) {
        let row = route.and_then(|route| self.rows.get(route)).or(self.rows.last());
        let Some((row, code)) = row.zip(status.checked_sub(CODE_MIN).map(usize::from)) else { return };
        if let (Some(count), Some(class)) = (row.codes.get(code), row.classes.get(code / usize::from(CODE_MIN))) {
            count.fetch_add(1, Ordering::Relaxed);
            class.record_time(took);
        }
    }

    /// Rows with their labels.
    fn labelled(&self) -> impl Iterator<Item = (&'static str, &Row)> {
        ROUTES.iter().map(|route| route.path).chain(V0).chain([OTHER]).zip(&self.rows)
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let mut counts = Vec::new();
        let mut seconds = Vec::new();
        for (route, row) in self.labelled() {
            for (code, count) in (CODE_MIN..).zip(&row.codes) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    counts.push((Code { route, code }, ConstCounter::new(count)));
                }
            }
            for (status, class) in CLASSES.into_iter().zip(&row.classes) {
                let reading = class.read();
                if reading.count() > 0 {
                    seconds.push((Class { route, status }, Observed::seconds(&reading)));
                }
            }
        }
        registry.register("http_requests", "Answers by path and status", Rows(counts));
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to its answer, waiting that it asked for included",
            Unit::Seconds,
            Rows(seconds),
        );
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;

    use super::*;

    fn text(requests: &Requests) -> String {
        let mut registry = Registry::with_prefix("raftshare");
        requests.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        text
    }

    #[test]
    fn answers_are_counted_by_path_and_status_and_strange_ones_share_a_row() {
        let requests = Requests::default();
        assert_eq!(text(&requests), "", "nothing is told of what did not happen");
        let stats = ROUTES.iter().position(|route| route.path == "/stats");
        let took = Duration::from_millis(3);
        requests.answered(stats, 200, took);
        requests.answered(stats, 204, took);
        requests.answered(stats, 503, took);
        requests.answered(Requests::place_of("/v0/lease"), 200, took);
        requests.answered(Requests::place_of("/v0/other"), 404, took);
        requests.answered(Some(usize::MAX), 404, took);
        // No status, but nothing goes wrong either.
        for status in [0, 99, 600, u16::MAX] {
            requests.answered(stats, status, took);
        }
        let text = text(&requests);
        for line in [
            "raftshare_http_requests_total{route=\"/stats\",code=\"200\"} 1",
            "raftshare_http_requests_total{route=\"/stats\",code=\"204\"} 1",
            "raftshare_http_requests_total{route=\"/stats\",code=\"503\"} 1",
            "raftshare_http_requests_total{route=\"other\",code=\"404\"} 2",
            "raftshare_http_requests_total{route=\"/v0/lease\",code=\"200\"} 1",
            "raftshare_http_request_duration_seconds_bucket{route=\"/stats\",status=\"2xx\",le=\"0.0025\"} 0",
            "raftshare_http_request_duration_seconds_bucket{route=\"/stats\",status=\"2xx\",le=\"0.005\"} 2",
            "raftshare_http_request_duration_seconds_sum{route=\"/stats\",status=\"2xx\"} 0.006",
            "raftshare_http_request_duration_seconds_count{route=\"/stats\",status=\"5xx\"} 1",
            "raftshare_http_request_duration_seconds_count{route=\"other\",status=\"4xx\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
