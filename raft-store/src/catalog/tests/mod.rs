//! Tests of the catalog as a whole: scripts, properties of random histories, and pinned bytes.

mod digest;
pub(in crate::catalog) mod exercise;
pub(crate) mod fixtures;
mod model;
mod properties;
pub(in crate::catalog) mod scripts;
mod wire;
