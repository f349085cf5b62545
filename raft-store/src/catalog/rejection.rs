//! Deterministic refusals: the command was applied, and the answer is no.
//!
//! Invariant: a refusal follows from the command and the state alone, so that every node gives the same one (D1). The
//! order of the variants is their encoding in remembered answers (D3).

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::tests::scripts::{Labels, or_none};
use crate::types::{AttributeKey, ContentHash, FencingToken, FileName, PeerId, Version, limits};

/// Why a command was refused. Nothing has changed, except that the idempotency key remembers the refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The peer has never registered, or was forgotten.
    #[error("peer {peer} is not registered; register it first")]
    UnknownPeer {
        /// The id in the request.
        peer: PeerId,
    },
    /// There is no such file, or only its tombstone.
    #[error("no file named {file}")]
    NotFound {
        /// The name in the request.
        file: FileName,
    },
    /// The peer does not hold the copy that it wants to drop.
    #[error("the peer holds no copy of {file}")]
    NotHolder {
        /// The name in the request.
        file: FileName,
    },
    /// Publishing takes the live lease's token: there was none, or a wrong one (F5).
    #[error("version {} of a file is published under its lease; acquire it first", current_version + 1)]
    LeaseRequired {
        /// The catalog's version.
        current_version: Version,
        /// Who has the lease now.
        holder: Option<PeerId>,
    },
    /// The token belonged to a lease that has ended (F5).
    #[error("the lease is over; acquire it again and start from the newest version")]
    LeaseExpired {
        /// The catalog's version.
        current_version: Version,
        /// Who has the lease now.
        holder: Option<PeerId>,
        /// The fencing token of the ended lease, if it is known.
        fencing_token: Option<FencingToken>,
    },
    /// The version is not the next one, or another peer created the name first (F3, F5).
    #[error("the index has version {current_version}")]
    VersionConflict {
        /// The catalog's version; 0 if the name does not exist.
        current_version: Version,
        /// Its hash.
        hash: Option<ContentHash>,
        /// Its size in bytes.
        size: Option<u64>,
        /// Who has the lease now.
        holder: Option<PeerId>,
    },
    /// The bytes are not those of any remembered version (F4).
    #[error("these bytes are no remembered version of the file; the index has version {current_version}")]
    HashConflict {
        /// The catalog's version.
        current_version: Version,
        /// Its hash; absent for a tombstone.
        hash: Option<ContentHash>,
        /// Its size in bytes.
        size: Option<u64>,
    },
    /// The key was used for another request (X1).
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// The key is below its session's floor, or was forgotten (X2).
    #[error("this idempotency key lies below the floor its session has stated; it was not applied")]
    KeyExpired,
    /// The catalog has reached a limit. Nothing is forgotten early to make room (X5).
    #[error("the index cannot take more: {what}")]
    Overloaded {
        /// Which limit.
        what: String,
    },
    /// The attributes of a leased name change only with the lease's token: there was none, or a wrong one (K4).
    #[error(
        "the attributes of {file} change only with the token of its live lease; acquire the lease, or show its token"
    )]
    AttributesLeased {
        /// The name.
        file: FileName,
        /// Who has the lease now.
        holder: Option<PeerId>,
    },
    /// An addition would leave its bounds, or the range of integers (K3).
    #[error("adding {by} to {key} of {file}, which is {value}, leaves the bounds; the transaction changed nothing")]
    OutOfBounds {
        /// The name.
        file: FileName,
        /// The attribute.
        key: AttributeKey,
        /// What it is without the addition; 0 if it is missing.
        value: i64,
        /// What was to be added.
        by: i64,
    },
    /// An addition to a string (K3).
    #[error("{key} of {file} is a string, and only integers are added to; the transaction changed nothing")]
    NotAnInteger {
        /// The name.
        file: FileName,
        /// The attribute.
        key: AttributeKey,
    },
    /// A name would get one attribute too many (K1).
    #[error(
        "{file} cannot have more than {} attributes; the transaction changed nothing",
        limits::ATTRIBUTES_PER_NAME_MAX
    )]
    TooManyAttributes {
        /// The name.
        file: FileName,
    },
    /// The answer would be too large to be remembered (X5).
    #[error(
        "the names of this transaction have {bytes} bytes of attributes together, and it can answer {} bytes; change \
         fewer names at a time",
        limits::TXN_ANSWER_BYTES_MAX
    )]
    AnswerTooLarge {
        /// About how large.
        bytes: u64,
    },
}

impl Rejection {
    /// Whether the idempotency key keeps this answer; otherwise the next use of the key tries again (X1).
    pub(super) fn is_remembered(&self) -> bool {
        match self {
            Rejection::Overloaded { .. }
            | Rejection::KeyReused
            | Rejection::KeyExpired
            | Rejection::UnknownPeer { .. } => false,
            Rejection::NotFound { .. }
            | Rejection::NotHolder { .. }
            | Rejection::LeaseRequired { .. }
            | Rejection::LeaseExpired { .. }
            | Rejection::VersionConflict { .. }
            | Rejection::HashConflict { .. }
            | Rejection::AttributesLeased { .. }
            | Rejection::OutOfBounds { .. }
            | Rejection::NotAnInteger { .. }
            | Rejection::TooManyAttributes { .. }
            | Rejection::AnswerTooLarge { .. } => true,
        }
    }
}

#[cfg(test)]
impl Rejection {
    /// As scripts show it.
    pub(super) fn text(&self, labels: &Labels) -> String {
        match self {
            Rejection::UnknownPeer { peer } => format!("unknown peer {peer}"),
            Rejection::NotFound { file } => format!("not found: {file}"),
            Rejection::NotHolder { file } => format!("not a holder of {file}"),
            Rejection::LeaseRequired { current_version, holder } => {
                format!("lease required, current={current_version} holder={}", or_none(holder.as_ref()))
            }
            Rejection::LeaseExpired { current_version, holder, fencing_token } => {
                let (holder, fencing) = (or_none(holder.as_ref()), or_none(*fencing_token));
                format!("lease expired, current={current_version} holder={holder} fencing={fencing}")
            }
            Rejection::VersionConflict { current_version, hash, size, holder } => {
                let (hash, size, holder) = (labels.hash(hash), or_none(*size), or_none(holder.as_ref()));
                format!("version conflict, current={hash}@{current_version} size={size} holder={holder}")
            }
            Rejection::HashConflict { current_version, hash, size } => {
                format!("hash conflict, current={}@{current_version} size={}", labels.hash(hash), or_none(*size))
            }
            Rejection::KeyReused => "key reused".into(),
            Rejection::KeyExpired => "key expired".into(),
            Rejection::Overloaded { what } => format!("overloaded: {what}"),
            Rejection::AttributesLeased { file, holder } => {
                format!("lease required for the attributes of {file}, holder={}", or_none(holder.as_ref()))
            }
            Rejection::OutOfBounds { file, key, value, by } => {
                format!("out of bounds: {file} {key}={value} by={by}")
            }
            Rejection::NotAnInteger { file, key } => format!("not an integer: {file} {key}"),
            Rejection::TooManyAttributes { file } => format!("too many attributes: {file}"),
            Rejection::AnswerTooLarge { bytes } => format!("answer too large: {bytes} bytes"),
        }
    }
}
