//! The idempotency table: what makes a repeated command apply once (X1–X5).
//!
//! Invariant: nothing here knows what a command does; [`dedup`] asks the table before a command is applied, and tells it
//! the answer after.

pub(in crate::catalog) mod answers;
pub(in crate::catalog) mod dedup;
pub(in crate::catalog) mod owners;
