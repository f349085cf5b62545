//! The second phase, seen by a client: the healed cluster takes writes, and every member tells the same of every file.

use std::time::Duration;

use hyper::Request;

use super::http::{call, post};
use super::journal::Journal;
use super::net::address;
use crate::history::Record;
use crate::verify::{self, Healed};
use crate::workload::RawOutcome;
use crate::workload::write::Write;

/// The members of a healed cluster.
struct Members {
    ids: Vec<u64>,
    journal: Journal,
}

/// Reads everything back from these members.
pub(super) async fn read_back(ids: Vec<u64>, journal: Journal) -> Result<(), String> {
    let written = journal.written();
    verify::read_back(&Members { ids, journal }, &written).await
}

impl Healed for Members {
    const INSIST: Duration = Duration::from_secs(25);
    const PAUSE: Duration = Duration::from_millis(50);
    const PARALLEL: usize = 1;

    fn nodes(&self) -> Vec<u64> {
        self.ids.clone()
    }

    fn record(&self, record: Record) {
        self.journal.record(record);
    }

    async fn get(&self, node: u64, path: &str, query: &[(&str, &str)]) -> RawOutcome {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::get(format!("http://{}{path}?{}", address(node), query.join("&")));
        call(request, String::new(), verify::WITHIN, &mut 0).await
    }

    async fn write(&self, node: u64, Write { path, body, .. }: &Write) -> RawOutcome {
        post(node, path, body, verify::WITHIN).await
    }
}
