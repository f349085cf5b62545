//! The library and the command line against scripted index servers on loopback: what is sent, what is
//! repeated, and what the caller gets to know.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cli;
mod cli_attributes;
mod cli_lookups;
mod fake;
mod lease;
mod reads;
mod servers;
mod txn;
mod writes;
