//! The peer: a shared folder, its HTTP server, and the loops that keep it in step with the index.
//!
//! ```text
//! disk --scan--> Folder (table of known files) <--rules-- tasks <-- heartbeat loop <--> index cluster
//!                  |        ^                              |                              ^
//!                  |        +-------- sync loop (register, announce, withdraw) -----------+
//!                  +--> server: other peers fetch from here        +--> download: fetches from other peers
//! ```
//! One-shot commands use the same [`Folder`] while `serve` is running; they share the table on disk.

pub mod conflict;
mod error;
mod event;
mod folder;
mod guard;
mod identity;
mod install;
mod locks;
mod loops;
mod publish;
pub(crate) mod range;
mod register;
pub mod rules;
pub mod scan;
mod serve;
pub mod server;
mod sync;
mod table;
mod tasks;
pub mod transfer;

pub use error::FolderError;
pub use event::{Events, PeerEvent};
pub use folder::{Disk, Folder, STATE_DIR};
pub use identity::Identity;
pub use install::{Placed, Removed};
pub use locks::ServingLock;
pub use publish::Publishing;
pub use register::digest;
pub use serve::{Peer, ServeConfig, ServeError, serve};
pub use table::{Copy, Record};
