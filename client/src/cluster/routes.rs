//! Which servers there are, which of them leads, and which back off right now. Pure: the time is an argument.
//!
//! Invariants: a leader is believed only for the highest term heard of. A node whose breaker is open is asked last but
//! never forgotten, so a cluster whose nodes were all down for a moment is found again.

use std::time::{Duration, Instant};

/// How long a node backs off after its first failure; doubles with each further failure in a row.
pub(super) const NODE_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest time that a node backs off.
pub(super) const NODE_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long "nobody leads" is believed before the servers are asked again.
pub(super) const LEADERLESS_PAUSE: Duration = Duration::from_millis(100);
/// Most servers that are kept, configured or hinted at; further hints are ignored.
pub(super) const NODES_MAX: usize = 32;

/// Position of a node in [`Routes`]; never reused.
pub(super) type Slot = usize;

#[derive(Debug)]
struct Node {
    /// `http://host:port`, without a slash at the end.
    url: String,
    failures: u32,
    backs_off_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leader {
    slot: Slot,
    term: u64,
}

/// The client's picture of the cluster.
#[derive(Debug)]
pub(super) struct Routes {
    nodes: Vec<Node>,
    leader: Option<Leader>,
    leaderless_until: Option<Instant>,
    turn: usize,
}

impl Routes {
    /// Starts with the configured servers' base URLs.
    pub(super) fn new(urls: Vec<String>) -> Self {
        let nodes = urls.into_iter().map(|url| Node { url, failures: 0, backs_off_until: None }).collect();
        Self { nodes, leader: None, leaderless_until: None, turn: 0 }
    }

    /// A node's base URL.
    pub(super) fn url(&self, slot: Slot) -> &str {
        self.nodes.get(slot).map_or("", |node| node.url.as_str())
    }

