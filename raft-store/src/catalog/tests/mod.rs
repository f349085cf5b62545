//! Tests of the catalog as a whole: scripts, properties of random histories, and pinned bytes. What they need of each
//! operation is in the operation's file (`exercise`).

mod digest;
pub(in crate::catalog) mod exercise;
pub(crate) mod fixtures;
mod model;
mod properties;
pub(in crate::catalog) mod scripts;
mod transactions;
pub(in crate::catalog) mod wire;
