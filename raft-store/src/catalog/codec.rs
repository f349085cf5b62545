//! The catalog's canonical bytes, which a snapshot holds (D1, D3).
//!
//! Invariant: the bytes are a function of the replicated state. That includes slot numbers and free lists, so a node
//! restored from a snapshot numbers new records as the others do. Decoding trusts nothing: every id, order and
//! reference that applying relies on is checked (`check::validate`) before the indexes are built. Encoding needs memory
//! for one piece, and a pointer for each peer with idempotency keys.

use std::io::{self, Write};

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::check::validate;
use super::digest::{DIGEST_FORMAT, Root};
use super::keys::answers::Answers;
use super::ops::Settings;
use super::records::{FileRecord, PeerRecord};
use super::state::{Catalog, Limits};
use super::tables::slab::Slab;
use crate::checksum::Checksummed;
use crate::types::ContentHash;

mod before;

/// The format that this build writes, as the first byte.
const FORMAT: u8 = 3;

/// Two digests are compared only if they have this in common (N3): the version of the digest, and that of the state's
/// encoding.
pub const STATE_DIGEST_FORMAT: u32 = (DIGEST_FORMAT as u32) << 8 | FORMAT as u32;

/// Bytes that are written at a time: enough to be worth a system call, few enough to stay in the processor's cache
/// until they are hashed and written.
const PIECE_BYTES: usize = 256 * 1_024;

/// Scalars in the order of the format.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Scalars {
    clock: u64,
    sequence: u64,
    positions: u64,
    incarnations: u64,
    fencing_tokens: u64,
    tickets: u64,
    settings: Settings,
    limits: Limits,
}

/// What a snapshot holds.
#[derive(Deserialize)]
struct Stored {
    scalars: Scalars,
    files: Slab<FileRecord>,
    peers: Slab<PeerRecord>,
    answers: Answers,
}

/// The replicated state at one moment, in the order of the format. It shares its records with the catalog it was taken
/// from. When the catalog changes a shared record, it first copies the chunk of a few hundred that the record is in.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    scalars: Scalars,
    files: Slab<FileRecord>,
    peers: Slab<PeerRecord>,
    answers: Answers,
}

impl Image {
    /// Writes the canonical bytes: two nodes that applied the same log get the same ones (D1). Fails if `out` does.
    pub fn encode_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut pieces = Pieces { out, piece: Vec::with_capacity(PIECE_BYTES), failed: None };
        pieces.piece.push(FORMAT);
        let encoded = postcard::serialize_with_flavor(self, &mut pieces);
        encoded.map_err(|error| pieces.failed.take().unwrap_or_else(|| io::Error::other(error)))
    }

    /// The digest that members compare (N3), see `digest`. Hashes what was written since the last call.
    pub fn state_digest(&self) -> ContentHash {
        let mut root = Root::new();
        root.add(&(FORMAT, self.scalars));
        root.add_slab(&self.files);
        root.add_slab(&self.peers);
        root.add_records(self.answers.owners.records());
        root.finish()
    }

    /// SHA-256 over all the canonical bytes. Independent of [`Image::state_digest`], and slow for a large state.
    pub fn digest(&self) -> ContentHash {
        let mut hashed = Checksummed::new(io::sink());
        self.encode_to(&mut hashed).expect("plain values have an encoding, and a sink takes everything");
        let (digest, _) = hashed.finish();
        ContentHash(digest)
    }
}

/// Gathers the few bytes that postcard writes at a time, so that the writer is called once for many.
struct Pieces<'a> {
    out: &'a mut dyn Write,
    /// At most [`PIECE_BYTES`].
    piece: Vec<u8>,
    /// Why the writer failed: postcard's error cannot carry it.
    failed: Option<io::Error>,
}

