//! The machine that was measured on, for results.
//!
//! Invariant: what cannot be found out is `unknown`, and never guessed.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Processors that this program may use.
    pub cores: usize,
    /// Their model.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        let memory_kib = value(&read("/proc/meminfo"), "MemTotal").and_then(|text| {
            let number = text.split_whitespace().next()?;
            number.parse::<u64>().ok()
        });
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            kernel: if kernel.is_empty() { "unknown".into() } else { kernel },
            memory_mib: memory_kib.unwrap_or(0) / 1_024,
        }
    }

    /// In one line.
    pub fn text(&self) -> String {
        format!("{} cores, {}, Linux {}, {} MiB", self.cores, self.cpu, self.kernel, self.memory_mib)
    }
}

fn value(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors_and_memory() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_mib > 0, "{machine:?}");
        assert_eq!(value("a : 1\nmodel name\t: X\n", "model name").as_deref(), Some("X"));
    }
}
