//! What the node asks of the system it runs on: clocks, the network, memory, descriptors, standard error.
//!
//! The lowest floor: nothing here knows of Raft, of the catalog or of HTTP.

pub mod clock;
pub mod limits;
pub mod logging;
pub mod memory;
pub mod net;
pub mod pulse;
pub mod slots;
