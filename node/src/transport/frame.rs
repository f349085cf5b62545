//! Frames between nodes: a postcard message with its length and a checksum.
//!
//! ```text
//!  length u32 | crc32 u32 of length and message | message
//! ```
//! Numbers are little-endian.
//!
//! Invariants (N2)
//! * A message is decoded only after the checksum over all its bytes matched.
//! * A frame longer than its kind of message may be is neither sent nor read, and memory is taken as bytes arrive: a
//!   length alone reserves no more than [`STEP_BYTES`].
//! * The rest of a frame that has begun has a deadline; the pause between two frames has none.
//!
//! Written by hand: `LengthDelimitedCodec` of tokio-util knows one limit for all frames and no checksum or deadline, so
//! what is here would have to stand around it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Hello, Request, Response, Welcome};

/// Longest append, in bytes: 256 entries of 56 KiB. An append is usually far smaller.
pub const APPEND_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Longest message of any other kind, in bytes: a snapshot's head and its membership, the reasons of refusals.
pub const SMALL_BYTES_MAX: usize = 256 * 1_024;
/// Longest hello, and longest answer to one, in bytes.
pub const HELLO_BYTES_MAX: usize = 4 * 1_024;
/// Memory that is taken before more bytes have arrived.
const STEP_BYTES: usize = 64 * 1_024;
/// Memory that a connection keeps between two frames, in bytes.
const KEPT_BYTES: usize = 1_024 * 1_024;
/// How long the rest of a frame may take once it has begun.
const FRAME_DEADLINE_MIN: Duration = Duration::from_secs(5);
/// A longer one may take longer, at this many bytes per second.
const FRAME_BYTES_PER_SECOND_MIN: u64 = 1_024 * 1_024;
/// Bytes before the message.
const HEADER_BYTES: usize = 8;
/// The first byte of an append in postcard: the number of its variant in [`Request`].
const APPEND: u8 = 0;

/// A connection that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes are no message of this protocol version.
    #[error("message: {0}")]
    Encoding(#[from] postcard::Error),
    /// A frame beyond the limit of its kind was announced.
    #[error("frame of {0} bytes is over the limit")]
    TooLong(usize),
    /// The bytes were damaged on the way.
    #[error("a frame of {0} bytes was damaged on the way: its checksum does not match")]
    Damaged(usize),
    /// The frame began and did not end in time.
    #[error("a frame of {0} bytes did not arrive in time")]
    Late(usize),
    /// The message says what its sender may not say.
    #[error("refused a message: {0}")]
    Refused(String),
}

