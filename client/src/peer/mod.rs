//! The peer: a folder that is shared, its HTTP server, and the loop that keeps it in step with the index.
//!
//! ```text
//! disk ──scan──► Folder (table of known files) ◄──tasks── serve loop ◄──► index cluster
//!                  │                                          │
//!                  └──► server: other peers fetch from here   └──► download: fetches from other peers
//! ```

pub mod conflict;
mod error;
mod folder;
pub mod fsio;
mod identity;
mod install;
pub(crate) mod range;
pub mod rules;
pub mod scan;
pub mod server;
mod table;

pub use error::FolderError;
pub use folder::{Disk, Folder, STATE_DIR, ServingLock};
pub use identity::Identity;
pub use install::{Placed, Publishing, Removed, Staged};
pub use table::{Copy, Record};
