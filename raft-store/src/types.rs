//! The vocabulary that all crates share: validated names, hashes, versions and tokens, and the limits with their units.
//!
//! Invariant: every value of these types is valid. Text from outside becomes such a value only through `parse`, which
//! says which rule the text breaks (F1), so no later layer checks again.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

mod attributes;

pub use attributes::{Attribute, AttributeKey, AttributeValue, Attributes, Comparison, TxnId};

/// Limits that several crates have to agree on.
pub mod limits {
    /// Longest file name, in bytes (F1).
    pub const FILE_NAME_BYTES_MAX: usize = 1_024;
    /// Longest peer id, in bytes.
    pub const PEER_ID_BYTES_MAX: usize = 128;
    /// Longest idempotency key, in bytes (API conventions).
    pub const KEY_BYTES_MAX: usize = 128;
    /// Longest peer address or zone, in bytes.
    pub const ADDRESS_BYTES_MAX: usize = 512;
    /// Shortest and longest lease a request may ask for, and the default, in milliseconds (L1).
    pub const LEASE_TTL_MS_MIN: u64 = 100;
    /// See [`LEASE_TTL_MS_MIN`].
    pub const LEASE_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
    /// See [`LEASE_TTL_MS_MIN`].
    pub const LEASE_TTL_MS_DEFAULT: u64 = 60_000;
    /// How long the next waiter may take to claim its grant, and how long a waiter may stay silent, in milliseconds
    /// (L5).
    pub const CLAIM_WINDOW_MS: u64 = 15_000;
    /// Versions of a file whose hashes are remembered (F2).
    pub const REMEMBERED_VERSIONS: usize = 16;
    /// Items past their deadline that one entry cleans up (D4).
    pub const CLEANUP_ITEMS_MAX: usize = 1_000;
    /// How long an opaque idempotency key is remembered, in milliseconds of log time (X2).
    pub const KEY_RETENTION_MS: u64 = 10 * 60 * 1_000;
    /// Opaque keys remembered for one peer; a newer one replaces the oldest (X2).
    pub const OPAQUE_KEYS_PER_PEER: usize = 1_024;
    /// Remembered answers of all peers together; beyond it, writes with new keys are refused (X5).
    pub const ANSWERS_MAX: usize = 1_000_000;
    /// Remembered answers of one peer; beyond it, its writes with new keys are refused (X5).
    pub const ANSWERS_PER_PEER_MAX: usize = 10_000;
    /// How long the record and the holdings of a silent peer are kept, in milliseconds of log time (P5).
    pub const PEER_RETENTION_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
    /// Peers that may wait for one file.
    pub const LINE_LENGTH_MAX: usize = 10_000;
    /// Attributes of one name (K1).
    pub const ATTRIBUTES_PER_NAME_MAX: usize = 32;
    /// Longest key of an attribute, in bytes (K1).
    pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 64;
    /// Longest string that is the value of an attribute, in bytes (K1).
    pub const ATTRIBUTE_TEXT_BYTES_MAX: usize = 1_024;
    /// Conditions of one transaction (K2).
    pub const TXN_CONDITIONS_MAX: usize = 64;
    /// Operations in each branch of a transaction (K2).
    pub const TXN_OPERATIONS_MAX: usize = 64;
    /// Encoded size of a transaction's command, in bytes; leaves room in an entry for its key and stamp.
    pub const TXN_BYTES_MAX: usize = 48 * 1_024;
    /// Encoded size of a transaction's answer, in bytes: it is remembered under the key.
    pub const TXN_ANSWER_BYTES_MAX: usize = 64 * 1_024;
    /// Commands in one log entry.
    pub const ENTRY_COMMANDS_MAX: usize = 256;
    /// Encoded size of one log entry, in bytes. sled would keep larger values outside its log (see ARCHITECTURE.md).
    pub const ENTRY_BYTES_MAX: usize = 56 * 1_024;
    /// Live copies that a file should have, unless set otherwise (M1).
    pub const REPLICAS_DEFAULT: u32 = 2;
}

