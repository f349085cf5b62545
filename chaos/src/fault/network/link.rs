//! What happens to the bytes of one direction between two nodes: rules that change at any time, and counters that show
//! what they did.
//!
//! Invariants: a rule acts on existing connections as on new ones; a healed link delivers what it held, in order;
//! faults of one direction add up, so that none lifts another before healing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::types::NodeId;
use rand::Rng;
use tokio::sync::watch;

/// Shortest time after which a lost segment is sent again, as Linux does it.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// Losses of one segment in a row that are drawn at most: the waits double.
const LOSSES_MAX: u32 = 4;

/// From one node to another.
pub type Direction = (NodeId, NodeId);

/// What happens to bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rule {
    /// Nothing passes until healing; what is sent is held.
    pub cut: bool,
    /// Nothing passes while it is down; what is sent is held.
    pub down: bool,
    /// Connections are reset, new ones too.
    pub refuse: bool,
    /// Every chunk comes so much later.
    pub delay: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// Chance that a chunk is lost and sent again after 200 ms or more; what follows waits for it.
    pub loss: f64,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// Chance that a chunk breaks its connection.
    pub reset: f64,
    /// Chance that one bit of a chunk of Raft's own traffic arrives flipped.
    pub flip: f64,
}

impl Rule {
    /// Nothing passes.
    #[cfg(test)]
    pub const CUT: Self = Self {
        cut: true,
        down: false,
        refuse: false,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        rate: None,
        reset: 0.0,
        flip: 0.0,
    };

    /// Whether what is sent is held.
    pub fn holds(&self) -> bool {
        self.cut || self.down
    }

    /// How much later a chunk arrives, and whether it was lost on the way.
    pub fn lateness(&self, rng: &mut impl Rng) -> (Duration, bool) {
        let mut late = self.delay;
        if !self.jitter.is_zero() {
            late += self.jitter.mul_f64(rng.random_range(0.0..1.0));
        }
        let mut losses = 0;
        while losses < LOSSES_MAX && self.loss > 0.0 && rng.random_bool(self.loss) {
            late += RETRANSMIT * 2_u32.pow(losses);
            losses += 1;
        }
        (late, losses > 0)
    }

    /// Flips one bit of these bytes, or none; tells whether it did.
    pub fn damage(&self, bytes: &mut [u8], rng: &mut impl Rng) -> bool {
        if self.flip <= 0.0 || bytes.is_empty() || !rng.random_bool(self.flip) {
            return false;
        }
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        true
    }

    /// How long sending a number of bytes takes.
    pub fn sending(&self, bytes: usize) -> Duration {
        let seconds = |rate: u64| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.rate.map_or(Duration::ZERO, seconds)
    }
}

/// What a direction did, in all.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes that were delivered.
    pub passed: AtomicU64,
    /// Bytes that were held back by a cut.
    pub held: AtomicU64,
    /// Chunks that came late.
    pub late: AtomicU64,
    /// Chunks that were "lost".
    pub lost: AtomicU64,
    /// Connections that were broken.
    pub resets: AtomicU64,
    /// Bits that were flipped.
    pub flips: AtomicU64,
}

impl Counters {
    /// Reads a counter.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// One direction.
#[derive(Debug)]
pub struct Link {
    rule: watch::Sender<Rule>,
    /// Grows when the connections of this direction must be reset.
    breaks: watch::Sender<u64>,
    /// What it did.
    pub counters: Counters,
}

impl Link {
    fn new() -> Self {
        Self { rule: watch::Sender::new(Rule::default()), breaks: watch::Sender::new(0), counters: Counters::default() }
    }

    /// The rule, now.
    pub fn rule(&self) -> Rule {
        *self.rule.borrow()
    }

    /// Waits until nothing holds the bytes.
    pub async fn open(&self) {
        // The sender lives as long as this link.
        let _ = self.rule.subscribe().wait_for(|rule| !rule.holds()).await;
    }

    /// Waits until connections of this direction must break.
    pub async fn broken(&self) {
        let mut breaks = self.breaks.subscribe();
        breaks.mark_unchanged();
        let _ = breaks.changed().await;
    }
}

/// Every direction between the nodes.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Mutex<BTreeMap<Direction, Arc<Link>>>>);

impl Links {
    /// The link of a direction.
    pub fn get(&self, direction: Direction) -> Arc<Link> {
        self.0.lock().entry(direction).or_insert_with(|| Arc::new(Link::new())).clone()
    }

