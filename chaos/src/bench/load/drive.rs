//! Drives workers: in a closed loop, where each begins its next operation when the last one ended, or in an open loop,
//! where operations begin at a fixed rate whatever becomes of the earlier ones.
//!
//! Invariant: in an open loop a latency runs from the moment the operation was due, not from when a worker was free to
//! begin it, so that a stall is in the latency of everything that was due meanwhile. Only operations that began (or
//! were due) after the warm-up and before the end are counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::tally::Tally;

/// Limit of one operation.
const OPERATION_WITHIN: Duration = Duration::from_secs(10);
/// Pause of a worker after a failure, so that a node that is gone does not cost a processor.
const FAILURE_PAUSE: Duration = Duration::from_millis(5);
/// Operations of an open loop that may be due and not begun; more are dropped and counted as
/// failures named [`BACKLOG`].
pub const BACKLOG_MAX: usize = 10_000;
/// Name of the failure of operations that were dropped.
pub const BACKLOG: &str = "backlog full";
/// Shortest sleep of the pacer: operations that are due within it begin together.
const PACE: Duration = Duration::from_micros(100);
/// Tallies that workers share; each has its own lock.
const SHARDS: usize = 8;

/// What one operation came to.
#[derive(Debug)]
pub struct Completed {
    /// Kind of the operation.
    pub kind: &'static str,
    /// How many things it was about, or why it failed.
    pub result: Result<u64, String>,
}

/// Does one operation after the other.
pub trait Worker: Send + 'static {
    /// One operation.
    fn once(&mut self) -> impl Future<Output = Completed> + Send;

    /// Gives up what was under way: the operation took too long, and its connection is broken.
    fn reset(&mut self);
}

/// How long, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Goes before and is not counted.
    pub warm_up: Duration,
    /// Is counted.
    pub duration: Duration,
    /// Operations per second in an open loop; a closed loop if absent.
    pub rate: Option<f64>,
}

/// The plan of an open loop.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    rate: f64,
}

impl Schedule {
    /// `rate` operations per second, which must be positive.
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// When operation number `number`, counted from 0, is due, from the beginning.
    pub fn due(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.rate).unwrap_or(Duration::MAX)
    }

    /// Latency of an operation that was due at `due` and ended at `ended`, both from the beginning.
    pub fn latency(due: Duration, ended: Duration) -> Duration {
        ended.saturating_sub(due)
    }
}

/// Where workers count.
#[derive(Debug)]
struct Counting {
    began: Instant,
    from: Duration,
    until: Duration,
    shards: [Mutex<Tally>; SHARDS],
}

impl Counting {
    fn new(pace: &Pace) -> Arc<Self> {
        let (from, until) = (pace.warm_up, pace.warm_up + pace.duration);
        Arc::new(Self { began: Instant::now(), from, until, shards: Default::default() })
    }

    /// Counts an operation that began, or was due, at `at` from the beginning.
    fn count(&self, shard: usize, at: Duration, done: &Completed) {
        if at < self.from || at >= self.until {
            return;
        }
        let latency = Schedule::latency(at, self.began.elapsed());
        let mut tally = self.shards[shard % SHARDS].lock();
        match &done.result {
            Ok(units) => tally.done(done.kind, latency, *units),
            Err(why) => tally.failed(done.kind, why),
        }
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.shards.iter().for_each(|shard| total.merge(&shard.lock()));
        total
    }
}

/// Drives the workers; what the operations of the measured time came to, and the workers, to be used again.
///
/// `warm` is called when the warm-up is over, `cold` when the measured time is, before the last operations have ended.
pub async fn drive<W: Worker>(
    workers: Vec<W>,
    pace: Pace,
    warm: impl FnOnce(),
    cold: impl FnOnce(),
) -> (Tally, Vec<W>) {
    let counting = Counting::new(&pace);
    let queue = pace.rate.map(|_| Arc::new(Queue::default()));
    let mut tasks = JoinSet::new();
    for (number, worker) in workers.into_iter().enumerate() {
        match &queue {
            Some(queue) => tasks.spawn(open_loop(worker, number, queue.clone(), counting.clone())),
            None => tasks.spawn(closed_loop(worker, number, counting.clone())),
        };
    }
    let pacer = match (&queue, pace.rate) {
        (Some(queue), Some(rate)) => {
            let (queue, counting) = (queue.clone(), counting.clone());
            Some(tokio::task::spawn_blocking(move || pacer(Schedule::new(rate), &queue, &counting)))
        }
        _ => None,
    };
    tokio::time::sleep(counting.from.saturating_sub(counting.began.elapsed())).await;
    warm();
    tokio::time::sleep(counting.until.saturating_sub(counting.began.elapsed())).await;
    cold();
    if let Some(pacer) = pacer {
        // Fails only if it panicked, and then less was asked for than was said, which the figures show.
        let _ = pacer.await;
    }
    let mut workers = Vec::new();
    while let Some(result) = tasks.join_next().await {
        workers.extend(result);
    }
    (counting.total(), workers)
}

async fn operate<W: Worker>(worker: &mut W) -> Completed {
    match tokio::time::timeout(OPERATION_WITHIN, worker.once()).await {
        Ok(done) => done,
        Err(_) => {
            worker.reset();
            Completed { kind: "unfinished", result: Err("timeout".into()) }
        }
    }
}