/// Identity of an index node.
pub type NodeId = u64;
/// Version of a file: 1, 2, 3 …; 0 means that it does not exist yet (F2, L6).
pub type Version = u64;
/// Milliseconds on the log clock (T1). The clock starts at 0 with the cluster and never goes back.
pub type LogTime = u64;
/// Number of a peer's registration; grows with every registration in the cluster (P1, D2).
pub type Incarnation = u64;
/// Number of a grant; grows with every grant in the cluster (L2). 0 means that there was no lease.
pub type FencingToken = u64;

/// Why text from outside is not a valid value. `Display` is what the user sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// A file name breaks F1.
    #[error("bad file name: {0}")]
    FileName(&'static str),
    /// A peer id is empty, too long or has control characters.
    #[error("bad peer id: {0}")]
    PeerId(&'static str),
    /// Not 64 lower-case hexadecimal digits.
    #[error("bad hash: expected 64 lower-case hexadecimal digits (a SHA-256)")]
    Hash,
    /// Not 32 lower-case hexadecimal digits.
    #[error("bad lease token: expected the 32 hexadecimal digits that the grant answered")]
    LeaseToken,
    /// The key of an attribute is empty, too long or has other characters (K1).
    #[error("bad attribute key: {0}")]
    AttributeKey(&'static str),
    /// The value of an attribute is too long or out of range (K1).
    #[error("bad attribute value: {0}")]
    AttributeValue(&'static str),
    /// Not `INDEX.N`.
    #[error("bad transaction id: expected INDEX.N, as the transaction answered it")]
    TxnId,
}

/// The private folder inside a shared folder, in lower case. No segment of a file name equals it, in any case (F1).
pub const STATE_FOLDER: &str = ".raftshare";

/// Whether a file system may treat this path segment as [`STATE_FOLDER`]. Some ignore case and compare folded
/// characters, so that `\u{17f}` is an `s`; some ignore invisible characters.
pub fn is_state_folder(segment: &str) -> bool {
    if segment.is_ascii() {
        return segment.eq_ignore_ascii_case(STATE_FOLDER);
    }
    let hidden = |c: &char| {
        let is_mark = matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
        is_mark || matches!(c, '\u{206a}'..='\u{206f}' | '\u{feff}')
    };
    let folded = segment.chars().filter(|c| !hidden(c)).flat_map(char::to_uppercase);
    folded.eq(STATE_FOLDER.chars().flat_map(char::to_uppercase))
}

/// A valid file name (F1): a relative UTF-8 path in NFC, `/`-separated. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Checks every rule of F1 and says which one the text breaks.
    pub fn parse(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidValue> {
        if text.as_ref().split('/').any(is_state_folder) {
            return Err(InvalidValue::FileName(
                "'.raftshare' holds a peer's own state and is never shared, at any depth",
            ));
        }
        Self::parse_stored(text)
    }

    /// A name from the log or a snapshot. Earlier builds accepted `.raftshare` below the first segment, and what they
    /// wrote has to stay readable (D3).
    pub(crate) fn parse_stored(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidValue> {
        match Self::broken_rule(text.as_ref()) {
            None => Ok(Self(text.into())),
            Some(rule) => Err(InvalidValue::FileName(rule)),
        }
    }

    /// A name that was checked before it was stored and needs no second check.
    pub(crate) fn from_checked(text: &Arc<str>) -> Self {
        Self(text.clone())
    }

    /// The shared text, for storing.
    pub(crate) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    fn broken_rule(text: &str) -> Option<&'static str> {
        if text.is_empty() {
            return Some("it is empty");
        }
        if text.len() > limits::FILE_NAME_BYTES_MAX {
            return Some("it is longer than 1,024 bytes");
        }
        if text.starts_with('/') {
            return Some("it starts with '/'; names are relative to the shared folder");
        }
        if text.contains('\\') {
            return Some("it contains a backslash; separate folders with '/'");
        }
        // Most names are ASCII: each byte is a character, and there is only one normalization form.
        let is_ascii = text.is_ascii();
        let has_control = match is_ascii {
            true => text.bytes().any(|byte| byte.is_ascii_control()),
            false => text.chars().any(char::is_control),
        };
        if has_control {
            return Some("it contains a NUL or another control character");
        }
        for segment in text.split('/') {
            match segment {
                "" => return Some("it has an empty segment ('//' or a '/' at the end)"),
                "." | ".." => return Some("it has a '.' or '..' segment"),
                _ => {}
            }
        }
        let normalized = is_ascii
            || match is_nfc_quick(text.chars()) {
                IsNormalized::Yes => true,
                IsNormalized::No => false,
                IsNormalized::Maybe => text.nfc().eq(text.chars()),
            };
        (!normalized).then_some("it is not in Unicode normalization form C (NFC)")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A valid peer id: 1 to 128 bytes without control characters. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// See [`FileName::parse_stored`]. The rules for ids have never changed.
    fn parse_stored(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidValue> {
        Self::parse(text)
    }

    /// Checks length and characters.
    pub fn parse(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidValue> {
        let id = text.as_ref();
        if id.is_empty() {
            return Err(InvalidValue::PeerId("it is empty"));
        }
        if id.len() > limits::PEER_ID_BYTES_MAX {
            return Err(InvalidValue::PeerId("it is longer than 128 bytes"));
        }
        if id.chars().any(char::is_control) {
            return Err(InvalidValue::PeerId("it contains a control character"));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text types deserialize through `parse`, so that a decoded value is valid too.
macro_rules! text_type {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text {
                    stored: bool,
                }
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        if self.stored { $type::parse_stored(text) } else { $type::parse(text) }.map_err(E::custom)
                    }
                }
                // Binary formats are those of the log and snapshots; what comes from outside is JSON.
                let stored = !deserializer.is_human_readable();
                deserializer.deserialize_str(Text { stored })
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}
text_type!(FileName);
text_type!(PeerId);

/// SHA-256 of a file's bytes. JSON and text form: 64 lower-case hexadecimal digits; binary form: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

/// The secret of one grant, drawn by the proposer (D2, L2). JSON and text form: 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken(pub [u8; 16]);

/// Byte arrays that are hexadecimal in human-readable formats and raw bytes in binary ones.
macro_rules! hex_type {
    ($type:ident, $len:literal, $error:expr) => {
        impl $type {
            /// Parses exactly the right number of lower-case hexadecimal digits.
            pub fn parse(text: &str) -> Result<Self, InvalidValue> {
                parse_hex(text).map(Self).ok_or($error)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}
hex_type!(ContentHash, 32, InvalidValue::Hash);
hex_type!(LeaseToken, 16, InvalidValue::LeaseToken);

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for LeaseToken {
    /// Hides the secret, so that no log line can leak it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(…)")
    }
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_obey_every_rule() {
        for good in [
            "a",
            "dir/b.txt",
            "é.txt",
            ".hidden",
            "a/.raftshare.txt",
            "raftshare/.raftshares",
            "x".repeat(1_024).as_str(),
        ] {
            assert!(FileName::parse(good).is_ok(), "{good:?} is valid");
        }
        let too_long = "x".repeat(1_025);
        for (bad, rule) in [
            ("", "empty"),
            (too_long.as_str(), "1,024"),
            ("/a", "starts with"),
            ("a\\b", "backslash"),
            ("a\0b", "NUL"),
            ("a\nb", "control"),
            ("a//b", "empty segment"),
            ("a/", "empty segment"),
            ("./a", "'.'"),
            ("a/../b", "'..'"),
            (".raftshare/id", ".raftshare"),
            ("a/.raftshare", ".raftshare"),
            ("a/b/.raftshare/identity.json", ".raftshare"),
            (".RAFTSHARE/identity.json", ".raftshare"),
            ("a/.RaftShare/x", ".raftshare"),
            ("a/.raft\u{17f}hare/x", ".raftshare"),
            ("a/.raft\u{200c}share/x", ".raftshare"),
            (".raftshare", ".raftshare"),
            ("e\u{301}.txt", "NFC"),
        ] {
            let error = FileName::parse(bad).expect_err("the name breaks F1").to_string();
            assert!(error.contains(rule), "{bad:?}: {error}");
        }
    }

    #[test]
    fn hashes_are_lower_case_hex() {
        let text = "00ff".repeat(16);
        assert_eq!(ContentHash::parse(&text).expect("valid").to_string(), text);
        assert_eq!(ContentHash::parse(&text.to_uppercase()), Err(InvalidValue::Hash));
        assert_eq!(ContentHash::parse("00"), Err(InvalidValue::Hash));
    }
}
