//! What the command lines of all programs have in common: exit codes, failures, results, and environment variables.
//!
//! Invariant: results go to the standard output and nothing else does. Every failure is one sentence that says what is
//! wrong, followed by what to do about it.

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