impl FrameError {
    /// Whether the other side sent what it must not send; a connection that merely broke did not.
    pub fn is_bad_frame(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

/// A message that travels in a frame.
pub trait Message: Serialize + DeserializeOwned {
    /// Most bytes that any of its kinds may have.
    const BYTES_MAX: usize;

    /// Most bytes of a message that begins with this byte.
    fn bytes_max(_first: u8) -> usize {
        Self::BYTES_MAX
    }
}

impl Message for Hello {
    const BYTES_MAX: usize = HELLO_BYTES_MAX;
}

impl Message for Welcome {
    const BYTES_MAX: usize = HELLO_BYTES_MAX;
}

impl Message for Request {
    const BYTES_MAX: usize = APPEND_BYTES_MAX;

    fn bytes_max(first: u8) -> usize {
        if first == APPEND { APPEND_BYTES_MAX } else { SMALL_BYTES_MAX }
    }
}

impl Message for Response {
    const BYTES_MAX: usize = SMALL_BYTES_MAX;
}

/// One whole frame. If `bytes_expected` is large enough, its buffer never grows.
pub fn encode<T: Message>(message: &T, bytes_expected: usize) -> Result<Vec<u8>, FrameError> {
    encode_into(Vec::with_capacity(bytes_expected), message)
}

fn encode_into<T: Message>(mut buffer: Vec<u8>, message: &T) -> Result<Vec<u8>, FrameError> {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    let mut filled = postcard::to_extend(message, buffer)?;
    let length = filled.len() - HEADER_BYTES;
    let first = filled.get(HEADER_BYTES).copied().unwrap_or_default();
    if length > T::bytes_max(first) {
        return Err(FrameError::TooLong(length));
    }
    let length = (length as u32).to_le_bytes();
    let checksum = checksum(length, &filled[HEADER_BYTES..]).to_le_bytes();
    filled[..4].copy_from_slice(&length);
    filled[4..HEADER_BYTES].copy_from_slice(&checksum);
    Ok(filled)
}

fn checksum(length: [u8; 4], message: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&length);
    checksum.update(message);
    checksum.finalize()
}

/// Writes one frame, reusing `buffer`.
pub async fn write<W: AsyncWrite + Unpin, T: Message>(
    stream: &mut W,
    buffer: &mut Vec<u8>,
    message: &T,
) -> Result<(), FrameError> {
    *buffer = encode_into(std::mem::take(buffer), message)?;
    Ok(stream.write_all(buffer).await?)
}

/// Reads one frame, reusing `buffer`. Waits for its beginning as long as it takes.
pub async fn read<R: AsyncRead + Unpin, T: Message>(stream: &mut R, buffer: &mut Vec<u8>) -> Result<T, FrameError> {
    read_within(stream, buffer, usize::MAX).await
}

/// The same, where the sender may not send more than so many bytes, whatever the kind of message.
pub async fn read_within<R: AsyncRead + Unpin, T: Message>(
    stream: &mut R,
    buffer: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<T, FrameError> {
    let mut header = [0; HEADER_BYTES];
    let begun = stream.read(&mut header).await?;
    if begun == 0 {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    if begun < HEADER_BYTES {
        let rest = timeout(FRAME_DEADLINE_MIN, stream.read_exact(&mut header[begun..])).await;
        rest.map_err(|_| FrameError::Late(HEADER_BYTES))??;
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = [l0, l1, l2, l3];
    let bytes = u32::from_le_bytes(length) as usize;
    // The kind of message, and with it its own limit, is known only with its first byte.
    if bytes == 0 || bytes > bytes_max.min(T::BYTES_MAX) {
        return Err(FrameError::TooLong(bytes));
    }
    let body = timeout(frame_deadline(bytes), read_body::<_, T>(stream, buffer, bytes)).await;
    body.map_err(|_| FrameError::Late(bytes))??;
    if checksum(length, buffer) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(FrameError::Damaged(bytes));
    }
    let message = match postcard::take_from_bytes(buffer)? {
        (message, []) => message,
        // Another version's message, or none.
        (_, [_, ..]) => return Err(postcard::Error::DeserializeBadEncoding.into()),
    };
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
    Ok(message)
}

async fn read_body<R: AsyncRead + Unpin, T: Message>(
    stream: &mut R,
    buffer: &mut Vec<u8>,
    bytes: usize,
) -> Result<(), FrameError> {
    buffer.clear();
    while buffer.len() < bytes {
        let filled = buffer.len();
        // At most as much more memory as has arrived already.
        let step = filled.max(STEP_BYTES).min(bytes - filled);
        buffer.resize(filled + step, 0);
        stream.read_exact(&mut buffer[filled..]).await?;
        if filled == 0 && bytes > T::bytes_max(buffer[0]) {
            return Err(FrameError::TooLong(bytes));
        }
    }
    Ok(())
}

fn frame_deadline(bytes: usize) -> Duration {
    FRAME_DEADLINE_MIN + Duration::from_millis(bytes as u64 * 1_000 / FRAME_BYTES_PER_SECOND_MIN)
}

#[cfg(test)]
mod tests {
    use openraft::raft::AppendEntriesRequest;
    use proptest::prelude::*;
    use raft_store::raft::Vote;

    use super::*;

    fn append() -> Request {
        let vote = Vote::new_committed(3, 1);
        Request::Append(AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None })
    }

    fn requests() -> Vec<Request> {
        vec![Request::Beacon, Request::LeaderGone { leader: 3, term: 70_000 }, append()]
    }

    /// What is read of these bytes when nothing follows them.
    async fn read_all<T: Message>(mut bytes: &[u8], buffer: &mut Vec<u8>) -> Result<T, FrameError> {
        read(&mut bytes, buffer).await
    }

    #[tokio::test]
    async fn frames_round_trip() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let (mut out, mut into) = (Vec::new(), Vec::new());
        for request in requests() {
            let wanted = format!("{request:?}");
            let (sent, back) =
                tokio::join!(write(&mut near, &mut out, &request), read::<_, Request>(&mut far, &mut into));
            sent.expect("writes");
            assert_eq!(format!("{:?}", back.expect("reads")), wanted);
        }
    }

    #[test]
    fn an_append_begins_with_its_variant() {
        let frame = encode(&append(), 0).expect("encodes");
        assert_eq!(frame[HEADER_BYTES], APPEND, "N2: the limit of an append would go to another kind");
    }

    #[tokio::test]
    async fn a_length_alone_takes_little_memory() {
        let mut buffer = Vec::new();
        let mut frame = (APPEND_BYTES_MAX as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(&[0; 5]);
        assert!(matches!(read_all::<Request>(&frame, &mut buffer).await, Err(FrameError::Io(_))));
        assert!(buffer.capacity() <= STEP_BYTES, "N2: memory is taken as bytes arrive, not {}", buffer.capacity());
    }

    #[tokio::test]
    async fn each_kind_has_its_limit() {
        let mut buffer = Vec::new();
        let mut frame = vec![0; HEADER_BYTES + STEP_BYTES];
        frame[..4].copy_from_slice(&(APPEND_BYTES_MAX as u32 + 1).to_le_bytes());
        assert!(matches!(read_all::<Request>(&frame, &mut buffer).await, Err(FrameError::TooLong(_))));
        frame[..4].copy_from_slice(&(SMALL_BYTES_MAX as u32 + 1).to_le_bytes());
        frame[HEADER_BYTES] = APPEND + 1;
        assert!(matches!(read_all::<Request>(&frame, &mut buffer).await, Err(FrameError::TooLong(_))));
        assert!(matches!(read_all::<Hello>(&frame, &mut buffer).await, Err(FrameError::TooLong(_))));
        let refused = read_within::<_, Request>(&mut &frame[..], &mut buffer, HELLO_BYTES_MAX).await;
        assert!(matches!(refused, Err(FrameError::TooLong(_))));
        let long = Welcome::Refused("x".repeat(HELLO_BYTES_MAX));
        assert!(matches!(encode(&long, 0), Err(FrameError::TooLong(_))), "what cannot be read is not sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_has_begun_has_a_deadline() {
        let frame = encode(&append(), 0).expect("encodes");
        for cut in [1, HEADER_BYTES - 1, HEADER_BYTES, frame.len() - 1] {
            let (mut near, mut far) = tokio::io::duplex(64);
            near.write_all(&frame[..cut]).await.expect("writes");
            let outcome = read::<_, Request>(&mut far, &mut Vec::new()).await;
            assert!(matches!(outcome, Err(FrameError::Late(_))), "N2: cut after {cut} bytes: {outcome:?}");
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
    }

    proptest! {
        #[test]
        fn a_flipped_bit_never_makes_another_message(which in 0..3_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut frame = encode(&requests()[which], 0).expect("encodes");
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            let read = run(read_all::<Request>(&frame, &mut Vec::new()));
            prop_assert!(read.is_err(), "N2: bit {} of byte {} flipped, and it was read as {:?}", bit, at, read);
        }

        #[test]
        fn a_frame_that_is_cut_off_is_no_message(which in 0..3_usize, at in any::<prop::sample::Index>()) {
            let frame = encode(&requests()[which], 0).expect("encodes");
            let cut = &frame[..at.index(frame.len())];
            prop_assert!(run(read_all::<Request>(cut, &mut Vec::new())).is_err());
        }

        #[test]
        fn random_bytes_are_no_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read = run(read_all::<Request>(&bytes, &mut Vec::new()));
            prop_assert!(read.is_err(), "a checksum matched by chance: {:?}", read);
        }

        #[test]
        fn random_messages_with_a_right_checksum_are_decoded_or_refused(
            message in prop::collection::vec(any::<u8>(), 1..200)
        ) {
            let length = (message.len() as u32).to_le_bytes();
            let frame = [&length[..], &checksum(length, &message).to_le_bytes(), &message].concat();
            // No panic is all that can be asked for here; what is said is checked by `check`.
            let _ = run(read_all::<Request>(&frame, &mut Vec::new()));
            let _ = run(read_all::<Response>(&frame, &mut Vec::new()));
            let _ = run(read_all::<Hello>(&frame, &mut Vec::new()));
        }
    }
}
