//! The `raftshare-node` binary: parse, run, exit code.

use std::process::ExitCode;

/// A node under load makes several hundred thousand small allocations a second, and often frees them on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    node::sys::memory::configure();
    node::cli::main()
}
