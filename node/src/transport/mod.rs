//! Node-to-node traffic: binary frames over long-lived TCP connections, on the same port as the API.
//!
//! A connection opens with a [`Hello`] that names the cluster and both sides' node and store ids (C1); the other side
//! answers before anything else is read. After that, requests go one way and responses, in the same order, the other.
//!
//! Nothing here knows the node. Whoever serves connections implements [`Host`], which answers the requests.
//!
//! Invariant: no message is handled on a connection whose hello did not match in both directions, and no call waits
//! longer than its deadline.

mod admission;
mod channel;
mod check;
mod dial;
mod error;
mod frame;
mod link;
mod messages;
mod pool;
mod raft;
mod server;

pub use admission::{Admissions, PeerRequests, Vouched};
pub use check::check_snapshot;
pub use dial::{outsider_call, who, who_within};
pub use error::CallError;
pub use frame::FrameError;
pub use link::Link;
pub use messages::*;
pub use pool::LinkPool;
pub use raft::Links;
pub use server::{Host, serve_connection};
