//! What a node does by itself, beside answering: each duty is a task that runs until the process ends.
//!
//! The floor above `node`: a duty may use the whole node, and nothing below knows of it.

pub mod derived;
pub mod leading;
pub mod peers;
