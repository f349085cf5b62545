//! Whether a catalog is sound: after decoding (`validate`), and after applying (`invariants`).
//!
//! Invariant: the checks recompute what they compare from the stored records.

pub(in crate::catalog) mod invariants;
pub(in crate::catalog) mod validate;
