//! A client that uses the library: takes leases, some by waiting in line, renews, publishes, releases, and sometimes
//! lets a lease run out and publishes all the same.
//!
//! Invariant: it acts only through the library.

use std::time::Duration;

use client::cluster::{IndexClient, Options};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::library::{call, outcome_record};
use super::write::{Lease, LeaseHolder, Write};
use super::{Context, WorkloadError};
use crate::history::Answer;

/// Limit of one call of a patient client.
const PATIENT: Duration = Duration::from_secs(8);
/// Limit of one call of an impatient one: shorter than a failover, so that outcomes stay unknown.
const IMPATIENT: Duration = Duration::from_millis(250);
/// Shortest and longest wait in line.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(1_500);

/// Names of patient clients begin with it.
pub(crate) const PATIENT_PREFIX: &str = "client-";

pub(super) struct LeaseClient {
    context: Context,
    index: IndexClient,
    name: String,
    peer: String,
    private: String,
    rng: StdRng,
}

/// What a call of the library came to.
enum Called {
    Answered(Answer, Value),
    /// It failed, and may be answered another time.
    Failed,
    /// It was refused for good.
    Refused,
}

impl LeaseClient {
    pub(super) fn new(context: Context, number: usize, seed: u64) -> Result<Self, WorkloadError> {
        let mut options = Options::new(context.servers.iter().cloned());
        let patient = number % 3 != 2;
        options.deadline = if patient { PATIENT } else { IMPATIENT };
        Ok(Self {
            index: IndexClient::new(options)?,
            name: if patient { format!("{PATIENT_PREFIX}{number}") } else { format!("hasty-{number}") },
            peer: format!("peer-{number}"),
            private: format!("private/{number}.txt"),
            rng: StdRng::seed_from_u64(seed),
            context,
        })
    }

    pub(super) async fn run(mut self) {
        while !self.context.is_over() && !self.register().await {}
        // The first version of a name needs no lease (F3).
        let create = Write::create(&self.peer, &self.private, Some(1), &mut self.rng);
        self.call(&create, None).await;
        while !self.context.is_over() {
            let file = if self.rng.random_bool(0.85) {
                let Ok(file) = self.context.shared_file(&mut self.rng) else { return };
                file.to_string()
            } else {
                self.private.clone()
            };
            if let Some(lease) = self.acquire(&file).await {
                self.work_under(&lease).await;
            }
            let pause = self.rng.random_range(0..=self.context.workload.pause_ms);
            self.context.pause(Duration::from_millis(pause)).await;
        }
    }

    async fn register(&mut self) -> bool {
        let write = Write::register(&self.peer, false);
        let registered = matches!(self.call(&write, None).await, Called::Answered(..));
        if !registered {
            self.context.pause(Duration::from_millis(50)).await;
        }
        registered
    }

    async fn acquire(&mut self, file: &str) -> Option<Lease> {
        let ttl_ms = self.context.ttl_ms(&mut self.rng);
        let wait = self.rng.random_bool(0.3);
        let patience = wait.then(|| self.rng.random_range(WAIT));
        let write = Write::acquire(&self.peer, file, ttl_ms, wait);
        let Called::Answered(answer, value) = self.call(&write, patience).await else { return None };
        Lease::granted(&write, &answer, &value)
    }

    async fn call(&mut self, write: &Write, patience: Option<Duration>) -> Called {
        let id = self.context.invoke(&self.name, write.op.clone());
        let result = call(&self.index, write, patience, || self.context.recorder.now()).await;
        let answer = result.as_ref().map(|(answer, _)| answer.clone());
        self.context.recorder.record(outcome_record(id, answer));
        match result {
            Ok((answer, value)) => Called::Answered(answer, value),
            Err(error) if error.is_temporary() || !error.is_definite() => Called::Failed,
            Err(_) => Called::Refused,
        }
    }
}

impl LeaseHolder for LeaseClient {
    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    async fn carry_out(&mut self, write: Write) -> bool {
        !matches!(self.call(&write, None).await, Called::Refused)
    }

    async fn sleep(&mut self, duration: Duration) {
        self.context.pause(duration).await;
    }
}
