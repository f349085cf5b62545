//! One connection to one member with many requests in flight. They go out in order, and their responses come back in
//! the same order.
//!
//! Invariants
//! * A caller that gives up waiting does not affect the connection: its response is read and thrown away.
//! * A connection whose response is overdue for too long is closed, and every caller that waits on it gets an error.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::check::Asked;
use super::frame::{self, FrameError};
use super::{Request, Response};
use crate::sys::clock;
use crate::sys::net::Connection;

/// Requests that may be on their way on one connection.
pub(super) const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Bytes of waiting frames that go out with one write.
const WRITE_BYTES_MAX: usize = 256 * 1_024;
/// How long the response to a small request may take. That has to cover the round trip between distant sites and a busy
/// disk. A connection that is silent for longer is dead.
const RESPONSE_DEADLINE_MIN: Duration = Duration::from_secs(1);
/// A larger one may take longer, at this many bytes per second.
const BYTES_PER_SECOND_MIN: u64 = 1_024 * 1_024;

/// A request that was encoded.
struct Outgoing {
    frame: Vec<u8>,
    asked: Asked,
    reply: oneshot::Sender<Response>,
}

/// A response that is owed.
struct Owed {
    asked: Asked,
    reply: oneshot::Sender<Response>,
    until: Instant,
}

/// A response that will come, unless the connection ends.
pub(super) type Reply = oneshot::Receiver<Response>;

/// Why a request could not be given to a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It has ended.
    #[error("the connection ended")]
    Ended,
    /// Too many responses are owed.
    #[error("{REQUESTS_IN_FLIGHT_MAX} requests are without an answer")]
    Full,
    /// The message cannot be framed.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The sending side; dropping it closes the connection.
pub(super) struct Channel {
    out: mpsc::Sender<Outgoing>,
    /// Bytes of the newest frame, the estimate for the next one.
    newest_bytes: AtomicUsize,
    /// The process at the other end: a random number of its own.
    pub(super) boot: u64,
}

impl Channel {
    /// Runs a connection whose hello this process accepted.
    pub(super) fn run(connection: Connection, boot: u64) -> Self {
        let (out, outgoing) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
        let (owe, owed) = mpsc::channel(REQUESTS_IN_FLIGHT_MAX);
        let (reader, writer) = split(connection);
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = write_all(writer, outgoing, owe) => ended,
                ended = read_all(reader, owed) => ended,
            };
            match ended {
                Err(error) if error.is_bad_frame() => {
                    tracing::warn!(%error, "ended a connection to another node that answered with a bad frame");
                }
                Err(error) => tracing::debug!(%error, "a connection to another node ended"),
                Ok(()) => {}
            }
        });
        Self { out, newest_bytes: AtomicUsize::new(0), boot }
    }

    /// Whether it still runs.
    pub(super) fn is_open(&self) -> bool {
        !self.out.is_closed()
    }

    /// Gives a request to the connection; its order among the others is fixed when this returns.
    pub(super) fn send(&self, request: &Request) -> Result<Reply, SendError> {
        let frame = frame::encode(request, self.newest_bytes.load(Ordering::Relaxed))?;
        self.newest_bytes.store(frame.len(), Ordering::Relaxed);
        let (reply, response) = oneshot::channel();
        self.out.try_send(Outgoing { frame, asked: Asked::by(request), reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Ended,
        })?;
        Ok(response)
    }
}

fn response_deadline(bytes: usize) -> Duration {
    RESPONSE_DEADLINE_MIN + Duration::from_millis(bytes as u64 * 1_000 / BYTES_PER_SECOND_MIN)
}

/// Writes frames as they come, several waiting ones at once.
async fn write_all(
    mut writer: WriteHalf<impl AsyncWrite>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    owe: mpsc::Sender<Owed>,
) -> Result<(), FrameError> {
    let mut bytes = Vec::new();
    while let Some(first) = outgoing.recv().await {
        bytes.clear();
        let mut next = Some(first);
        while let Some(Outgoing { frame, asked, reply }) = next {
            let until = clock::now() + response_deadline(frame.len());
            if owe.send(Owed { asked, reply, until }).await.is_err() {
                return Ok(());
            }
            bytes.extend_from_slice(&frame);
            next = if bytes.len() < WRITE_BYTES_MAX { outgoing.try_recv().ok() } else { None };
        }
        writer.write_all(&bytes).await?;
    }
    Ok(())
}

/// Reads one response for each that is owed.
async fn read_all(reader: ReadHalf<impl AsyncRead>, mut owed: mpsc::Receiver<Owed>) -> Result<(), FrameError> {
    let mut reader = BufReader::new(reader);
    let mut buffer = Vec::new();
    while let Some(Owed { asked, reply, until }) = owed.recv().await {
        let response = timeout_at(until, frame::read(&mut reader, &mut buffer)).await;
        let response = response.map_err(|_| FrameError::Io(std::io::ErrorKind::TimedOut.into()))??;
        asked.check(&response)?;
        // The caller may have given up.
        let _ = reply.send(response);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 16);
        (Channel::run(Box::new(near), 0), far)
    }

    async fn answer(far: &mut tokio::io::DuplexStream, index: u64) {
        let mut buffer = Vec::new();
        let _: Request = frame::read(far, &mut buffer).await.expect("a request");
        frame::write(far, &mut buffer, &Response::ReadIndex(index)).await.expect("answered");
    }

    #[tokio::test]
    async fn responses_belong_to_requests_in_order() {
        let (channel, mut far) = pair();
        let replies: Vec<_> = (0..5).map(|_| channel.send(&Request::ReadIndex).expect("sent")).collect();
        for index in 0..5 {
            answer(&mut far, index).await;
        }
        for (index, reply) in (0..).zip(replies) {
            assert!(matches!(reply.await, Ok(Response::ReadIndex(answered)) if answered == index));
        }
    }

    #[tokio::test]
    async fn a_caller_that_gave_up_does_not_shift_the_answers() {
        let (channel, mut far) = pair();
        drop(channel.send(&Request::ReadIndex).expect("sent"));
        let second = channel.send(&Request::ReadIndex).expect("sent");
        answer(&mut far, 1).await;
        answer(&mut far, 2).await;
        assert!(matches!(second.await, Ok(Response::ReadIndex(2))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_owes_for_too_long_ends() {
        let (channel, _far) = pair();
        let reply = channel.send(&Request::ReadIndex).expect("sent");
        assert!(reply.await.is_err());
        channel.out.closed().await;
        assert!(matches!(channel.send(&Request::ReadIndex), Err(SendError::Ended)));
    }
}
