//! Which servers there are, which of them leads, and to which of them requests are sent now. Pure: the time is an
//! argument.
//!
//! Invariants: a leader is believed only for the highest term heard of. A node whose breaker is not closed is asked
//! last but never forgotten, so a cluster whose nodes were all down for a moment is found again.

use std::time::{Duration, Instant};

use super::breaker::{Breaker, State};

/// How long "nobody leads" is believed before the servers are asked again.
pub(super) const LEADERLESS_PAUSE: Duration = Duration::from_millis(100);
/// Most servers that are kept, configured or learned; further ones are ignored.
pub(super) const NODES_MAX: usize = 32;

/// Position of a node in [`Routes`]; never reused.
pub(super) type Slot = usize;

#[derive(Debug)]
struct Node {
    /// `http://host:port`, without a slash at the end.
    url: String,
    /// `host:port` as configured, if `url` is one of the several addresses of that name.
    name: Option<String>,
    /// Whether requests are sent there: false for a name that stands for several addresses, and for an address that its
    /// name no longer has.
    used: bool,
    breaker: Breaker,
}

impl Node {
    fn new(url: String) -> Self {
        Self { url, name: None, used: true, breaker: Breaker::default() }
    }
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
    /// The highest term that a node was named as the leader of.
    newest_term: u64,
    leaderless_until: Option<Instant>,
    turn: usize,
}

impl Routes {
    /// Starts with the configured servers' base URLs.
    pub(super) fn new(urls: Vec<String>) -> Self {
        let nodes = urls.into_iter().map(Node::new).collect();
        Self { nodes, leader: None, newest_term: 0, leaderless_until: None, turn: 0 }
    }

    /// A node's base URL.
    pub(super) fn url(&self, slot: Slot) -> &str {
        self.nodes.get(slot).map_or("", |node| node.url.as_str())
    }

    /// The name to send as `Host`, if the node is one of several addresses of a name.
    pub(super) fn host(&self, slot: Slot) -> Option<&str> {
        self.nodes.get(slot)?.name.as_deref()
    }

