//! A client that asks one node alone for writes, all the time and with short patience, so that a node which loses its
//! majority is asked for one while it has none.
//!
//! Invariant: each write is a registration of the client's own peer, which holds nothing: it needs the log as any other
//! does, and its many unknown outcomes touch no file and no lease.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::raw::{UNREACHABLE, write_answer};
use super::write::Write;
use super::{Context, RawClient, Settled, WorkloadError};

/// Limit of one request, in milliseconds: enough for an answer, and two of them are over within
/// the shortest cut (300 ms).
const WITHIN_MS: std::ops::Range<u64> = 100..180;
/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(25);
/// The same after a node was not there.
const AWAY_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Loyal {
    context: Context,
    raw: RawClient,
    server: usize,
    name: String,
    rng: StdRng,
}

impl Loyal {
    pub(super) fn new(context: Context, server: usize, seed: u64) -> Result<Self, WorkloadError> {
        let raw = RawClient::new(context.servers.clone())?;
        // Apart from the seeds of all others, for any seed of the run.
        let rng = StdRng::seed_from_u64(!seed.wrapping_mul(1_000_033).wrapping_add(server as u64));
        Ok(Self { context, raw, server, name: format!("loyal-{server}"), rng })
    }

    pub(super) async fn run(mut self) {
        let write = Write::register(&self.name, false);
        let mut number = 0_u64;
        while !self.context.is_over() {
            number += 1;
            let key = format!("{}-{number}", self.name);
            let within = Duration::from_millis(self.rng.random_range(WITHIN_MS));
            let to = Some(self.server as u64 + 1);
            let id = self.context.invoke_at(&self.name, write.op.clone(), Some(key.clone()), to);
            let outcome = self.raw.write(self.server, &write, Some(&key), within).await;
            let pause = match self.context.settle(id, outcome, write_answer) {
                Settled::Refused(code) if code == UNREACHABLE => AWAY_PAUSE,
                _ => PAUSE,
            };
            self.context.pause(pause).await;
        }
    }
}
