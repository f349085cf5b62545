//! Computes SHA-256 of data while it is written.
//!
//! Invariant: the checksum covers exactly the bytes that the inner writer accepted.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

/// A writer that passes bytes on, hashes them and counts them.
pub(crate) struct Checksummed<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Checksummed<W> {
    /// Wraps `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), bytes: 0 }
    }

    /// The checksum and the number of the bytes that were passed on.
    pub(crate) fn finish(self) -> ([u8; 32], u64) {
        (self.hash.finalize().into(), self.bytes)
    }
}

impl<W: Write> Write for Checksummed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.hash.update(bytes.get(..taken).unwrap_or(bytes));
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
