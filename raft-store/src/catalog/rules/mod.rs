//! What several operations, and the clock, do to the records.
//!
//! Invariant: each operation leaves the derived tables (names, deadlines, peers' sets, totals) equal to their
//! recomputation, and every change that a query can show has its event.

mod attributes;
mod files;
mod holding;
mod leases;
mod peers;
mod queue;

pub(in crate::catalog) use holding::{Stated, no_such_version};
pub(in crate::catalog) use leases::ENDED_LEASES_PER_FILE;
