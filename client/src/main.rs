//! `raftshare`: the peer and its tools. Everything is in the library, so that tests and the shell share it.

fn main() -> std::process::ExitCode {
    client::cli::run(std::env::args_os()).into()
}
