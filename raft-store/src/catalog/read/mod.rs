//! Reading the catalog.
//!
//! Invariant: nothing here changes the replicated state. Readers get plain values, which later entries do not change.

pub(in crate::catalog) mod holdings;
pub(in crate::catalog) mod query;
pub(in crate::catalog) mod view;
