//! placeholder
pub mod liveness;
pub mod planner;
pub mod search;
