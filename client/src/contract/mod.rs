//! The HTTP contract: every endpoint with its types, stated once and used by both client and node.
//!
//! ```text
//! endpoint.rs          what an endpoint is: method, path, kind, types         problem.rs, headers.rs   errors, headers
//! register.rs …        one file per endpoint, or per group of endpoints that share types
//! document.rs markdown.rs      openapi.json and the list in docs/api.md, generated from the above
//! ```
//!
//! A new endpoint is a file of its own and a line in [`for_each_endpoint!`](crate::for_each_endpoint).
//!
//! Invariant: field names and shapes are those of `docs/api.md`; nothing here is stored, so the contract and the log
//! format can change independently.

mod announce;
mod cluster;
mod consistency;
mod decode;
mod delete;
pub mod document;
mod endpoint;
mod events;
mod file;
pub mod headers;
mod health;
mod heartbeat;
mod leader;
mod lease;
pub mod markdown;
mod members;
mod peers;
mod problem;
mod register;
mod search;
mod shared;
mod site;
mod stats;
#[cfg(test)]
mod tests;
mod txn;
mod why;

pub use announce::*;
pub use cluster::*;
pub use consistency::*;
pub use decode::Object;
pub use delete::*;
pub(crate) use endpoint::endpoint;
pub use endpoint::{
    AnswerForm, Endpoint, EventStream, Html, Json, JsonList, Kind, Method, MetricsText, NoBody, NoContent, NoQuery,
    Octets, Response, Route, Text,
};
pub use events::*;
pub use file::*;
pub use health::*;
pub use heartbeat::*;
pub use leader::*;
pub use lease::*;
pub use members::*;
pub use peers::*;
pub use problem::*;
pub use register::*;
pub use search::*;
pub use shared::*;
pub use site::*;
pub use stats::*;
pub use txn::*;
pub use why::*;

/// Passes all endpoints of the contract to a macro, in the order of the documents.
///
/// `#command` marks a logged write whose request is one command of the catalog and whose answer is empty. A node needs
/// no code for such an endpoint.
#[macro_export]
macro_rules! for_each_endpoint {
    ($callback:ident) => {
        $callback! {
            Register, Announce, #command Delete, Acquire, Renew, #command Release, #command Leave, Txn,
            Search, Peers, File, Why, Lease, TxnStatus, Stats,
            Heartbeat, AddLearner, Promote, Demote, Remove, Transfer,
            Leader, Healthz, Readyz, Cluster, Digest, Backup, Snapshot, Init, Events,
            Metrics, Openapi, Console
        }
    };
}

macro_rules! routes {
    ($($(#$mark:ident)? $endpoint:ident),+) => {
        /// The routes of all endpoints.
        pub const ROUTES: &[Route] = &[$(Route::of::<$endpoint>()),+];
    };
}
crate::for_each_endpoint!(routes);
