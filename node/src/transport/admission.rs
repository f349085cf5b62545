//! Who may say what on a connection that came in: the check of its hello, and whether it still holds later (C1, N1).
//!
//! Invariants
//! * A connection speaks for a member only if its hello names this node, this directory and this cluster, and if the
//!   sender is a member: by this node's own membership, or because a node with a newer membership says so. A node that
//!   knows no member yet takes any sender of its cluster.
//! * It ends when the membership, or a later start of the sender's directory, says otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use raft_store::raft::{LogId, Member};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::{Hello, PROTOCOL_VERSION, Side, Welcome};
use crate::condition::Condition;
use crate::node::Node;
use crate::standing;
use crate::starts;

/// Senders whose check is remembered.
const CHECKED_MAX: usize = 64;
/// How long an outcome is remembered.
const CHECKED_FOR: Duration = Duration::from_secs(1);
/// Checks under way at once: each asks all members.
const CHECKS_MAX: usize = 4;
/// How often it is looked whether a connection may go on.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection to an older copy may last.
const OLDER_COPY_TALKS_FOR: Duration = Duration::from_secs(1);

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRequests {
    /// Everything: the other side is this member.
    Member(Side),
    /// Only what founding, joining and finding out need.
    Birth,
}

/// What came of asking others about a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    /// A node with a newer membership confirms it.
    Member,
    /// A node with a membership as new as the own, or a newer one, does not know it.
    Stranger { as_of: u64 },
    /// Nobody could say.
    Unknown,
}

/// Senders that this node did not know, and what came of asking about them.
#[derive(Debug)]
pub struct Admissions {
    checked: Mutex<BTreeMap<(u64, u64), (Checked, Instant)>>,
    checks: Semaphore,
}

impl Default for Admissions {
    fn default() -> Self {
        Self { checked: Mutex::default(), checks: Semaphore::new(CHECKS_MAX) }
    }
}

impl Admissions {
    fn recall(&self, side: Side) -> Option<Checked> {
        let checked = self.checked.lock();
        let (outcome, at) = checked.get(&(side.node, side.store))?;
        (at.elapsed() < CHECKED_FOR).then_some(*outcome)
    }

    fn remember(&self, side: Side, outcome: Checked) {
        let mut checked = self.checked.lock();
        if checked.len() >= CHECKED_MAX {
            checked.retain(|_, (_, at)| at.elapsed() < CHECKED_FOR);
        }
        if checked.len() < CHECKED_MAX {
            checked.insert((side.node, side.store), (outcome, Instant::now()));
        }
    }
}

/// A mismatch is refused in both directions: here, and by the dialling side when it reads the refusal (C1).
pub(super) async fn admit(node: &Node, hello: &Hello) -> Result<PeerRequests, Welcome> {
    let refused = |reason: String| Err(Welcome::Refused(reason));
    let (Hello::Member { protocol, .. } | Hello::Birth { protocol }) = hello;
    if *protocol != PROTOCOL_VERSION {
        return refused(format!("this node speaks protocol version {PROTOCOL_VERSION}, not {protocol}"));
    }
    let Hello::Member { cluster, from, start, to, at, .. } = hello else { return Ok(PeerRequests::Birth) };
    let own = node.identities.side();
    if node.identities.cluster() != Some(*cluster) {
        return refused(match node.identities.cluster() {
            Some(mine) => format!("this node belongs to cluster {mine:016x}, not {cluster:016x}"),
            None => "this node belongs to no cluster yet".to_owned(),
        });
    }
    if to.node != own.node {
        return refused(format!("this is node {}, not node {}", own.node, to.node));
    }
    if to.store != own.store {
        return refused(format!("node {} has another data directory than its membership records", own.node));
    }
    if from.store == own.store {
        return refused(format!("the connection comes from the data directory of node {} itself, or a copy", own.node));
    }
    if let Some(reason) = node.identities.starts.read(|known| starts::is_superseded(known.store(from.store), *start)) {
        return Err(Welcome::OlderCopy(reason));
    }
    let (as_of, known) = known_here(node, *from);
    match known {
        // An empty directory belongs to the cluster that took it in, and hears of its members
        // from the first that calls.
        None => {
            node.identities.note_caller(at);
            Ok(PeerRequests::Member(*from))
        }
        Some(true) => Ok(PeerRequests::Member(*from)),
        Some(false) => match check(node, *from, as_of).await {
            Checked::Member => Ok(PeerRequests::Member(*from)),
            Checked::Stranger { as_of } => Err(Welcome::NotMember { as_of }),
            Checked::Unknown => refused(format!(
                "node {} with data directory {:016x} is not known here as a member, and no member could be asked",
                from.node, from.store
            )),
        },
    }
}

/// The entry of the own membership, and whether it has the sender; `None` while there is no membership.
fn known_here(node: &Node, from: Side) -> (Option<LogId>, Option<bool>) {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    let is = |member: &Member| member.store_id == from.store;
    let is_empty = membership.nodes().next().is_none();
    let known = (!is_empty).then(|| membership.membership().get_node(&from.node).is_some_and(is));
    (*membership.log_id(), known)
}

/// Asks others about a sender that this node does not know: its own membership may be old (N1).
async fn check(node: &Node, from: Side, own: Option<LogId>) -> Checked {
    if let Some(outcome) = node.admissions.recall(from) {
        return outcome;
    }
    let Ok(_one_of_few) = node.admissions.checks.try_acquire() else { return Checked::Unknown };
    // One that knows no more than this node proves nothing, unless a majority has just confirmed that nothing newer is
    // known: another one that lags must not be believed before the one who knows was heard.
    let decides = |standing: &standing::Standing| {
        standing.confirmed && standing.as_of >= own || standing.member && standing.as_of > own
    };
    let here = standing::of(node, from).await;
    let decided = if here.confirmed { Some(here) } else { standing::ask_around(node, from, decides).await };
    let outcome = match decided {
        Some(standing) if standing.member => Checked::Member,
        Some(standing) => Checked::Stranger { as_of: standing.as_of.map_or(0, |log_id| log_id.index) },
        None => Checked::Unknown,
    };
    node.admissions.remember(from, outcome);
    outcome
}

/// Resolves once a connection that was admitted with this hello may not go on.
pub(super) async fn revoked(node: &Node, hello: &Hello) {
    let Hello::Member { from, start, .. } = hello else { return std::future::pending().await };
    // A sender that others vouched for is not in the membership from the beginning.
    let mut was_known = false;
    let begun = Instant::now();
    loop {
        let superseded = node.identities.starts.read(|known| starts::is_superseded(known.store(from.store), *start));
        let known = known_here(node, *from).1;
        // Whoever talks to an older copy is to look again for the original.
        let older_copy = matches!(node.condition.get(), Condition::OlderCopy { .. });
        if older_copy && begun.elapsed() > OLDER_COPY_TALKS_FOR {
            return;
        }
        if superseded.is_some() || (was_known && known == Some(false)) {
            return;
        }
        was_known |= known == Some(true);
        sleep(LOOK_PAUSE).await;
    }
}
