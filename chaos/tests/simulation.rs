//! The simulation replays, and a few seeds of it pass.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftshare-chaos"));
    command.arg("sim").args(arguments).output().expect("the program starts")
}

/// A seed is one process; two of them see the same, message by message.
#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in ["1", "2", "3"] {
        let output = sim(&["--seed", seed, "--twice"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Seed 4 once never ended: when a disk failed, the task that follows leadership spun, because Raft had stopped.
#[test]
fn a_few_seeds_pass() {
    let output = sim(&["--seeds", "4..8"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Seed 20: a leader that keeps one of a majority that is whole without it. Writes have to go on meanwhile (C7).
#[test]
fn a_bridge_does_not_stop_writes() {
    let output = sim(&["--seed", "20"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("partition-bridge"), "{said}");
}
