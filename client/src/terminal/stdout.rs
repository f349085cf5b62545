//! The standard output of a command, which has nothing but its result.
//!
//! Invariant: no write panics. The first failure is remembered, and [`conclude`] turns it into the exit code.

use std::io::{self, Write};
use std::sync::OnceLock;

use super::{Exit, Failure};

/// The first failure of the standard output. After it nothing more is written.
static STDOUT_FAILED: OnceLock<StdoutFailure> = OnceLock::new();

/// Bytes copied to the standard output at a time.
const COPY_BYTES: usize = 64 * 1024;

/// Why the standard output cannot be written.
#[derive(Debug)]
struct StdoutFailure {
    kind: io::ErrorKind,
    reason: String,
}

/// Writes to the standard output and flushes it. After a failure every later call fails as well, so that a command with
/// endless output can stop.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    if let Some(failed) = STDOUT_FAILED.get() {
        return Err(io::Error::new(failed.kind, failed.reason.clone()));
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.inspect_err(note_stdout_failure)
}

/// Records a failure of the standard output, for code that writes to it directly.
pub fn note_stdout_failure(error: &io::Error) {
    // Only the first failure counts.
    let _ = STDOUT_FAILED.set(StdoutFailure { kind: error.kind(), reason: error.to_string() });
}

/// Copies everything to the standard output, or stops where that fails. Only a failed read is an error here.
pub fn copy_to_stdout(from: &mut impl io::Read) -> io::Result<()> {
    let mut part = vec![0; COPY_BYTES];
    loop {
        match from.read(&mut part)? {
            0 => return Ok(()),
            length if write_stdout(&part[..length]).is_err() => return Ok(()),
            _ => {}
        }
    }
}

/// The outcome of a command after it has printed its result. A closed pipe (`| head`) changes nothing, because the
/// reader had enough. With any other failure the result is lost, so the command must not report success.
pub fn conclude(outcome: Result<(), Failure>) -> Result<(), Failure> {
    conclude_with(outcome, STDOUT_FAILED.get())
}

fn conclude_with(outcome: Result<(), Failure>, failed: Option<&StdoutFailure>) -> Result<(), Failure> {
    let Some(failed) = failed.filter(|failed| failed.kind != io::ErrorKind::BrokenPipe) else { return outcome };
    match outcome {
        Err(failure) if !failure.what.is_empty() => Err(failure),
        // A failure without a message put everything into the result, which is lost.
        Ok(()) | Err(_) => {
            let what = format!("cannot write the result to the standard output: {}", failed.reason);
            Err(Failure::new(Exit::Disk, what)
                .hint("free some disk space or redirect the output, then repeat the command"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_result_is_no_success_and_a_closed_pipe_is_no_failure() {
        let failed = |kind| StdoutFailure { kind, reason: "it broke".into() };
        let (full, closed) = (failed(io::ErrorKind::StorageFull), failed(io::ErrorKind::BrokenPipe));
        let exit = |outcome: Result<(), Failure>| outcome.map_or_else(|failure| failure.exit, |()| Exit::Done);
        let silent = || Err(Failure::new(Exit::Degraded, ""));
        let told = || Err(Failure::new(Exit::NotFound, "no such file"));
        for (outcome, failed, expected) in [
            (Ok(()), None, Exit::Done),
            (Ok(()), Some(&closed), Exit::Done),
            (silent(), Some(&closed), Exit::Degraded),
            (Ok(()), Some(&full), Exit::Disk),
            (silent(), Some(&full), Exit::Disk),
            (told(), Some(&full), Exit::NotFound),
        ] {
            assert_eq!(exit(conclude_with(outcome, failed)), expected, "{failed:?}");
        }
        let failure = conclude_with(Ok(()), Some(&full)).expect_err("the result is lost");
        assert!(failure.what.contains("standard output: it broke"), "{failure}");
    }
}
