//! `backup`: saves a snapshot of the whole index with a checksum of its own.
//!
//! Invariant: a backup appears under its name only when it is whole and checked; devices and pipes, which cannot be
//! replaced by renaming, are written to directly.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::contract::headers;
use client::terminal::{Exit, Failure};

use super::Target;

use crate::sys::clock;

/// How long connecting to one server may take before the next one is tried.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// The part of the time that is reserved for the answer.
const RETURN_MARGIN: Duration = Duration::from_millis(500);

/// Where a backup goes.
#[derive(Debug, PartialEq, Eq)]
enum Sink {
    /// `-`.
    StandardOutput,
    /// A device, a pipe or a socket, which is written to and not replaced.
    Direct(PathBuf),
    /// A file that is replaced once the backup is whole.
    File(PathBuf),
}

impl Sink {
    fn of(name: &Path) -> Self {
        if name == Path::new("-") {
            return Self::StandardOutput;
        }
        // `/dev/stdout` may lead to a regular file that somebody else has open.
        let special = name.starts_with("/dev") || name.starts_with("/proc");
        match std::fs::metadata(name) {
            Ok(there) if special || !(there.is_file() || there.is_dir()) => Self::Direct(name.to_owned()),
            _ => Self::File(std::fs::canonicalize(name).unwrap_or_else(|_| name.to_owned())),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::StandardOutput => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Direct(name) => OpenOptions::new().write(true).open(name)?.write_all(bytes),
            Self::File(name) => replace(name, bytes),
        }
    }
}

/// Writes next to the file and renames: there is the old file or the new one, never part of one.
fn replace(name: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(last) = name.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
    };
    let mut part = OsString::from(".");
    part.push(last);
    part.push(format!(".{}.part", std::process::id()));
    let part = name.with_file_name(part);
    // `create_new`, so that no existing file is overwritten, whatever its name.
    let mut out = OpenOptions::new().write(true).create_new(true).open(&part)?;
    let written = out.write_all(bytes).and_then(|()| out.sync_all()).and_then(|()| std::fs::rename(&part, name));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    } else if let Some(dir) = name.parent() {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()?;
    }
    written
}

/// Saves a backup; the servers are asked one after the other until one gives it.
pub async fn backup(target: &Target, name: &Path) -> Result<(), Failure> {
    let sink = Sink::of(name);
    let bytes = fetch(target).await?;
    let meta = raft_store::storage::check_snapshot(&bytes)
        .map_err(|error| Failure::new(Exit::Integrity, format!("the backup arrived damaged: {error}; try again")))?;
    sink.write(&bytes)
        .map_err(|error| Failure::new(Exit::Disk, format!("cannot write {}: {error}", name.display())))?;
    let upto = meta.last_log_id.map_or(0, |log_id| log_id.index);
    let done =
        |place: &str| format!("{place}: {} bytes, everything up to log index {upto}, checksum verified", bytes.len());
    match sink {
        Sink::File(_) => target.say(&done(&name.display().to_string())),
        // The standard output may be the backup itself.
        Sink::StandardOutput => target.output().remark(&done("backup")),
        Sink::Direct(_) => target.output().remark(&done(&name.display().to_string())),
    }
    Ok(())
}

async fn fetch(target: &Target) -> Result<Vec<u8>, Failure> {
    let started = clock::now();
    let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_DEADLINE).build();
    let http = http.map_err(|error| Failure::new(Exit::Other, error.to_string()))?;
    let mut last = Failure::new(Exit::Unavailable, "no server is given; pass --node URL");
    for server in &target.servers {
        let server = server.trim_end_matches('/');
        let url = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let left = target.timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            break;
        }
        let deadline = left.saturating_sub(RETURN_MARGIN.min(left / 4)).as_millis();
        let request = http.get(format!("{url}/cluster/backup")).timeout(left);
        let request = request.header(headers::DEADLINE_MS, u64::try_from(deadline).unwrap_or(u64::MAX).max(1));
        match answered(request).await {
            Ok(bytes) => return Ok(bytes),
            Err((exit, reason)) => last = Failure::new(exit, format!("no backup from {url}: {reason}")),
        }
    }
    Err(last)
}

async fn answered(request: reqwest::RequestBuilder) -> Result<Vec<u8>, (Exit, String)> {
    let failed = |error: reqwest::Error| {
        let exit = if error.is_timeout() && !error.is_connect() { Exit::TimedOut } else { Exit::Unavailable };
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        (exit, cause.to_string())
    };
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    let bytes = answer.bytes().await.map_err(failed)?;
    if status.is_success() {
        return Ok(bytes.into());
    }
    let detail = serde_json::from_slice::<client::contract::Problem>(&bytes).map(|problem| problem.detail);
    Err((Exit::Unavailable, detail.unwrap_or_else(|_| format!("HTTP status {status}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_its_neighbours_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let (name, neighbour) = (dir.path().join("x.part"), dir.path().join("x"));
        std::fs::write(&name, "old").expect("writes");
        std::fs::write(&neighbour, "mine").expect("writes");
        let sink = Sink::of(&name);
        sink.write(b"new").expect("writes");
        assert_eq!(std::fs::read(&name).expect("reads"), b"new");
        assert_eq!(std::fs::read(&neighbour).expect("reads"), b"mine");
        assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 2, "nothing is left behind");
    }

    #[test]
    fn devices_and_pipes_are_written_directly() {
        assert_eq!(Sink::of(Path::new("-")), Sink::StandardOutput);
        assert_eq!(Sink::of(Path::new("/dev/null")), Sink::Direct("/dev/null".into()));
        Sink::of(Path::new("/dev/null")).write(b"x").expect("takes everything");
        assert!(Path::new("/dev/null").exists());
        assert_eq!(Sink::of(Path::new("new-file")), Sink::File("new-file".into()));
    }

    #[test]
    fn a_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(Sink::of(dir.path()).write(b"x").is_err());
        assert!(dir.path().is_dir());
    }
}
