//! Bakes the sources' revision into the program.
//!
//! Invariant: never fails; outside of a repository the revision is `unknown`.

use std::path::Path;
use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The file that changes with every commit, so that a build after it bakes the new revision.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let revision = git(&["describe", "--always", "--tags", "--dirty"]).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=RAFTSHARE_REVISION={revision}");
}
