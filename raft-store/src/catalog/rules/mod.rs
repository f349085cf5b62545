//! What several operations, and the clock, do to the records.
//!
//! Invariant: each function leaves the derived tables (names, deadlines, peers' sets, totals) equal to their
//! recomputation, and emits an event for what it changed.

mod files;
mod holding;
mod leases;
mod peers;
mod queue;

pub(in crate::catalog) use holding::{Stated, no_such_version};
pub(in crate::catalog) use leases::ENDED_LEASES_PER_FILE;