async fn closed_loop<W: Worker>(mut worker: W, number: usize, counting: Arc<Counting>) -> W {
    loop {
        let at = counting.began.elapsed();
        if at >= counting.until {
            return worker;
        }
        let done = operate(&mut worker).await;
        counting.count(number, at, &done);
        if done.result.is_err() {
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    }
}

async fn open_loop<W: Worker>(mut worker: W, number: usize, queue: Arc<Queue>, counting: Arc<Counting>) -> W {
    while let Some(due) = queue.next().await {
        let done = operate(&mut worker).await;
        counting.count(number, due, &done);
    }
    worker
}

/// Operations that are due, in order; workers wait for them in turn, so that they are spread over all.
#[derive(Debug)]
struct Queue {
    /// When each was due, from the beginning.
    due: Mutex<VecDeque<Duration>>,
    ready: Semaphore,
}

impl Default for Queue {
    fn default() -> Self {
        Self { due: Mutex::default(), ready: Semaphore::new(0) }
    }
}

impl Queue {
    /// False if the backlog is full.
    fn push(&self, due: Duration) -> bool {
        let mut queue = self.due.lock();
        if queue.len() >= BACKLOG_MAX {
            return false;
        }
        queue.push_back(due);
        drop(queue);
        self.ready.add_permits(1);
        true
    }

    /// The next one; `None` when there will be no more.
    async fn next(&self) -> Option<Duration> {
        match self.ready.acquire().await {
            Ok(permit) => permit.forget(),
            // Closed: what was pushed before is still to be done.
            Err(_) => return self.due.lock().pop_front(),
        }
        self.due.lock().pop_front()
    }
}

/// Runs on its own thread: the runtime's timers are good to a millisecond only.
#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn pacer(schedule: Schedule, queue: &Queue, counting: &Counting) {
    for number in 0.. {
        let due = schedule.due(number);
        if due >= counting.until {
            break;
        }
        let wait = due.saturating_sub(counting.began.elapsed());
        if !wait.is_zero() {
            std::thread::sleep(wait.max(PACE));
        }
        if !queue.push(due) {
            counting.count(0, due, &Completed { kind: "dropped", result: Err(BACKLOG.into()) });
        }
    }
    queue.ready.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_due_at_equal_distances() {
        let schedule = Schedule::new(250.0);
        let due: Vec<Duration> = (0..4).map(|number| schedule.due(number)).collect();
        assert_eq!(due, [0, 4, 8, 12].map(Duration::from_millis));
        assert_eq!(schedule.due(250 * 3_600), Duration::from_secs(3_600), "no drift");
    }

    #[test]
    fn a_latency_has_the_time_before_the_operation_began() {
        // A stall of one second at 10 per second: one worker, each operation takes 1 ms, the first one 1 s.
        let schedule = Schedule::new(10.0);
        let mut free = Duration::ZERO;
        let latencies: Vec<u128> = (0..10)
            .map(|number| {
                let due = schedule.due(number);
                let took = if number == 0 { Duration::from_secs(1) } else { Duration::from_millis(1) };
                free = free.max(due) + took;
                Schedule::latency(due, free).as_millis()
            })
            .collect();
        assert_eq!(latencies, [1_000, 901, 802, 703, 604, 505, 406, 307, 208, 109]);
    }

    #[test]
    fn only_the_measured_time_is_counted() {
        let pace = Pace { warm_up: Duration::from_secs(1), duration: Duration::from_secs(2), rate: None };
        let counting = Counting::new(&pace);
        let done = Completed { kind: "x", result: Ok(1) };
        for (shard, millis) in [0, 999, 1_000, 2_999, 3_000].into_iter().enumerate() {
            counting.count(shard, Duration::from_millis(millis), &done);
        }
        assert_eq!(counting.total().total().done, 2);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_ends_after_its_last_operation() {
        let queue = Queue::default();
        for number in 0..BACKLOG_MAX as u64 {
            assert!(queue.push(Duration::from_micros(number)));
        }
        assert!(!queue.push(Duration::from_secs(1)));
        queue.ready.close();
        let mut count = 0;
        while let Some(due) = queue.next().await {
            assert_eq!(due, Duration::from_micros(count));
            count += 1;
        }
        assert_eq!(count, BACKLOG_MAX as u64);
    }

    struct Counter(u64);

    impl Worker for Counter {
        async fn once(&mut self) -> Completed {
            tokio::task::yield_now().await;
            self.0 += 1;
            Completed { kind: "count", result: if self.0.is_multiple_of(2) { Ok(3) } else { Err("odd".into()) } }
        }

        fn reset(&mut self) {}
    }

    #[tokio::test]
    async fn an_open_loop_does_what_was_due_and_gives_its_workers_back() {
        let pace =
            Pace { warm_up: Duration::from_millis(20), duration: Duration::from_millis(80), rate: Some(1_000.0) };
        let (tally, workers) = drive(vec![Counter(0), Counter(0)], pace, || {}, || {}).await;
        assert_eq!(workers.iter().map(|worker| worker.0).sum::<u64>(), 100);
        let total = tally.total();
        assert_eq!((total.done + total.failed, total.units), (80, total.done * 3));
    }

    #[tokio::test]
    async fn a_closed_loop_goes_on_until_the_end() {
        let pace = Pace { warm_up: Duration::ZERO, duration: Duration::from_millis(300), rate: None };
        let (tally, workers) = drive(vec![Counter(1)], pace, || {}, || {}).await;
        assert_eq!(workers.len(), 1);
        assert!(tally.total().done > 0);
    }
}
