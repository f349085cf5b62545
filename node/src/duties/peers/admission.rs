//! Who may say what on a connection that came in: the check of its hello, and whether it still holds later (C1, N1).
//!
//! Invariants
//! * A connection speaks for a member only if its hello names this node, this directory and this cluster, and the
//!   sender is a member. It is one by this node's own membership, or because a node with a newer membership says so. A
//!   node that knows no member yet accepts any sender of its cluster.
//! * The connection ends when the membership, or a later start of the sender's directory, says otherwise.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use raft_store::raft::{LogId, Member};
use tokio::time::sleep;

use crate::condition::Condition;
use crate::duties::standing;
use crate::identities::{Side, is_superseded};
use crate::node::Node;
use crate::sys::clock;
use crate::transport::{Hello, PROTOCOL_VERSION, PeerRequests, Standing, Vouched, Welcome};

/// How often this node checks whether a connection may go on.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection to an older copy may last.
const OLDER_COPY_TALKS_FOR: Duration = Duration::from_secs(1);

/// Decides about a hello. A mismatch ends the connection on both sides: here, and where the refusal is read (C1).
pub(super) async fn admit(node: &Node, hello: &Hello) -> Result<PeerRequests, Welcome> {
    let refused = |reason: String| Err(Welcome::Refused(reason));
    let (Hello::Member { protocol, .. } | Hello::Outsider { protocol }) = hello;
    if *protocol != PROTOCOL_VERSION {
        return refused(format!("this node speaks protocol version {PROTOCOL_VERSION}, not {protocol}"));
    }
    let Hello::Member { cluster, from, start, to, at, .. } = hello else { return Ok(PeerRequests::Outsider) };
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
    if let Some(reason) = node.identities.starts.read(|known| is_superseded(known.store(from.store), *start)) {
        return Err(Welcome::OlderCopy(reason));
    }
    let (as_of, known) = known_here(node, *from);
    match known {
        // A node with an empty directory has adopted its cluster, and learns the members from the first that calls.
        None => {
            node.identities.note_caller(at);
            Ok(PeerRequests::Member(*from))
        }
        Some(true) => Ok(PeerRequests::Member(*from)),
        Some(false) => match check(node, *from, as_of).await {
            Vouched::Member => Ok(PeerRequests::Member(*from)),
            Vouched::Stranger { as_of } => Err(Welcome::NotMember { as_of }),
            Vouched::Unknown => refused(format!(
                "node {} with data directory {:016x} is not known here as a member, and no member could be asked",
                from.node, from.store
            )),
        },
    }
}

/// The log entry of this node's membership, and whether the sender is in it; `None` while there is no membership.
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
async fn check(node: &Node, from: Side, own: Option<LogId>) -> Vouched {
    if let Some(outcome) = node.admissions.recall(from) {
        return outcome;
    }
    let Some(_one_of_few) = node.admissions.begin() else { return Vouched::Unknown };
    // A node that knows no more than this one proves nothing, unless a majority has just confirmed that there is
    // nothing newer. Otherwise a node that lags could be believed before the one that knows was heard.
    let decides =
        |standing: &Standing| standing.confirmed && standing.as_of >= own || standing.member && standing.as_of > own;
    let here = standing::of(node, from).await;
    let decided = if here.confirmed { Some(here) } else { standing::ask_around(node, from, decides).await };
    let outcome = match decided {
        Some(standing) if standing.member => Vouched::Member,
        Some(standing) => Vouched::Stranger { as_of: standing.as_of.map_or(0, |log_id| log_id.index) },
        None => Vouched::Unknown,
    };
    node.admissions.remember(from, outcome);
    outcome
}

/// Resolves once a connection that was admitted with this hello may not go on.
pub(super) async fn revoked(node: &Node, hello: &Hello) {
    let Hello::Member { from, start, .. } = hello else { return std::future::pending().await };
    // A sender that others vouched for is not in the membership at first.
    let mut was_known = false;
    let begun = clock::now();
    loop {
        let superseded = node.identities.starts.read(|known| is_superseded(known.store(from.store), *start));
        let known = known_here(node, *from).1;
        // Whoever talks to an older copy should look for the original again.
        let older_copy = matches!(node.condition.get(), Condition::OlderCopy { .. });
        if older_copy && begun.elapsed() > OLDER_COPY_TALKS_FOR {
            return;
        }
        if superseded.is_some() || (was_known && known == Some(false)) {
            return;
        }
        was_known |= known == Some(true);
        sleep(POLL_PAUSE).await;
    }
}
