//! Length-prefixed postcard frames.
//!
//! Invariant: a frame longer than [`FRAME_BYTES_MAX`] is neither sent nor allocated for.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame, in bytes. An append carries at most a few hundred entries of 32 KiB.
pub const FRAME_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// A connection that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes are no message of this protocol version.
    #[error("message: {0}")]
    Encoding(#[from] postcard::Error),
    /// A peer announced a frame beyond the limit.
    #[error("frame of {0} bytes is over the limit")]
    TooLong(usize),
}

/// One whole frame; if `bytes_expected` is enough, nothing is moved meanwhile.
pub fn encode<T: Serialize>(message: &T, bytes_expected: usize) -> Result<Vec<u8>, FrameError> {
    encode_into(Vec::with_capacity(bytes_expected), message)
}

fn encode_into<T: Serialize>(mut buffer: Vec<u8>, message: &T) -> Result<Vec<u8>, FrameError> {
    buffer.clear();
    buffer.extend_from_slice(&[0; 4]);
    let mut filled = postcard::to_extend(message, buffer)?;
    let length = filled.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    filled[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(filled)
}

/// Writes one frame, reusing `buffer`.
pub async fn write<W: AsyncWrite + Unpin, T: Serialize>(
    stream: &mut W,
    buffer: &mut Vec<u8>,
    message: &T,
) -> Result<(), FrameError> {
    *buffer = encode_into(std::mem::take(buffer), message)?;
    Ok(stream.write_all(buffer).await?)
}

/// Reads one frame, reusing `buffer`.
pub async fn read<R: AsyncRead + Unpin, T: DeserializeOwned>(
    stream: &mut R,
    buffer: &mut Vec<u8>,
) -> Result<T, FrameError> {
    let length = stream.read_u32_le().await? as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    buffer.clear();
    buffer.resize(length, 0);
    stream.read_exact(buffer).await?;
    Ok(postcard::from_bytes(buffer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_round_trip_and_refuse_excess() {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        let (mut out, mut into) = (Vec::new(), Vec::new());
        for text in ["", "hello", "a longer text that reuses the buffer"] {
            write(&mut near, &mut out, &text.to_owned()).await.expect("writes");
            let back: String = read(&mut far, &mut into).await.expect("reads");
            assert_eq!(back, text);
        }
        near.write_all(&u32::MAX.to_le_bytes()).await.expect("writes");
        let refused = read::<_, String>(&mut far, &mut into).await;
        assert!(matches!(refused, Err(FrameError::TooLong(_))));
    }
}
