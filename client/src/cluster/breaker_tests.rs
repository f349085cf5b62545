//! The breaker on a clock of its own: its documented table step by step, and what holds after any events.

use proptest::prelude::*;

use super::*;

/// A breaker and its clock, in milliseconds.
struct Bench {
    breaker: Breaker,
    start: Instant,
    ms: u64,
}

impl Bench {
    fn new() -> Self {
        Self { breaker: Breaker::default(), start: Instant::now(), ms: 0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn state(&self) -> State {
        self.breaker.state(self.now())
    }

    /// Carries out one line of a script and returns what it shows: the state, and whether a probe was given out.
    fn step(&mut self, line: &str) -> String {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("wait", ms) => self.ms += ms.parse::<u64>().expect("a number"),
            ("fails", _) => self.breaker.failed(self.now()),
            ("answers", _) => self.breaker.answered(),
            ("silent", _) => self.breaker.silent(),
            ("vouched", _) => self.breaker.vouched_for(),
            ("probe", _) => {
                let claimed = self.breaker.claim_probe(self.now());
                return format!("{:?}{}", self.state(), if claimed { ", probe" } else { "" });
            }
            (other, _) => panic!("{other}"),
        }
        format!("{:?}", self.state())
    }
}

#[test]
fn each_line_of_the_state_table() {
    let mut bench = Bench::new();
    for (line, expected) in [
        ("probe", "Closed"),
        // A failure opens it, the failures of other requests under way change nothing.
        ("fails", "Open"),
        ("wait 50", "Open"),
        ("fails", "Open"),
        ("probe", "Open"),
        ("wait 49", "Open"),
        ("wait 1", "HalfOpen"),
        // One probe at a time.
        ("probe", "HalfOpen, probe"),
        ("probe", "HalfOpen"),
        ("fails", "Open"),
        ("wait 199", "Open"),
        ("wait 1", "HalfOpen"),
        // A probe that is lost is replaced.
        ("probe", "HalfOpen, probe"),
        ("wait 1999", "HalfOpen"),
        ("probe", "HalfOpen"),
        ("wait 1", "HalfOpen"),
        ("probe", "HalfOpen, probe"),
        ("answers", "Closed"),
        // The pause begins anew after an answer.
        ("fails", "Open"),
        ("wait 100", "HalfOpen"),
        ("answers", "Closed"),
        // Silence asks for a probe, without a pause.
        ("silent", "HalfOpen"),
        ("probe", "HalfOpen, probe"),
        ("silent", "HalfOpen"),
        ("probe", "HalfOpen"),
        ("fails", "Open"),
        ("silent", "Open"),
        // A word of the others ends the pause, and the next failure still counts as the second.
        ("vouched", "Closed"),
        ("fails", "Open"),
        ("wait 199", "Open"),
        ("wait 1", "HalfOpen"),
    ] {
        assert_eq!(bench.step(line), expected, "{line} at {} ms", bench.ms);
    }
}

#[test]
fn a_pause_doubles_up_to_its_limit() {
    let mut bench = Bench::new();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        bench.breaker.failed(bench.now());
        let since = bench.ms;
        while bench.state() == State::Open {
            bench.ms += 1;
        }
        pauses.push(bench.ms - since);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
}

#[test]
fn a_dead_node_gets_few_probes_and_no_request() {
    let mut bench = Bench::new();
    let (mut requests, mut probes) = (0, 0);
    // A request every 10 ms for a minute, while another node answers.
    for _ in 0..6_000 {
        if bench.state() == State::Closed {
            requests += 1;
            bench.breaker.failed(bench.now());
        }
        if bench.breaker.claim_probe(bench.now()) {
            probes += 1;
            bench.breaker.failed(bench.now());
        }
        bench.ms += 10;
    }
    assert_eq!(requests, 1, "it costs one timeout, not one for each request");
    assert!((25..40).contains(&probes), "{probes} probes in a minute");
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Wait(u64),
    Fails,
    Answers,
    Silent,
    Vouched,
    Probe,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3_000u64).prop_map(Event::Wait),
        Just(Event::Fails),
        Just(Event::Answers),
        Just(Event::Silent),
        Just(Event::Vouched),
        Just(Event::Probe),
    ]
}

proptest! {
    #[test]
    fn any_history_keeps_the_invariants(events in prop::collection::vec(event(), 0..200)) {
        let mut bench = Bench::new();
        let mut probing: Option<u64> = None;
        for event in events {
            let before = bench.state();
            match event {
                Event::Wait(ms) => bench.ms += ms,
                Event::Fails => {
                    bench.breaker.failed(bench.now());
                    prop_assert_eq!(bench.state(), State::Open);
                    probing = None;
                }
                Event::Answers => {
                    bench.breaker.answered();
                    prop_assert_eq!(bench.state(), State::Closed);
                    probing = None;
                }
                Event::Silent => {
                    bench.breaker.silent();
                    prop_assert!(bench.state() != State::Closed && (before == State::Closed || bench.state() == before));
                }
                Event::Vouched => {
                    bench.breaker.vouched_for();
                    probing = None;
                }
                Event::Probe => {
                    if bench.breaker.claim_probe(bench.now()) {
                        prop_assert_eq!(before, State::HalfOpen);
                        let alone = probing.is_none_or(|sent| bench.ms - sent >= 2_000);
                        prop_assert!(alone, "two probes at once");
                        probing = Some(bench.ms);
                    }
                }
            }
            // Whatever happened, the node is closed or can be probed within the longest pause and a lost probe.
            let mut later = Bench { breaker: Breaker { ..bench.breaker }, start: bench.start, ms: bench.ms + 4_000 };
            prop_assert!(later.state() == State::Closed || later.breaker.claim_probe(later.now()));
            later.breaker.answered();
            prop_assert_eq!(later.state(), State::Closed);
        }
    }
}
