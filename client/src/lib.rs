//! The client side of raftshare: the HTTP contract, the library that talks to an index cluster, and the peer.
//!
//! Peers share folders. A small Raft cluster keeps the *index*: which peer holds which version of which file, and who
//! may publish the next version. The bytes themselves go from peer to peer. This crate holds everything that speaks to
//! the index, in layers. Each layer is a cargo feature that contains the one before it:
//!
//! ```text
//! app        cli ── the program `raftshare`: one file a verb, and the shell
//!            peer ── a shared folder, its HTTP server, and the loops that keep it in step with the index
//!            download ── fetches a version from several holders at once, verified by its hash
//!            files ── atomic writes, stamps and hashes, part files
//! terminal   terminal ── exit codes, failures, tables, environment variables: shared with `raftshare-node`
//! library    cluster ── finds the leader, repeats what is safe to repeat, keeps leases alive
//! contract   contract ── requests, answers and errors of the HTTP contract   address ── HOST:PORT and base URLs
//! ```
//!
//! A program that only talks to a cluster takes `library`, with default features off. `app` is the default, because
//! whoever builds this crate by itself wants the program.
//!
//! # What the library promises
//!
//! - **A write is applied at most once.** [`cluster::IndexClient`] repeats a write only under its idempotency key, or
//!   when the first attempt certainly was not applied. If the outcome is unknown, the caller gets
//!   [`cluster::Error::Unknown`].
//! - **An old answer says so.** Every read comes with its [`cluster::Freshness`]. By default a follower answers when no
//!   leader does, and the answer is marked stale.
//! - **A lease is lost early rather than late.** [`cluster::LeaseGuard`] renews in the background and reports a lease
//!   as lost before the cluster can grant it to another peer.
//!
//! # Example
//!
//! Publishes a file under a lease:
//!
//! ```no_run
//! # #[cfg(feature = "app")]
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! use client::contract::{AnnounceRequest, FileEntry, LeaseRequest};
//! use client::cluster::{IndexClient, LeaseAnswer, LeaseGuard, Options};
//! use raft_store::types::{FileName, PeerId};
//!
//! let index = IndexClient::new(Options::new(["http://127.0.0.1:8080", "http://127.0.0.1:8081"]))?;
//! let (peer, name) = (PeerId::parse("desk")?, FileName::parse("notes.md")?);
//!
//! let request =
//!     LeaseRequest { peer_id: peer.clone(), file_name: name.clone(), ttl_ms: None, wait: None, wait_ms: None };
//! let grant = match index.acquire(&request).await? {
//!     LeaseAnswer::Granted(grant) => grant,
//!     LeaseAnswer::Denied(denied) => return Err(format!("{} is editing it", denied.holder).into()),
//! };
//! let lease = LeaseGuard::start(&index, peer.clone(), name.clone(), &grant);
//!
//! let bytes = b"A new version.\n";
//! let file = FileEntry {
//!     name,
//!     version: Some(lease.version() + 1),
//!     size: Some(bytes.len() as u64),
//!     hash: client::files::hash_bytes(bytes),
//! };
//! let announced = index
//!     .announce(&AnnounceRequest {
//!         peer_id: peer,
//!         file: Some(file),
//!         files: None,
//!         lease_token: Some(lease.token()),
//!         keep_lease: None,
//!     })
//!     .await?;
//! lease.forget(); // publishing has ended it
//! println!("published version {}", announced.version);
//! # Ok(())
//! # }
//! ```
//!
//! Addresses need no cluster:
//!
//! ```
//! use client::address;
//!
//! assert_eq!(address::base_url("node-1:8080")?, "http://node-1:8080");
//! assert!(address::base_url("https://node-1:8080").is_err(), "this version supports http only");
//! # Ok::<(), address::AddressError>(())
//! ```

pub mod address;
#[cfg(feature = "app")]
pub mod cli;
#[cfg(feature = "library")]
pub mod cluster;
pub mod contract;
#[cfg(feature = "app")]
pub mod download;
#[cfg(feature = "app")]
pub mod files;
#[cfg(feature = "app")]
pub mod peer;
#[cfg(feature = "terminal")]
pub mod terminal;
