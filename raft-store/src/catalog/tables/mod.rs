//! The tables that the catalog's records lie in. They know nothing of files, peers and leases.
//!
//! Invariant: cloning a table costs a pointer for a few hundred entries, because every snapshot takes a clone. What a
//! table answers depends on the calls alone, never on where entries lie.

pub(in crate::catalog) mod ids;
pub(in crate::catalog) mod name_index;
pub(in crate::catalog) mod segments;
pub(in crate::catalog) mod slab;
pub(in crate::catalog) mod small_map;

pub(in crate::catalog) use slab::Id;
