//! A batch together with its encoding, as log entries carry it. The proposer encodes it once; a receiver decodes it
//! once.
//!
//! Invariant: batch and encoding have the same content. Log records, appends to followers and cached entries share
//! both, so none of them encodes, decodes or copies a command again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalog::{Batch, Command, Stamp};

/// Most commands are encoded in no more bytes than this.
const COMMAND_BYTES: usize = 256;
/// The most bytes that a stamp and the number of commands take.
const HEAD_BYTES: usize = 32;

/// A command and its encoding.
#[derive(Debug, Clone)]
pub struct EncodedCommand {
    /// Boxed, because it is moved several times before it becomes part of an entry.
    command: Box<Command>,
    encoded: Vec<u8>,
}

impl EncodedCommand {
    /// Encodes a command.
    pub fn new(command: Command) -> Self {
        let encoded = Vec::with_capacity(COMMAND_BYTES);
        let encoded = postcard::to_extend(&command, encoded).expect("plain values have an encoding");
        Self { command: Box::new(command), encoded }
    }

    /// The bytes that it adds to an entry.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }
}

/// The payload of an entry. Cheap to clone.
#[derive(Clone)]
pub struct Proposal {
    batch: Arc<Batch>,
    encoded: Bytes,
}

impl Proposal {
    /// Joins encoded commands.
    pub fn of(stamp: Option<Stamp>, commands: Vec<EncodedCommand>) -> Self {
        // postcard encodes a struct as its fields in order, and a list as its length and its items.
        let bytes: usize = commands.iter().map(EncodedCommand::bytes).sum();
        let mut encoded = Vec::with_capacity(HEAD_BYTES + bytes);
        encoded = postcard::to_extend(&(stamp, commands.len()), encoded).expect("plain values have an encoding");
        let commands = commands.into_iter().map(|command| {
            encoded.extend_from_slice(&command.encoded);
            *command.command
        });
        let commands = commands.collect();
        Self { batch: Arc::new(Batch { stamp, commands }), encoded: encoded.into() }
    }

    /// An entry that changes nothing. Every member takes the digest of its state right after it (N3). Builds that do
    /// not know checkpoints apply it as an entry without commands.
    pub fn checkpoint() -> Self {
        Self::of(None, Vec::new())
    }

    /// Whether this is a checkpoint. All other entries without commands are ticks, which carry a stamp.
    pub fn is_checkpoint(&self) -> bool {
        self.batch.stamp.is_none() && self.batch.commands.is_empty()
    }

    /// The size of its encoding in bytes.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// The batch.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

impl From<Batch> for Proposal {
    fn from(batch: Batch) -> Self {
        let encoded = postcard::to_stdvec(&batch).expect("plain values have an encoding").into();
        Self { batch: Arc::new(batch), encoded }
    }
}

/// Equal if the batches are.
impl PartialEq for Proposal {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Proposal {}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.batch, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.batch.commands.len())
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encoded)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded;
        impl Visitor<'_> for Encoded {
            type Value = Proposal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an encoded batch")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Proposal, E> {
                match postcard::take_from_bytes(bytes) {
                    Ok((batch, [])) => Ok(Proposal { batch: Arc::new(batch), encoded: Bytes::copy_from_slice(bytes) }),
                    Ok((_, rest)) => Err(E::custom(format_args!("{} bytes follow the batch", rest.len()))),
                    Err(error) => Err(E::custom(error)),
                }
            }
        }
        deserializer.deserialize_bytes(Encoded).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ExpirePeer, Op};
    use crate::types::PeerId;

    fn commands(count: u64) -> Vec<Command> {
        let op =
            |incarnation| Op::ExpirePeer(ExpirePeer { peer: PeerId::parse("p").expect("valid"), incarnation, term: 1 });
        (0..count).map(|n| Command { key: None, op: op(n) }).collect()
    }

    #[test]
    fn commands_encoded_one_by_one_make_the_encoding_of_the_batch() {
        for count in [0, 1, 127, 128, 300] {
            for stamp in [None, Some(Stamp { term: 7, at: 1_000 })] {
                let batch = Batch { stamp, commands: commands(count) };
                let proposal = Proposal::of(stamp, commands(count).into_iter().map(EncodedCommand::new).collect());
                assert_eq!(proposal, Proposal::from(batch.clone()));
                assert_eq!(*proposal.batch(), batch);
            }
        }
    }

    #[test]
    fn what_arrives_is_what_was_sent_and_nothing_more() {
        let sent = Proposal::from(Batch { stamp: None, commands: commands(3) });
        let bytes = postcard::to_stdvec(&sent).expect("encodes");
        let received: Proposal = postcard::from_bytes(&bytes).expect("decodes");
        assert_eq!(received, sent);
        assert_eq!(received.batch(), sent.batch());
        let longer = Proposal { encoded: [&sent.encoded[..], &[0]].concat().into(), ..sent };
        let bytes = postcard::to_stdvec(&longer).expect("encodes");
        assert!(postcard::from_bytes::<Proposal>(&bytes).is_err(), "a byte follows the batch");
    }
}
