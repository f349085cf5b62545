//! `raftshare`: the peer and its command line. Everything is in the library, where tests can use it.

fn main() -> std::process::ExitCode {
    client::cli::run(std::env::args_os()).into()
}
