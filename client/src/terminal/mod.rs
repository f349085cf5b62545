//! What the command lines of all programs share: exit codes, failures, results and environment variables.
//!
//! Invariants: only results go to the standard output. A failure says in one sentence what is wrong, and then what to
//! do about it.

mod exit;
mod failure;
pub mod figures;
pub mod health;
mod output;
mod stdout;
mod table;
mod usage;
pub mod variables;

pub use exit::Exit;
pub use failure::Failure;
pub use output::{Format, Output};
pub use stdout::{conclude, copy_to_stdout, note_stdout_failure, write_stdout};
pub use usage::{print_failure, print_usage};
