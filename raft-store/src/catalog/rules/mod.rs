//! What several operations, and the clock, do to the records.
//!
//! Invariant: each function leaves the derived tables (names, deadlines, peers' sets, totals) equal to their
//! recomputation, and emits an event for what it changed.

pub(in crate::catalog) mod files;
pub(in crate::catalog) mod holding;
pub(in crate::catalog) mod leases;
pub(in crate::catalog) mod peers;
pub(in crate::catalog) mod queue;
