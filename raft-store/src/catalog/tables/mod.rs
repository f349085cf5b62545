//! The data structures that hold the catalog's records. They know nothing of files, peers and leases.
//!
//! Invariant: every snapshot clones the replicated tables, so cloning one costs a pointer for a few hundred entries.
//! The results depend on the sequence of calls alone, never on how entries are stored.

pub(in crate::catalog) mod ids;
pub(in crate::catalog) mod name_index;
pub(in crate::catalog) mod segments;
pub(in crate::catalog) mod slab;
pub(in crate::catalog) mod small_map;

pub(in crate::catalog) use slab::Id;
