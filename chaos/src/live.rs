//! Violations so far, for the lines that a run prints while it goes on.
//!
//! Invariant: only properties that hold at every moment are checked (what is not answered yet is unknown), and only
//! as often and as long as it costs little; the verdict comes from the whole history, at the end.

use std::time::{Duration, Instant};

use crate::checker::{Checker, fencing, idempotency, lines, mutual_exclusion, reads};
use crate::model::Model;
use crate::recorder::Recorder;

/// Properties that hold at every moment.
const SAFE: &[Checker] =
    &[mutual_exclusion::CHECKER, lines::CHECKER, fencing::CHECKER, idempotency::CHECKER, reads::CHECKER];
/// Pause between two polls.
const EVERY: Duration = Duration::from_secs(5);
/// Events from which on a check would cost the run too much.
const EVENTS_MAX: usize = 120_000;

/// Checks now and then.
#[derive(Debug)]
pub struct Live {
    last: Instant,
    violations: Option<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self { last: Instant::now(), violations: Some(0) }
    }
}

impl Live {
    /// What to say now, with a leading separator; nothing once the history has become long.
    pub async fn words(&mut self, recorder: &Recorder) -> String {
        if self.violations.is_some() && self.last.elapsed() >= EVERY {
            let recorder = recorder.clone();
            let checked = tokio::task::spawn_blocking(move || recorder.so_far(EVENTS_MAX).map(|events| count(&events)));
            // A check that panicked counts as none; the final check would panic as well, and say so.
            self.violations = checked.await.unwrap_or_default();
            self.last = Instant::now();
        }
        self.violations.map(|violations| format!(" · {violations} violations so far")).unwrap_or_default()
    }
}

fn count(events: &[crate::history::Event]) -> u64 {
    let model = Model::new(events);
    SAFE.iter().map(|checker| (checker.check)(&model).violations).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::sample::good;

    #[test]
    fn violations_are_seen_while_the_run_goes_on() {
        let mut sample = good();
        assert_eq!(count(&sample.events()), 0);
        sample.grant((300, 301), "a", "f", 100, 10, 2).grant((350, 351), "b", "f", 100, 11, 2);
        assert_eq!(count(&sample.events()), 2, "exclusion and the line");
    }
}
