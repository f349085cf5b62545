//! Many clients append lines to one file in turn, as to a log behind a lock server: each waits in line for the lease,
//! appends one line with its fencing token, and publishes.
//!
//! ```sh
//! cargo run --release -p client --example append_line -- http://127.0.0.1:8080,http://127.0.0.1:8081 20 5
//! ```
//!
//! Kill leaders meanwhile. At the end the file has every line exactly once, in the order of the grants. `turns.rs` has
//! the part to copy: what one client does. `docs/guide/locking.md` describes the run.

#![expect(clippy::print_stdout, reason = "the demonstration tells what happens")]

mod turns;

use std::sync::Arc;
use std::time::Instant;

use turns::{Clerk, Turn};

#[tokio::main]
async fn main() -> Result<(), turns::Failure> {
    let usage = "usage: append_line SERVER,SERVER CLIENTS LINES";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, clients, lines] = arguments.as_slice() else { return Err(usage.into()) };
    let (clients, lines): (usize, usize) = (clients.parse()?, lines.parse()?);
    let base = std::env::temp_dir().join(format!("append-line-{}", std::process::id()));
    let name = format!("append-line-{}.log", std::process::id());
    let started = Instant::now();
    let told = Arc::new(|turn: &Turn| {
        println!("fencing token {}: {} wrote line {} as v{}", turn.fence, turn.client, turn.line, turn.version);
    });
    let clerks = turns::open(servers, &base, clients).await?;
    let turns = turns::take_turns(&clerks, &name, lines, told).await?;
    let content = clerks.first().ok_or(usage)?.read(&name).await?;
    turns::check(&content, &turns)?;
    println!("{} lines, each once and in the order of the grants, in {:.1?}", turns.len(), started.elapsed());
    for clerk in clerks {
        Clerk::close(clerk).await;
    }
    std::fs::remove_dir_all(&base)?;
    Ok(())
}
