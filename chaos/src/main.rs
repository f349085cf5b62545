//! `raftshare-chaos`: see the library for what it does.

use std::process::ExitCode;

/// The node's allocator: the node that is measured inside this process must not be slower because of another one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    node::sys::memory::configure();
    // Before there is a second thread. Without the rights nothing can be mounted, and scenarios that need it say so.
    let _ = chaos::fault::disk::namespace::leave();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    chaos::cli::run().await
}
