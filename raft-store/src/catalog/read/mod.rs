//! Reading the catalog. Nothing here changes what is replicated.
//!
//! Invariant: a reader gets plain values in an order of their own, none of which changes with the catalog later.

pub(in crate::catalog) mod holdings;
pub(in crate::catalog) mod query;
pub(in crate::catalog) mod view;
