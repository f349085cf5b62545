//! The timed work of a leader, and when a leadership term begins and ends.
//!
//! Invariant: a node gets an anchor, which lets it stamp and propose, only once it has applied the first entry of its
//! own term (T2).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::node::Node;
use crate::propose::Anchor;
use crate::sys::clock::millis;

/// How often the leader looks at its peers, waiters and overdue tasks.
const DUTY_INTERVAL: Duration = Duration::from_millis(200);
/// Longest time between two ticks of an otherwise idle leader while a lease lives (T3).
const TICK_INTERVAL: Duration = Duration::from_millis(900);
/// A leader that no majority has confirmed for this long proposes an empty entry. Where a round trip takes longer than
/// a heartbeat may wait, only answers to entries arrive in time.
const PROBE_AFTER: Duration = Duration::from_millis(500);
/// How long this task waits after Raft has stopped.
const RAFT_GONE_PAUSE: Duration = Duration::from_secs(2);
/// Planning steps of one round. Each examines a bounded number of files, and entries are applied between two steps.
const PLAN_STEPS_MAX: usize = 64;

/// Follows Raft's role and does the leader's work until the process ends.
pub async fn run(node: Arc<Node>) {
    let mut role = node.raft.server_metrics();
    let mut applied = node.state.applied();
    let mut interval = tokio::time::interval(DUTY_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        // A leader without an anchor waits for its first applied entry, a leader with one only for the timer.
        let waits_for_entry = node.role() == "leader" && node.clock.anchor().is_none();
        tokio::select! {
            changed = role.changed() => if changed.is_err() {
                // Raft has stopped. If the storage failed, the node reports that and ends before this task does.
                return tokio::time::sleep(RAFT_GONE_PAUSE).await;
            },
            _ = applied.changed(), if waits_for_entry => {}
            _ = interval.tick() => {
                timed_duties(&node);
                plan_on(&node).await;
            }
        }
        follow_leadership(&node);
    }
}

/// Begins or ends a leadership term. A leader may stamp and propose once it has applied the first entry of its own
/// term (T2).
fn follow_leadership(node: &Arc<Node>) {
    let term = node.term();
    let leads = node.role() == "leader";
    let applied_term = node.state.applied().borrow().map(|log_id| log_id.leader_id.term);
    let anchored = node.clock.anchor().map(|anchor| anchor.term);
    if leads && applied_term == Some(term) {
        if anchored != Some(term) {
            let catalog = node.catalog();
            node.leadership.begin(term, &catalog, &node.config);
            node.clock.set_anchor(Some(Anchor::new(term, catalog.now(), node.clock.monotonic())));
            tracing::info!(term, "leading");
        }
    } else if anchored.is_some() {
        node.clock.set_anchor(None);
        node.leadership.end();
        tracing::info!(term, "no longer leading");
    }
}

/// Plans what is left, and releases the catalog between two steps.
async fn plan_on(node: &Node) {
    for _ in 0..PLAN_STEPS_MAX {
        if !node.leadership.plan_on(&node.catalog()) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn timed_duties(node: &Arc<Node>) {
    if !node.leads() {
        return;
    }
    let confirmed = node.majority_confirmed();
    let (ops, tick) = {
        let catalog = node.catalog();
        let ops = node.leadership.duties(&catalog, confirmed);
        let age = node.clock.anchor().map_or(0, |anchor| anchor.now().saturating_sub(catalog.now()));
        (ops, confirmed && catalog.needs_ticks() && age >= millis(TICK_INTERVAL))
    };
    if node.leader_confirmation().is_some_and(|(_, _, age)| age >= PROBE_AFTER) {
        probe(node);
    }
    for op in ops {
        let node = node.clone();
        tokio::spawn(async move {
            if let Err(error) = node.proposer.propose_op(op).await {
                tracing::debug!(%error, "a duty was not proposed; the next round repeats it");
            }
        });
    }
    if tick && let Some(anchor) = node.clock.anchor() {
        let node = node.clone();
        let batch = raft_store::catalog::Batch { stamp: Some(anchor.stamp()), commands: Vec::new() };
        tokio::spawn(async move {
            if let Err(error) = crate::propose::write(&node.raft, batch.into()).await {
                tracing::debug!(%error, "a tick was not proposed");
            }
        });
    }
}

/// Proposes an entry without stamp or commands, to hear from the majority.
fn probe(node: &Arc<Node>) {
    if node.leadership.probing.swap(true, Ordering::AcqRel) {
        return;
    }
    let node = node.clone();
    tokio::spawn(async move {
        let batch = raft_store::catalog::Batch { stamp: None, commands: Vec::new() };
        if let Err(error) = crate::propose::write(&node.raft, batch.into()).await {
            tracing::debug!(%error, "a probe of the majority was not committed");
        }
        node.leadership.probing.store(false, Ordering::Release);
    });
}