impl Pieces<'_> {
    fn hand_on(&mut self) -> postcard::Result<()> {
        let written = self.out.write_all(&self.piece);
        self.piece.clear();
        written.map_err(|error| {
            self.failed = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    /// Takes more bytes than the piece has room for.
    #[cold]
    fn overflow(&mut self, mut bytes: &[u8]) -> postcard::Result<()> {
        while let Some((fits, rest)) = bytes.split_at_checked(PIECE_BYTES - self.piece.len()) {
            self.piece.extend_from_slice(fits);
            self.hand_on()?;
            bytes = rest;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }
}

impl Flavor for &mut Pieces<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > PIECE_BYTES - self.piece.len() {
            return self.overflow(bytes);
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        self.hand_on()
    }
}

impl Catalog {
    /// The contents of a snapshot. Costs a pointer for every few hundred records; nothing derived is copied.
    pub fn image(&self) -> Image {
        Image {
            scalars: Scalars {
                clock: self.clock,
                sequence: self.sequence,
                positions: self.positions,
                incarnations: self.incarnations,
                fencing_tokens: self.fencing_tokens,
                tickets: self.tickets,
                settings: self.settings,
                limits: self.limits,
            },
            files: self.files.clone(),
            peers: self.peers.clone(),
            answers: self.answers.stored(),
        }
    }

    /// Canonical bytes in one piece, see [`Image::encode_to`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.image().encode_to(&mut bytes).expect("plain values have an encoding, and memory takes everything");
        bytes
    }

    /// Reads what [`Catalog::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let damaged = |why: String| DecodeError::Damaged(why);
        let (format, rest) = bytes.split_first().ok_or_else(|| damaged("it is empty".into()))?;
        let undecodable = |error: postcard::Error| damaged(error.to_string());
        let (stored, rest) = match *format {
            FORMAT => postcard::take_from_bytes::<Stored>(rest),
            before::FORMAT_2 => before::format_2(rest),
            before::FORMAT_1 => before::format_1(rest),
            found => return Err(DecodeError::UnknownVersion { found, known: FORMAT }),
        }
        .map_err(undecodable)?;
        let Stored { scalars, files, peers, answers } = stored;
        if !rest.is_empty() {
            return Err(damaged(format!("{} bytes follow its end", rest.len())));
        }
        let stored = Self {
            clock: scalars.clock,
            sequence: scalars.sequence,
            positions: scalars.positions,
            incarnations: scalars.incarnations,
            fencing_tokens: scalars.fencing_tokens,
            tickets: scalars.tickets,
            settings: scalars.settings,
            files,
            peers,
            answers,
            ..Self::with_limits(scalars.limits)
        };
        validate::stored(&stored).map_err(damaged)?;
        Ok(stored.with_indexes())
    }

    /// SHA-256 over the canonical bytes.
    pub fn digest(&self) -> ContentHash {
        self.image().digest()
    }

    /// See [`Image::state_digest`].
    pub fn state_digest(&self) -> ContentHash {
        self.image().state_digest()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::catalog::tests::fixtures;
    use crate::catalog::{Batch, Command};

    /// Takes `left` bytes, then fails like a full disk.
    struct Full {
        left: usize,
        calls: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An image of several pieces whose borders cut records.
    pub(super) fn large() -> Image {
        let op = fixtures::register("p", fixtures::files(6_000, |n| n as usize % 200 + 1));
        let command = Command { key: None, op };
        let mut catalog = Catalog::default();
        let applied = catalog.apply(fixtures::entry(1), &Batch { stamp: None, commands: vec![command] });
        assert!(applied.replies.iter().all(|outcome| outcome.result.is_ok()), "{:?}", applied.replies);
        catalog.image()
    }

    fn in_one_piece(image: &Image) -> Vec<u8> {
        postcard::to_extend(image, vec![FORMAT]).expect("it encodes")
    }

    #[test]
    fn pieces_are_what_one_encoding_gives() {
        for image in [Catalog::default().image(), large()] {
            let mut bytes = Vec::new();
            image.encode_to(&mut bytes).expect("it encodes");
            assert!(bytes == in_one_piece(&image));
            let mut digest = Checksummed::new(io::sink());
            digest.write_all(&bytes).expect("a sink takes everything");
            assert_eq!((image.digest().0, bytes.len() as u64), digest.finish());
        }
        assert!(in_one_piece(&large()).len() > 3 * PIECE_BYTES, "there are several pieces");
    }

    #[test]
    fn bytes_that_do_not_fit_into_a_piece_fill_it_and_go_on_in_the_next() {
        let wanted: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|n| n as u8).collect();
        for first in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES] {
            let mut bytes = Vec::new();
            let mut pieces = Pieces { out: &mut bytes, piece: Vec::new(), failed: None };
            let (before, after) = wanted.split_at(first);
            let mut flavor = &mut pieces;
            flavor.try_extend(before).and_then(|()| flavor.try_extend(after)).expect("memory takes everything");
            assert!(flavor.piece.len() <= PIECE_BYTES);
            flavor.finalize().expect("memory takes everything");
            assert!(bytes == wanted, "{first} bytes first");
        }
    }

    #[test]
    fn a_writer_that_fails_is_asked_no_more_and_its_error_is_told() {
        let image = large();
        let bytes = in_one_piece(&image).len();
        for left in [0, PIECE_BYTES, PIECE_BYTES + 1, bytes - 1] {
            let mut full = Full { left, calls: 0 };
            let error = image.encode_to(&mut full).expect_err("the disk is full");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let wanted = left / PIECE_BYTES + 1 + usize::from(left % PIECE_BYTES > 0);
            assert_eq!(full.calls, wanted, "{left} bytes fit");
        }
        image.encode_to(&mut Full { left: bytes, calls: 0 }).expect("it fits");
    }
}