    /// All base URLs that requests are sent to.
    pub(super) fn urls(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.used).map(|node| node.url.clone()).collect()
    }

    /// All base URLs; for messages.
    pub(super) fn servers(&self) -> String {
        self.urls().join(", ")
    }

    /// The leader to send to; `None` if there is none or its breaker is not closed.
    pub(super) fn leader(&self, now: Instant) -> Option<Slot> {
        self.leader.map(|leader| leader.slot).filter(|&slot| self.state(slot, now) == State::Closed)
    }

    /// Whether a recent round of questions found no leader.
    pub(super) fn is_leaderless(&self, now: Instant) -> bool {
        self.leaderless_until.is_some_and(|until| now < until)
    }

    /// Every used node once: first those whose breaker is closed, starting at another one each time; then those that
    /// wait for a probe, and then those that are left alone.
    pub(super) fn in_turn(&mut self, now: Instant) -> Vec<Slot> {
        let mut slots: Vec<_> = (0..self.nodes.len()).filter(|&slot| self.nodes[slot].used).collect();
        let start = self.turn % slots.len().max(1);
        self.turn = self.turn.wrapping_add(1);
        slots.rotate_left(start);
        slots.sort_by_key(|&slot| match self.state(slot, now) {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        });
        slots
    }

    /// The nodes whose breaker is closed; all nodes if none is.
    pub(super) fn ready(&self, now: Instant) -> Vec<Slot> {
        let used = || (0..self.nodes.len()).filter(|&slot| self.nodes[slot].used);
        let ready: Vec<_> = used().filter(|&slot| self.state(slot, now) == State::Closed).collect();
        if ready.is_empty() { used().collect() } else { ready }
    }

    /// The state of a node's breaker.
    pub(super) fn state(&self, slot: Slot, now: Instant) -> State {
        self.nodes.get(slot).map_or(State::Open, |node| node.breaker.state(now))
    }

    /// The nodes that the caller is to probe now.
    pub(super) fn claim_probes(&mut self, now: Instant) -> Vec<Slot> {
        let mut claimed = Vec::new();
        for (slot, node) in self.nodes.iter_mut().enumerate() {
            if node.used && node.breaker.claim_probe(now) {
                claimed.push(slot);
            }
        }
        claimed
    }

    /// A node answered.
    pub(super) fn answered(&mut self, slot: Slot) {
        if let Some(node) = self.nodes.get_mut(slot) {
            node.breaker.answered();
        }
    }

    /// A node could not be reached or did not answer.
    pub(super) fn failed(&mut self, slot: Slot, now: Instant) {
        if let Some(node) = self.nodes.get_mut(slot) {
            node.breaker.failed(now);
        }
    }

    /// A node stayed silent while another one answered.
    pub(super) fn silent(&mut self, slot: Slot) {
        if let Some(node) = self.nodes.get_mut(slot) {
            node.breaker.silent();
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
        let slot = self.learned(url)?;
        if term > self.newest_term {
            self.newest_term = term;
            self.nodes[slot].breaker.vouched_for();
        }
        self.leads(slot, term);
        Some(slot)
    }

    /// The slot of the node at `url`, which is added if it is new. `None` if there are too many.
    pub(super) fn learned(&mut self, url: &str) -> Option<Slot> {
        if let Some(slot) = self.nodes.iter().position(|node| node.url == url) {
            return Some(slot);
        }
        if self.nodes.len() >= NODES_MAX {
            return None;
        }
        self.nodes.push(Node::new(url.to_owned()));
        Some(self.nodes.len() - 1)
    }

    /// The configured name `host:port` now stands for these base URLs. With several, each is a node of its own, with a
    /// breaker of its own, instead of the name.
    pub(super) fn resolved(&mut self, name: &str, urls: &[String]) {
        if urls.len() < 2 {
            return; // the connection looks the name up by itself
        }
        for node in self.nodes.iter_mut().filter(|node| node.name.as_deref() == Some(name)) {
            node.used = urls.contains(&node.url);
        }
        for url in urls {
            if let Some(slot) = self.learned(url) {
                self.nodes[slot].name.get_or_insert_with(|| name.to_owned());
                self.nodes[slot].used = true;
            }
        }
        let own = format!("http://{name}");
        if let Some(node) = self.nodes.iter_mut().find(|node| node.url == own) {
            node.used = false;
        }
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
    use crate::cluster::breaker::PAUSE_MIN;

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
    fn a_failed_node_is_asked_last_until_a_probe_finds_it_again() {
        let (mut routes, now) = (routes(), Instant::now());
        routes.leads(1, 1);
        routes.failed(1, now);
        assert_eq!(routes.leader(now), None);
        assert_eq!(routes.in_turn(now), [0, 2, 1]);
        assert_eq!(routes.ready(now), [0, 2]);
        assert!(routes.claim_probes(now).is_empty());
        let later = now + PAUSE_MIN;
        assert_eq!(routes.leader(later), None, "no request is sent there before the probe is answered");
        assert_eq!(routes.claim_probes(later), [1]);
        assert!(routes.claim_probes(later).is_empty());
        routes.answered(1);
        assert_eq!(routes.leader(later), Some(1));
    }

    #[test]
    fn a_silent_node_is_asked_after_the_others_and_probed() {
        let (mut routes, now) = (routes(), Instant::now());
        routes.silent(0);
        routes.failed(1, now);
        assert_eq!(routes.in_turn(now), [2, 0, 1]);
        assert_eq!(routes.claim_probes(now), [0]);
    }

    #[test]
    fn the_leader_of_a_newer_term_is_sent_to_at_once_though_it_failed_before() {
        let (mut routes, now) = (routes(), Instant::now());
        routes.hinted("http://b:1", 4);
        routes.failed(1, now);
        routes.hinted("http://b:1", 4);
        assert_eq!(routes.leader(now), None, "nobody has heard from it since it failed");
        routes.hinted("http://b:1", 5);
        assert_eq!(routes.leader(now), Some(1));
    }

    #[test]
    fn a_name_with_several_addresses_is_as_many_nodes() {
        let mut routes = Routes::new(vec!["http://index:80".into(), "http://c:1".into()]);
        let now = Instant::now();
        let urls = |ends: &[u8]| ends.iter().map(|end| format!("http://10.0.0.{end}:80")).collect::<Vec<_>>();
        routes.resolved("index:80", &urls(&[1]));
        assert_eq!(routes.urls(), ["http://index:80", "http://c:1"], "one address needs no node of its own");
        routes.resolved("index:80", &urls(&[1, 2]));
        assert_eq!(routes.urls(), ["http://c:1", "http://10.0.0.1:80", "http://10.0.0.2:80"]);
        assert_eq!((routes.host(2), routes.host(1)), (Some("index:80"), None));
        routes.failed(2, now);
        assert_eq!(routes.ready(now), [1, 3]);
        // The name moves on; an address that returns is the same node again.
        routes.resolved("index:80", &urls(&[2, 3]));
        assert_eq!(routes.urls(), ["http://c:1", "http://10.0.0.2:80", "http://10.0.0.3:80"]);
        routes.resolved("index:80", &urls(&[1, 2]));
        assert_eq!(routes.in_turn(now).len(), 3);
        assert_eq!(routes.state(2, now), State::Open);
    }

    #[test]
    fn with_every_breaker_open_all_are_tried() {
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
