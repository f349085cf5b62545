//! Announces of new names per second over HTTP, for several numbers of clients.
//!
//! Invariant: each client has one connection to the leader and begins its next announce when the last one was answered;
//! what began during the warm-up is not counted.

use std::time::Duration;

use anyhow::Context as _;

use super::load::{self, Common, Mix, OperationKind, Pace, Targets, Wire};
use super::{Bench, Figure};

/// Goes before each count.
const WARM_UP: Duration = Duration::from_millis(500);
/// Numbers of clients, and what they ought to reach together.
const CLIENTS: [(u64, &str); 4] = [(1, "≥ 1,000"), (10, ""), (100, "≥ 15,000"), (500, "≥ 22,000")];

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let leader = bench.cluster.leader().await.context("nobody leads")?;
    let duration = Duration::from_secs(if bench.quick { 2 } else { 8 });
    let mut figures = Vec::new();
    for (clients, target) in CLIENTS {
        let common = Common {
            run: format!("c{clients}"),
            mix: Mix::of(OperationKind::Announce),
            peers: clients,
            files: u64::MAX,
            serving: false,
            reading: String::new(),
            wire: Wire::Native,
        };
        let targets = Targets { write: leader.address.clone(), reads: Vec::new() };
        let workers = load::clients(common, &targets, usize::MAX, 0).await.map_err(anyhow::Error::msg)?;
        let pace = Pace { warm_up: WARM_UP, duration, rate: None };
        let (tally, _) = load::drive(workers, pace, || {}, || {}).await;
        let total = tally.total().over(duration.as_secs_f64());
        let figure = Figure::of("announces", format!("announces/s, {clients} clients"), total.per_second, "/s");
        figures.push(Figure {
            p50_ms: Some(total.p50_ms),
            p99_ms: Some(total.p99_ms),
            samples: usize::try_from(total.done).unwrap_or(usize::MAX),
            ..figure.with_errors(total.failed).with_target(target)
        });
    }
    Ok(figures)
}
