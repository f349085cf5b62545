//! Reads the formats of earlier builds (D3).
//!
//! Invariant: these layouts never change. What they lack gets the value that it had in effect: limits their defaults,
//! files no attributes.

use serde::Deserialize;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::{Scalars, Stored};
use crate::catalog::keys::answers::Answers;
use crate::catalog::ops::Settings;
use crate::catalog::records::{Contention, EndedLease, FileRecord, Holder, PastVersion, PeerRecord, few_holders};
use crate::catalog::state::Limits;
use crate::catalog::tables::slab::{Id, Slab};
use crate::types::{Attributes, ContentHash, FencingToken, Version};

/// The first format: its limits end before `answers_per_peer`.
pub(super) const FORMAT_1: u8 = 1;
/// The second format: its files have no attributes.
pub(super) const FORMAT_2: u8 = 2;

/// Scalars of [`FORMAT_1`].
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Scalars1 {
    clock: u64,
    sequence: u64,
    positions: u64,
    incarnations: u64,
    fencing_tokens: u64,
    tickets: u64,
    replicas: u32,
    cleanup_items: u32,
    answers: u64,
    opaque_keys_per_peer: u32,
    line_length: u32,
}

impl From<Scalars1> for Scalars {
    fn from(before: Scalars1) -> Self {
        Self {
            clock: before.clock,
            sequence: before.sequence,
            positions: before.positions,
            incarnations: before.incarnations,
            fencing_tokens: before.fencing_tokens,
            tickets: before.tickets,
            settings: Settings { replicas: before.replicas },
            limits: Limits {
                cleanup_items: before.cleanup_items,
                answers: before.answers,
                opaque_keys_per_peer: before.opaque_keys_per_peer,
                line_length: before.line_length,
                ..Limits::default()
            },
        }
    }
}

/// A file of [`FORMAT_1`] and [`FORMAT_2`].
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct File2 {
    name: std::sync::Arc<str>,
    version: Version,
    size: Option<u64>,
    hash: Option<ContentHash>,
    fencing_token: FencingToken,
    past: ThinVec<PastVersion>,
    #[serde(deserialize_with = "few_holders")]
    holders: SmallVec<[Holder; 1]>,
    refused: ThinVec<Id>,
    ended: ThinVec<EndedLease>,
    contention: Option<Box<Contention>>,
}

impl From<File2> for FileRecord {
    fn from(before: File2) -> Self {
        Self {
            name: before.name,
            version: before.version,
            size: before.size,
            hash: before.hash,
            fencing_token: before.fencing_token,
            past: before.past,
            holders: before.holders,
            refused: before.refused,
            ended: before.ended,
            contention: before.contention,
            attributes: Attributes::new(),
        }
    }
}

type Tables2 = (Slab<File2>, Slab<PeerRecord>, Answers);

/// Reads [`FORMAT_1`]; returns what follows, too.
pub(super) fn format_1(bytes: &[u8]) -> postcard::Result<(Stored, &[u8])> {
    let (scalars, bytes) = postcard::take_from_bytes::<Scalars1>(bytes)?;
    tables(scalars.into(), bytes)
}

/// Reads [`FORMAT_2`]; returns what follows, too.
pub(super) fn format_2(bytes: &[u8]) -> postcard::Result<(Stored, &[u8])> {
    let (scalars, bytes) = postcard::take_from_bytes(bytes)?;
    tables(scalars, bytes)
}

fn tables(scalars: Scalars, bytes: &[u8]) -> postcard::Result<(Stored, &[u8])> {
    let ((files, peers, answers), bytes) = postcard::take_from_bytes::<Tables2>(bytes)?;
    Ok((Stored { scalars, files: files.map(FileRecord::from), peers, answers }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::catalog::codec::Image;
    use crate::catalog::codec::tests::large;
    use crate::catalog::tests::wire;

    fn as_file_2(file: FileRecord) -> File2 {
        assert!(file.attributes.is_empty());
        File2 {
            name: file.name,
            version: file.version,
            size: file.size,
            hash: file.hash,
            fencing_token: file.fencing_token,
            past: file.past,
            holders: file.holders,
            refused: file.refused,
            ended: file.ended,
            contention: file.contention,
        }
    }

    fn as_scalars_1(scalars: Scalars) -> Scalars1 {
        Scalars1 {
            clock: scalars.clock,
            sequence: scalars.sequence,
            positions: scalars.positions,
            incarnations: scalars.incarnations,
            fencing_tokens: scalars.fencing_tokens,
            tickets: scalars.tickets,
            replicas: scalars.settings.replicas,
            cleanup_items: scalars.limits.cleanup_items,
            answers: scalars.limits.answers,
            opaque_keys_per_peer: scalars.limits.opaque_keys_per_peer,
            line_length: scalars.limits.line_length,
        }
    }

    #[test]
    fn the_formats_before_this_one_are_read() {
        let Image { scalars, files, peers, answers } = large();
        let tables = (files.map(as_file_2), peers, answers);
        let second = postcard::to_extend(&(scalars, &tables), vec![FORMAT_2]).expect("it encodes");
        let first = postcard::to_extend(&(as_scalars_1(scalars), &tables), vec![FORMAT_1]).expect("it encodes");
        for bytes in [first, second] {
            let read = Catalog::decode(&bytes).expect("it is read");
            assert_eq!(read.digest(), large().digest(), "and nothing is lost");
        }
    }

    #[test]
    fn a_snapshot_of_the_build_before_is_read() {
        let state = wire::state_of_format_2();
        assert_eq!(state[0], FORMAT_2);
        let read = Catalog::decode(&state).expect("it is read");
        assert_eq!(read.encode(), wire::state_before_transactions(), "as the state that this build reaches");
    }
}
