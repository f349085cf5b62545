//! The `raftshare-node` binary: parse, run, exit code.

use std::process::ExitCode;

/// A node under load allocates and frees several hundred thousand small things a second, on one
/// thread what another made.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    node::sys::memory::configure();
    node::cli::main()
}
