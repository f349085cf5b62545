//! What the node needs from the system it runs on: clocks, the network, memory, descriptors, standard error.
//!
//! The lowest floor: nothing here knows about Raft, the catalog or the API.

pub mod clock;
pub mod limits;
pub mod logging;
pub mod memory;
pub mod net;
pub mod pulse;
pub mod slots;
