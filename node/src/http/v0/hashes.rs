//! Hashes that are none: what the index records for a file that its peer announced without a SHA-256.
//!
//! A stand-in looks like a hash, so that the index can tell one version from another. It is made of what the peer said,
//! so two peers that say the same have the same version:
//!
//! ```text
//! 8 bytes  mark | 1 byte  length n of the text, or LONG | n bytes  the text | the rest: SHA-256 of all that was said
//! ```
//!
//! Invariant: the text that a peer gave comes back as it was, up to [`TEXT_BYTES_MAX`] bytes. A stand-in is never taken
//! for a SHA-256 of bytes: no download fits it, and [`is_stand_in`] recognises it.

use raft_store::types::ContentHash;
use sha2::{Digest, Sha256};

/// How a stand-in begins. A SHA-256 begins like this by chance once in 2^64.
const MARK: [u8; 8] = *b"\0no-hash";
/// Longest text that a stand-in keeps, in bytes. Seven bytes are left to tell apart what else was said.
pub const TEXT_BYTES_MAX: usize = 16;
/// The length of a text that is not kept.
const LONG: u8 = u8::MAX;
const TEXT_AT: usize = MARK.len() + 1;

/// What a peer said about the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// Their SHA-256.
    Hash(ContentHash),
    /// Something else, perhaps nothing.
    Text(&'a str),
}

impl<'a> Said<'a> {
    /// Reads the `hash` of the original's format, which ignores the case of hexadecimal digits.
    pub fn of(text: &'a str) -> Self {
        match ContentHash::parse(&text.to_ascii_lowercase()) {
            Ok(hash) if !is_stand_in(&hash) => Self::Hash(hash),
            _ => Self::Text(text),
        }
    }
}

/// The stand-in for bytes about which only this is known.
pub fn stand_in(text: &str, version: i64, size: u64) -> ContentHash {
    let mut said = Sha256::new();
    said.update(version.to_be_bytes());
    said.update(size.to_be_bytes());
    said.update(text.as_bytes());
    let mut bytes: [u8; 32] = said.finalize().into();
    bytes[..MARK.len()].copy_from_slice(&MARK);
    match u8::try_from(text.len()) {
        Ok(length) if text.len() <= TEXT_BYTES_MAX => {
            bytes[MARK.len()] = length;
            bytes[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
        }
        _ => bytes[MARK.len()] = LONG,
    }
    ContentHash(bytes)
}

/// Whether this stands for a hash that nobody has stated.
pub fn is_stand_in(hash: &ContentHash) -> bool {
    hash.0.starts_with(&MARK)
}

/// A hash in the original's format: the SHA-256, or what its peer gave instead.
pub fn shown(hash: &ContentHash) -> String {
    if !is_stand_in(hash) {
        return hash.to_string();
    }
    let length = usize::from(hash.0[MARK.len()]);
    let text = hash.0.get(TEXT_AT..TEXT_AT + length).filter(|_| length <= TEXT_BYTES_MAX);
    text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_said_comes_back() {
        for text in ["", "abc", "x8Kq02mNbVcXzAsD", "größe"] {
            let hash = stand_in(text, 1, 10);
            assert!(is_stand_in(&hash));
            assert_eq!(shown(&hash), text);
            assert_eq!(Said::of(text), Said::Text(text));
        }
        let long = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(shown(&stand_in(long, 1, 10)), "", "too long to keep");
    }

    #[test]
    fn other_words_are_other_versions() {
        let one = stand_in("abc", 1, 10);
        assert_eq!(one, stand_in("abc", 1, 10));
        let others = [stand_in("abd", 1, 10), stand_in("abc", 2, 10), stand_in("abc", 1, 11), stand_in("", 1, 10)];
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let longs = [stand_in(&long, 1, 10), stand_in(&format!("{long}y"), 1, 10)];
        assert!(others.iter().chain(&longs).all(|other| *other != one));
        assert_ne!(longs[0], longs[1]);
    }

    #[test]
    fn a_sha256_is_read_in_either_case_and_a_stand_in_is_none() {
        let hash = ContentHash(Sha256::digest(b"x").into());
        assert!(!is_stand_in(&hash));
        assert_eq!(Said::of(&hash.to_string()), Said::Hash(hash));
        assert_eq!(Said::of(&hash.to_string().to_uppercase()), Said::Hash(hash));
        assert_eq!(shown(&hash), hash.to_string());
        let forged = stand_in("", 1, 1).to_string();
        assert_eq!(Said::of(&forged), Said::Text(forged.as_str()));
    }
}
