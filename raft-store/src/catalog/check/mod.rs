//! Whether a catalog is what it should be: what was decoded (`validate`), and what applying led to (`invariants`).
//!
//! Invariant: the checks read the stored records alone, and share no code with what keeps them true.

pub(in crate::catalog) mod invariants;
pub(in crate::catalog) mod validate;
