//! The idempotency table: what makes a repeated command apply once (X1–X5).
//!
//! Invariant: nothing here knows what a command does; replies and refusals say themselves how they are remembered.
//! [`dedup`] looks the key up before a command is applied, and stores the answer afterwards.

pub(in crate::catalog) mod answers;
pub(in crate::catalog) mod dedup;
pub(in crate::catalog) mod owners;
pub(in crate::catalog) mod txns;
