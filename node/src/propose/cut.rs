//! Cuts requests that are too large for one log entry into chunks (X4).
//!
//! Invariant: a chunk's holdings fit an entry in bytes and in number, and chunks keep the request's order. A request is
//! always cut at the same points, because idempotency keys number its chunks.

use raft_store::catalog::Holding;

/// Encoded bytes of holdings in one chunk of an announce; leaves room for the rest of the command.
pub const ANNOUNCE_BYTES_MAX: usize = 12 * 1_024;
/// The same in one page of a listing. Other writers wait for an entry with a page in it, so a page must not be much
/// more work than an entry of theirs.
pub const PAGE_BYTES_MAX: usize = 4 * 1_024;
/// Bytes a holding takes besides its name: hash, version, size, lengths.
const HOLDING_BYTES: usize = 56;

/// Splits holdings into chunks of at most `bytes_max`; an empty list is one empty chunk.
pub fn chunks(holdings: Vec<Holding>, bytes_max: usize) -> Vec<Vec<Holding>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0;
    for holding in holdings {
        let size = holding.name.as_str().len() + HOLDING_BYTES;
        if bytes + size > bytes_max {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(holding);
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use raft_store::types::{ContentHash, FileName};

    use super::*;

    fn holding(name: String) -> Holding {
        let name = FileName::parse(name).expect("valid name");
        Holding { name, version: Some(1), size: Some(1), hash: ContentHash([0; 32]) }
    }

    #[test]
    fn chunks_keep_order_and_fit_an_entry() {
        assert_eq!(chunks(Vec::new(), PAGE_BYTES_MAX), vec![Vec::new()]);
        let all: Vec<_> = (0..5_000).map(|n| holding(format!("{n:04}{}", "x".repeat(n % 1_000)))).collect();
        for bytes_max in [PAGE_BYTES_MAX, ANNOUNCE_BYTES_MAX] {
            let cut = chunks(all.clone(), bytes_max);
            assert!(cut.len() > 1);
            for chunk in &cut {
                let encoded = postcard::to_stdvec(chunk).expect("encodes").len();
                assert!(encoded < raft_store::types::limits::ENTRY_BYTES_MAX - 1_024, "{encoded}");
                assert!((1..=bytes_max).contains(&encoded), "{encoded}");
            }
            assert_eq!(cut.concat(), all);
        }
    }
}