    /// All base URLs; for messages.
    pub(super) fn servers(&self) -> String {
        self.nodes.iter().map(|node| node.url.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The leader to send to; `None` if there is none or it backs off.
    pub(super) fn leader(&self, now: Instant) -> Option<Slot> {
        self.leader.map(|leader| leader.slot).filter(|&slot| !self.backs_off(slot, now))
    }

    /// Whether a recent round of questions found no leader.
    pub(super) fn is_leaderless(&self, now: Instant) -> bool {
        self.leaderless_until.is_some_and(|until| now < until)
    }

    /// Every node once: the ready ones first, starting at another one each time; then those that back off.
    pub(super) fn in_turn(&mut self, now: Instant) -> Vec<Slot> {
        let count = self.nodes.len();
        let start = self.turn;
        self.turn = self.turn.wrapping_add(1);
        let (mut ready, backing_off): (Vec<_>, Vec<_>) =
            (0..count).map(|step| start.wrapping_add(step) % count).partition(|&slot| !self.backs_off(slot, now));
        ready.extend(backing_off);
        ready
    }

    /// The nodes whose breaker is closed; all nodes if every breaker is open.
    pub(super) fn ready(&self, now: Instant) -> Vec<Slot> {
        let ready: Vec<_> = (0..self.nodes.len()).filter(|&slot| !self.backs_off(slot, now)).collect();
        if ready.is_empty() { (0..self.nodes.len()).collect() } else { ready }
    }

    pub(super) fn backs_off(&self, slot: Slot, now: Instant) -> bool {
        self.nodes.get(slot).and_then(|node| node.backs_off_until).is_some_and(|until| now < until)
    }

    /// A node answered.
    pub(super) fn answered(&mut self, slot: Slot) {
        if let Some(node) = self.nodes.get_mut(slot) {
            node.failures = 0;
            node.backs_off_until = None;
        }
    }

    /// A node could not be reached or did not answer: it backs off for a while.
    pub(super) fn failed(&mut self, slot: Slot, now: Instant) {
        if let Some(node) = self.nodes.get_mut(slot) {
            let pause = NODE_BACKOFF_MIN.saturating_mul(1 << node.failures.min(8)).min(NODE_BACKOFF_MAX);
            node.failures = node.failures.saturating_add(1);
            node.backs_off_until = Some(now + pause);
        }
    }

    /// A node says that it leads `term` itself.
    pub(super) fn leads(&mut self, slot: Slot, term: u64) {
        if self.leader.is_none_or(|leader| term >= leader.term) {
            self.leader = Some(Leader { slot, term });
            self.leaderless_until = None;
        }
    }

    /// A hint: the node at `url` leads `term`. Returns its slot, unless the hint is older than what is known.
    pub(super) fn hinted(&mut self, url: &str, term: u64) -> Option<Slot> {
        if self.leader.is_some_and(|leader| leader.term > term) {
            return None;
        }
        let slot = match self.nodes.iter().position(|node| node.url == url) {
            Some(slot) => slot,
            None if self.nodes.len() < NODES_MAX => {
                self.nodes.push(Node { url: url.to_owned(), failures: 0, backs_off_until: None });
                self.nodes.len() - 1
            }
            None => return None,
        };
        self.leads(slot, term);
        Some(slot)
    }

    /// A node does not lead, whatever was believed before.
    pub(super) fn not_leading(&mut self, slot: Slot) {
        if self.leader.is_some_and(|leader| leader.slot == slot) {
            self.leader = None;
        }
    }

    /// All servers were asked, and none leads.
    pub(super) fn nobody_leads(&mut self, now: Instant) {
        self.leader = None;
        self.leaderless_until = Some(now + LEADERLESS_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        Routes::new(vec!["http://a:1".into(), "http://b:1".into(), "http://c:1".into()])
    }

    #[test]
    fn the_highest_term_wins_and_older_hints_are_ignored() {
        let (mut routes, now) = (routes(), Instant::now());
        assert_eq!(routes.leader(now), None);
        assert_eq!(routes.hinted("http://b:1", 7), Some(1));
        assert_eq!(routes.hinted("http://c:1", 6), None);
        assert_eq!(routes.leader(now), Some(1));
        assert_eq!(routes.hinted("http://c:1", 8), Some(2));
        assert_eq!(routes.leader(now), Some(2));
    }

    #[test]
    fn a_deposed_leader_makes_room_for_any_hint() {
        let (mut routes, now) = (routes(), Instant::now());
        routes.leads(0, 9);
        routes.not_leading(1);
        assert_eq!(routes.leader(now), Some(0), "another node's word does not depose it");
        routes.not_leading(0);
        assert_eq!(routes.leader(now), None);
        assert_eq!(routes.hinted("http://b:1", 1), Some(1));
    }

    #[test]
    fn a_failed_node_backs_off_longer_each_time_and_is_asked_last() {
        let (mut routes, now) = (routes(), Instant::now());
        routes.leads(1, 1);
        routes.failed(1, now);
        assert_eq!(routes.leader(now), None);
        assert_eq!(routes.in_turn(now), [0, 2, 1]);
        assert_eq!(routes.ready(now), [0, 2]);
        assert_eq!(routes.leader(now + NODE_BACKOFF_MIN), Some(1));
        routes.failed(1, now);
        assert_eq!(routes.leader(now + NODE_BACKOFF_MIN), None);
        assert_eq!(routes.leader(now + NODE_BACKOFF_MIN * 2), Some(1));
        routes.answered(1);
        assert_eq!(routes.leader(now), Some(1));
    }

    #[test]
    fn a_node_never_backs_off_longer_than_the_bound() {
        let (mut routes, now) = (routes(), Instant::now());
        for _ in 0..100 {
            routes.failed(0, now);
        }
        assert!(routes.backs_off(0, now + NODE_BACKOFF_MAX - Duration::from_millis(1)));
        assert!(!routes.backs_off(0, now + NODE_BACKOFF_MAX));
    }

    #[test]
    fn with_every_node_backing_off_all_are_tried() {
        let (mut routes, now) = (routes(), Instant::now());
        for slot in 0..3 {
            routes.failed(slot, now);
        }
        assert_eq!(routes.ready(now), [0, 1, 2]);
        assert_eq!(routes.in_turn(now).len(), 3);
    }

    #[test]
    fn hints_add_nodes_up_to_a_limit() {
        let mut routes = routes();
        for n in 0..100 {
            routes.hinted(&format!("http://new:{n}"), 1);
        }
        assert_eq!(routes.nodes.len(), NODES_MAX);
    }

    #[test]
    fn leaderlessness_is_believed_for_a_moment_only() {
        let (mut routes, now) = (routes(), Instant::now());
        routes.leads(0, 1);
        routes.nobody_leads(now);
        assert!(routes.is_leaderless(now));
        assert!(!routes.is_leaderless(now + LEADERLESS_PAUSE));
        routes.nobody_leads(now);
        routes.leads(2, 1);
        assert!(!routes.is_leaderless(now));
    }
}
