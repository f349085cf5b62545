//! `raftshare-chaos`: see the library for what it does.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    chaos::cli::run().await
}
