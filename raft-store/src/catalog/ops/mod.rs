//! The operations of the catalog, one file each: the fields of the command, what it does, and what tests need of it.
//!
//! Invariants
//! * [`Op`] is the only list of operations. A new operation is a file here and a line at the end of the list. The place
//!   of a line is the operation's tag in the log, so the order never changes (D3).
//! * A refusal changes nothing, except that the idempotency key remembers it (X1).
//!
//! Each file has the command's struct, its implementation of [`Operation`], and a module `test` that implements
//! `Exercised` for scripts, random histories and pinned bytes. What several operations do to the records is in
//! [`super::rules`]. Replies, refusals and events are closed enums in `reply`, `rejection` and `event`: callers match
//! on all of them.

mod acquire;
mod announce;
mod announce_many;
mod delete;
mod drop_waiter;
mod expire_peer;
mod leave;
mod register;
mod release;
mod renew;
mod settings;
mod txn;

use serde::{Deserialize, Serialize};

pub use acquire::Acquire;
pub use announce::Announce;
pub use announce_many::AnnounceMany;
pub use delete::Delete;
pub use drop_waiter::DropWaiter;
pub use expire_peer::ExpirePeer;
pub use leave::Leave;
pub use register::{Listing, Register};
pub use release::Release;
pub use renew::Renew;
pub use settings::SetReplicas;
pub(in crate::catalog) use settings::Settings;
pub use txn::{Action, Test, Txn};
pub(in crate::catalog) use txn::{Change, FEW_NAMES};

#[cfg(test)]
use super::tests::exercise::Exercise;
use super::{Catalog, CommandId, Rejection, Reply};
use crate::types::PeerId;

/// An operation of the catalog.
pub(in crate::catalog) trait Operation {
    /// Whether success shows that the peer is alive, which keeps the record of a peer that is not live (P5).
    const IS_SIGN_OF_LIFE: bool = true;

    /// The peer the operation acts for; its idempotency keys are kept under this id. `None` for the node's own
    /// commands, which have no keys.
    fn peer(&self) -> Option<&PeerId> {
        None
    }

    /// Changes the catalog, and emits an event for each change; or refuses, and changes nothing.
    ///
    /// The result depends on the command and the catalog alone (D1). `at` is the place of the command in the log.
    fn apply(&self, catalog: &mut Catalog, at: CommandId) -> Result<Reply, Rejection>;
}

/// Makes [`Op`] from the list of operations. A call is dispatched by one match on the tag: no boxes and no vtables on
/// the path that applies the log.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The operations of the catalog. Every variant names the rules it implements; each is deterministic.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Op {
            $($(#[$doc])* $name($name),)+
        }

        $(impl From<$name> for Op {
            fn from(operation: $name) -> Self {
                Op::$name(operation)
            }
        })+

        impl Op {
            /// The peer an operation acts for; its idempotency keys are kept under this id. `None` for the node's own
            /// commands.
            pub fn peer(&self) -> Option<&PeerId> {
                match self {
                    $(Op::$name(operation) => operation.peer(),)+
                }
            }

            /// Applies the operation, whatever its key.
            pub(in crate::catalog) fn apply(
                &self,
                catalog: &mut Catalog,
                at: CommandId,
            ) -> Result<Reply, Rejection> {
                match self {
                    $(Op::$name(operation) => apply(operation, catalog, at),)+
                }
            }
        }

        /// All operations, for tests.
        #[cfg(test)]
        pub(in crate::catalog) const ALL: &[Exercise] = &[$(Exercise::of::<$name>(),)+];
    };
}

operations! {
    /// Creates or refreshes a peer (P1, P2).
    Register,
    /// Announces one holding, creates or publishes a version (F3–F6).
    Announce,
    /// Announces many holdings; each is decided by itself, none may carry a lease token.
    AnnounceMany,
    /// Asks for the lease of a file; claims it for the head of the line; joins the line if asked to (L1–L6).
    Acquire,
    /// Extends a live lease; never shortens it (L1).
    Renew,
    /// Ends a live lease (L7).
    Release,
    /// Gives up a place in line, or a pending grant; fine if there is none (L5).
    Leave,
    /// Drops one copy, or the name everywhere under a lease (F7).
    Delete,
    /// The leader saw no sign of life of a peer for the peer TTL (P3).
    ExpirePeer,
    /// The leader saw no poll of a waiter for 15 s (L5).
    DropWaiter,
    /// Sets the default number of live copies (M1).
    SetReplicas,
    /// Changes attributes if conditions hold (K1–K5).
    Txn,
}

fn apply<O: Operation>(operation: &O, catalog: &mut Catalog, at: CommandId) -> Result<Reply, Rejection> {
    let result = operation.apply(catalog, at);
    if O::IS_SIGN_OF_LIFE
        && result.is_ok()
        && let Some(peer) = operation.peer()
    {
        catalog.sign_of_life(peer);
    }
    result
}
