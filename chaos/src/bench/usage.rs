//! What processes took: processor time and memory, from `/proc`.
//!
//! Invariant: a process that is gone took nothing that is known, and says so by an absent value rather than by 0.

use std::fs;

use serde::{Deserialize, Serialize};

use super::runs::median_known;
use crate::observer::rss_kib;

/// Units of processor time per second; the kernel reports in this unit whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time and memory of one process over a while.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Whose: `n1` and so on.
    pub name: String,
    /// Processor time in seconds, of all threads; of several runs the sum.
    pub cpu_s: Option<f64>,
    /// Resident memory at the end, in KiB; of several runs the median.
    pub rss_kib: Option<u64>,
}

impl Usage {
    /// Several runs as one; what is not known of one run is not known of all.
    pub fn merged(runs: &[&Self]) -> Self {
        let rss = median_known(runs.iter().map(|run| run.rss_kib.map(|kib| kib as f64)));
        Self {
            name: runs.first().map(|run| run.name.clone()).unwrap_or_default(),
            cpu_s: runs.iter().map(|run| run.cpu_s).sum(),
            rss_kib: rss.map(|kib| kib.round() as u64),
        }
    }
}

/// Processor times of processes at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    processes: Vec<(String, u32, Option<f64>)>,
}

impl Reading {
    /// Reads them now.
    pub fn take(processes: &[(String, u32)]) -> Self {
        Self { processes: processes.iter().map(|(name, pid)| (name.clone(), *pid, cpu_s(*pid))).collect() }
    }

    /// What they took since then.
    pub fn since(&self) -> Vec<Usage> {
        let took = |(name, pid, before): &(String, u32, Option<f64>)| Usage {
            name: name.clone(),
            cpu_s: cpu_s(*pid).zip(*before).map(|(now, before)| now - before),
            rss_kib: rss_kib(*pid),
        };
        self.processes.iter().map(took).collect()
    }
}

/// Processor time that a process has taken, in seconds.
pub fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND)
}

/// User and system time: the 14th and 15th field. The name, the 2nd, may have spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Files and sockets that this process, and the nodes it starts, may have open.
pub fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 70 5 0 0 20 0 1 0 100";
        assert_eq!(ticks(stat), Some(75));
        assert_eq!(ticks("12 (x) S 1"), None);
    }

    #[test]
    fn processor_time_of_runs_is_summed_and_unknown_if_it_was_once() {
        let run = |cpu_s, rss_kib| Usage { name: "n1".into(), cpu_s, rss_kib };
        let (one, two, gone) = (run(Some(1.5), Some(100)), run(Some(2.0), Some(301)), run(None, None));
        assert_eq!(Usage::merged(&[&one, &two]), run(Some(3.5), Some(201)));
        assert_eq!(Usage::merged(&[&one, &gone]), run(None, Some(100)));
    }

    #[test]
    fn a_process_that_is_gone_has_no_figures() {
        let reading = Reading::take(&[("own".into(), std::process::id()), ("gone".into(), u32::MAX)]);
        let usages = reading.since();
        assert!(usages[0].cpu_s.is_some() && usages[0].rss_kib.is_some_and(|kib| kib > 0));
        assert_eq!((usages[1].cpu_s, usages[1].rss_kib), (None, None));
        assert!(open_files_max().is_some());
    }
}
