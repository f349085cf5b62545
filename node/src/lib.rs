//! placeholder
pub mod liveness;
pub mod search;
