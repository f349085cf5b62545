//! The `raftshare-node` binary: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::cli::main()
}