    /// Nothing passes in this direction until healing.
    pub fn cut(&self, direction: Direction) {
        self.get(direction).rule.send_modify(|rule| rule.cut = true);
    }

    /// A link that is up goes down, one that is down comes up.
    pub fn flip(&self, direction: Direction) {
        self.get(direction).rule.send_modify(|rule| rule.down = !rule.down);
    }

    /// What passes, passes like this.
    pub fn slow(&self, direction: Direction, slow: Rule) {
        self.get(direction).rule.send_modify(|rule| *rule = Rule { cut: rule.cut, down: rule.down, ..slow });
    }

    /// Sets a rule in place of all others.
    #[cfg(test)]
    pub fn set(&self, direction: Direction, rule: Rule) {
        let link = self.get(direction);
        link.rule.send_replace(rule);
        if rule.refuse {
            link.breaks.send_modify(|count| *count += 1);
        }
    }

    /// Every link passes everything; connections of links that were cut are reset if so asked. Returns the directions
    /// that had a rule.
    pub fn heal(&self, reset: bool) -> Vec<Direction> {
        let links: Vec<_> = self.0.lock().iter().map(|(direction, link)| (*direction, link.clone())).collect();
        let mut healed = Vec::new();
        for (direction, link) in links.into_iter().filter(|(_, link)| link.rule() != Rule::default()) {
            if reset && link.rule().holds() {
                Counters::add(&link.counters.resets, 1);
                link.breaks.send_modify(|count| *count += 1);
            }
            link.rule.send_replace(Rule::default());
            healed.push(direction);
        }
        healed
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn lateness_is_what_the_rule_says() {
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(Rule::default().lateness(&mut rng), (Duration::ZERO, false));
        let (delay, jitter) = (Duration::from_millis(25), Duration::from_millis(100));
        let slow = Rule { delay, jitter, ..Rule::default() };
        let drawn: Vec<Duration> = (0..100).map(|_| slow.lateness(&mut rng).0).collect();
        assert!(drawn.iter().all(|late| (delay..=delay + jitter).contains(late)));
        assert!(drawn.iter().max() > drawn.iter().min());
        let lossy = Rule { loss: 0.5, ..Rule::default() };
        let lost = (0..1_000).map(|_| lossy.lateness(&mut rng)).filter(|(late, lost)| {
            assert_eq!(*lost, *late >= RETRANSMIT);
            *lost
        });
        assert!((400..600).contains(&lost.count()));
        let throttled = Rule { rate: Some(1_000), ..Rule::default() };
        assert_eq!(throttled.sending(500), Duration::from_millis(500));
    }

    #[test]
    fn damage_is_one_bit_and_only_where_asked() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut bytes, always) = ([7_u8; 64], Rule { flip: 1.0, ..Rule::default() });
        assert!(!Rule::default().damage(&mut bytes, &mut rng) && bytes == [7; 64]);
        assert!(always.damage(&mut bytes, &mut rng));
        assert_eq!(bytes.iter().map(|byte| (byte ^ 7).count_ones()).sum::<u32>(), 1);
        assert!(!always.damage(&mut [], &mut rng), "an end has no bits");
    }

    #[test]
    fn no_fault_lifts_another() {
        let links = Links::default();
        let rule = || links.get((1, 2)).rule();
        links.cut((1, 2));
        (0..2).for_each(|_| links.flip((1, 2)));
        assert!(rule().cut, "a flapping link that comes up is still cut");
        links.slow((1, 2), Rule { delay: Duration::from_millis(5), ..Rule::default() });
        assert!(rule().holds() && rule().delay == Duration::from_millis(5));
        links.heal(false);
        links.flip((1, 2));
        links.cut((1, 2));
        links.flip((1, 2));
        assert!(rule().holds() && !rule().down);
    }

    #[test]
    fn healing_leaves_no_rule() {
        let links = Links::default();
        links.set((1, 2), Rule::CUT);
        links.set((2, 3), Rule::default());
        assert_eq!(links.heal(true), [(1, 2)]);
        assert_eq!(links.get((1, 2)).rule(), Rule::default());
        assert_eq!(links.heal(true), []);
    }
}
