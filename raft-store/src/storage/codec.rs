//! The frame around every record of the log device: format version, postcard, checksum.
//!
//! Invariant: what decodes is what was encoded. A flipped or missing byte is an error and never another value. An
//! unknown version is not reported as damage: the operator needs another build then, not another disk (D3).
//!
//! ```text
//!  byte 0      1 ……………………………… n-4   n-4 … n
//!  version     postcard           crc32 (LE) over everything before it
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StorageError;

/// The record format of this build. Format 1 contained the commands of an entry as values; since then a record contains
/// their encoding as a byte string.
pub(crate) const RECORD_VERSION: u8 = 2;

const CHECKSUM_BYTES: usize = 4;

/// Bytes of most records that are not entries.
const SMALL_RECORD_BYTES: usize = 64;

/// Frames a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, postcard::Error> {
    encode_sized(value, SMALL_RECORD_BYTES)
}

/// Frames a value. If `bytes_expected` is large enough, the buffer does not grow.
pub(crate) fn encode_sized<T: Serialize>(value: &T, bytes_expected: usize) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = Vec::with_capacity(bytes_expected);
    bytes.push(RECORD_VERSION);
    let mut bytes = postcard::to_extend(value, bytes)?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads what [`encode`] wrote; `what` names the record in the error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl Fn() -> String) -> Result<T, StorageError> {
    let damaged = |detail: &str| StorageError::damaged(what(), detail);
    let (&version, _) = bytes.split_first().ok_or_else(|| damaged("it is empty"))?;
    let (framed, checksum) =
        bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged("it is shorter than a checksum"))?;
    // The checksum covers the version byte, so an intact record with another version has another format and no damage.
    if crc32fast::hash(framed) != u32::from_le_bytes(*checksum) {
        return Err(damaged("its checksum does not match its bytes"));
    }
    if version != RECORD_VERSION {
        return Err(StorageError::UnknownVersion { what: what(), found: version.into(), known: RECORD_VERSION.into() });
    }
    let payload = framed.get(1..).unwrap_or_default();
    match postcard::take_from_bytes::<T>(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(damaged(&format!("{} bytes follow its end", rest.len()))),
        Err(error) => Err(damaged(&format!("it does not decode ({error})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> String {
        "a record".to_owned()
    }

    #[test]
    fn round_trip() {
        let value = (7_u64, "text".to_owned(), vec![1_u8, 2, 3]);
        let bytes = encode(&value).expect("encodes");
        assert_eq!(decode::<(u64, String, Vec<u8>)>(&bytes, name).expect("decodes"), value);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(&(7_u64, "some text".to_owned())).expect("encodes");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let error = decode::<(u64, String)>(&damaged, name).expect_err("a flipped bit");
                assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
            }
            assert!(decode::<(u64, String)>(&bytes[..at], name).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_format_is_no_damage() {
        for version in [RECORD_VERSION - 1, RECORD_VERSION + 1] {
            let mut bytes = vec![version, 1, 2, 3];
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            let error = decode::<u64>(&bytes, name).expect_err("another version");
            let StorageError::UnknownVersion { found, known, .. } = error else { panic!("{error}") };
            assert_eq!((found, known), (version.into(), RECORD_VERSION.into()));
        }
    }

    #[test]
    fn bytes_after_the_value_are_damage() {
        let mut bytes = vec![RECORD_VERSION, 5, 9];
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        assert!(matches!(decode::<u8>(&bytes, name), Err(StorageError::Damaged { .. })));
    }
}
