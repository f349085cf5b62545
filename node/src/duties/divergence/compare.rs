//! The leader's part of a comparison, and what makes it compare.
//!
//! Invariant: an idle cluster writes nothing (T3). A checkpoint is proposed only if something was written since the
//! last one, when a leader's term begins, when a member asks, or if the last comparison found a difference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use raft_store::raft::Member;
use raft_store::types::NodeId;
use tokio::time::{Instant, sleep};

use super::{digest_at, judged, own_digest};
use crate::comparison::Checkpoint;
use crate::comparison::judge::{Verdict, judge};
use crate::duties::membership;
use crate::node::Node;
use crate::propose;
use crate::sys::clock;
use crate::transport::{Announcement, DigestAnswer, MemberDigest, Request, Response};

/// How often members compare while something changes.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(60);
/// Least time between two comparisons, whoever asks.
const COMPARISON_PAUSE: Duration = Duration::from_secs(5);
/// How often a node checks whether a comparison is due.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// How long members may take to reach the checkpoint and digest their state.
const COLLECT_DEADLINE: Duration = Duration::from_secs(20);
/// How long a member may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// Pause before a member is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// Unanswered questions before a member is left out.
const ASKS_WITHOUT_ANSWER: u32 = 3;
/// A member whose state is younger than this has caught up, and will reach a checkpoint soon.
const CAUGHT_UP_MS: u64 = 1_000;
/// The digest is brought up to date again after this many entries.
const REFRESH_ENTRIES: u64 = 64;
/// Bringing the digest up to date takes at most one part in this many of a processor's time.
const REFRESH_SHARE: u32 = 100;

/// Takes digests at checkpoints, and compares when it is time and this node leads; until the process ends.
pub async fn run(node: Arc<Node>) {
    tokio::join!(follow_checkpoints(&node), schedule(&node), keep_up_to_date(&node));
}

async fn follow_checkpoints(node: &Node) {
    loop {
        let image = node.state.checkpoint().await;
        let Some(last) = image.last_applied() else { continue };
        match node.repair.digest(image).await {
            Ok(digest) => node.divergence.keep(Checkpoint { index: last.index, digest }),
            Err(error) => tracing::warn!(%error, "no digest of the state at log index {}", last.index),
        }
    }
}

/// Hashes what was written from time to time, so that the digest costs little when it is needed.
async fn keep_up_to_date(node: &Node) {
    let mut digested = 0;
    let mut pause = SCAN_INTERVAL;
    loop {
        sleep(pause.max(SCAN_INTERVAL)).await;
        pause = Duration::ZERO;
        let applied = node.applied();
        if applied < digested || applied - digested >= REFRESH_ENTRIES {
            let begun = clock::now();
            let image = node.state.read().digest_image();
            drop(node.repair.digest(image).await);
            digested = applied;
            pause = begun.elapsed() * REFRESH_SHARE;
        }
    }
}

/// What was compared last.
struct Last {
    term: u64,
    index: u64,
    at: Option<Instant>,
    differed: bool,
}

async fn schedule(node: &Arc<Node>) {
    let mut last = Last { term: 0, index: 0, at: None, differed: false };
    // A start counts as a replacement: the state was loaded from the disk.
    let mut asked_for = None;
    loop {
        sleep(SCAN_INTERVAL).await;
        node.divergence.outbox.expire();
        let replaced = node.state.replacements();
        if asked_for != Some(replaced) && !node.state.is_distrusted() && ask(node).await {
            asked_for = Some(replaced);
        }
        if node.leads() && node.members().len() > 1 && is_due(node, &last) {
            node.divergence.wanted.store(false, Ordering::Relaxed);
            compare(node, &mut last).await;
        }
    }
}

fn is_due(node: &Node, last: &Last) -> bool {
    let since = last.at.map_or(Duration::MAX, |at| at.elapsed());
    let wanted = node.term() != last.term || node.divergence.wanted.load(Ordering::Relaxed);
    let changed = node.applied() > last.index || last.differed;
    since >= COMPARISON_PAUSE && (wanted || since >= COMPARISON_INTERVAL && changed)
}

/// Asks the leader to compare, once this node has caught up. False if it could not be asked.
async fn ask(node: &Node) -> bool {
    let Some(leader) = node.leader() else { return false };
    if leader.id == node.config.id {
        node.divergence.want();
        return true;
    }
    node.staleness_ms() < CAUGHT_UP_MS
        && matches!(node.ask(&leader, &Request::Compare, ASK_DEADLINE).await, Ok(Response::Noted))
}

async fn compare(node: &Arc<Node>, last: &mut Last) {
    last.at = Some(clock::now());
    last.term = node.term();
    let index = match propose::checkpoint(&node.raft).await {
        Ok(index) => index,
        Err(error) => return tracing::debug!(%error, "no checkpoint"),
    };
    last.index = index;
    let until = clock::now() + COLLECT_DEADLINE;
    let members = node.members();
    if own_digest(node, index, until).await.is_none() {
        return tracing::warn!(
            index,
            "the digest of this node's state was not ready in time; members are not compared"
        );
    }
    let asked = members.iter().map(|(id, member)| digest_of(node, *id, member, index, until));
    let told = join_all(asked).await;
    let digests: BTreeMap<_, _> = members.keys().zip(told).filter_map(|(id, told)| Some((*id, told?))).collect();
    let voters = membership::voters(node);
    let mut formats: Vec<_> = digests.values().map(|told| told.format).collect();
    formats.sort_unstable();
    formats.dedup();
    last.differed = false;
    for format in formats {
        let verdict = judge(&voters, format, &digests);
        let announcement = |agreed, with, odd| Announcement { term: last.term, index, format, agreed, with, odd };
        let announcement = match verdict {
            Verdict::TooFew => continue,
            Verdict::Agreed { digest, with, odd } => announcement(Some(digest), with, odd),
            Verdict::Disagreement => announcement(None, Vec::new(), Vec::new()),
        };
        last.differed |= announcement.agreed.is_none() || !announcement.odd.is_empty();
        report(&announcement, &digests);
        announce(node, &members, announcement).await;
    }
}

fn report(verdict: &Announcement, digests: &BTreeMap<NodeId, MemberDigest>) {
    let index = verdict.index;
    let listed = || digests.iter().map(|(id, told)| format!("{id}={}", told.digest)).collect::<Vec<_>>().join(" ");
    if verdict.agreed.is_none() {
        tracing::error!(index, digests = listed(), "the members' states differ, and no majority agrees");
    } else if verdict.odd.is_empty() {
        tracing::debug!(index, members = verdict.with.len(), "the members' states are equal");
    } else {
        tracing::error!(index, odd = ?verdict.odd, digests = listed(), "the states of these members differ from the majority's");
    }
}

/// Tells everybody at once. A member that misses the verdict hears the next one.
async fn announce(node: &Arc<Node>, members: &BTreeMap<NodeId, Member>, verdict: Announcement) {
    let request = Request::Verdict(verdict.clone());
    let told = members.iter().filter(|(id, _)| **id != node.config.id).map(async |(id, member)| {
        if let Err(error) = node.pool.call(*id, member, &request, ASK_DEADLINE).await {
            tracing::debug!(%error, "a member was not told how its state compares");
        }
    });
    join_all(told).await;
    // Itself last: a leader whose own state is wrong hands over.
    judged(node, verdict);
}

/// A member's digest at the checkpoint; `None` if it does not answer, or passed the checkpoint without one.
async fn digest_of(node: &Node, id: NodeId, member: &Member, index: u64, until: Instant) -> Option<MemberDigest> {
    let mut silent = 0;
    while clock::now() < until && silent < ASKS_WITHOUT_ANSWER {
        let answer = if id == node.config.id {
            Some(digest_at(node, index))
        } else {
            match node.pool.call(id, member, &Request::Digest { index }, ASK_DEADLINE).await {
                Ok(Response::Digest(answer)) => Some(answer),
                _ => None,
            }
        };
        match answer {
            Some(DigestAnswer::Known(digest)) => return Some(digest),
            Some(DigestAnswer::Never) => return None,
            Some(DigestAnswer::Later) => silent = 0,
            None => silent += 1,
        }
        sleep(ASK_PAUSE).await;
    }
    None
}

/// Asks for a comparison on behalf of the repair.
pub(super) async fn ask_again(node: &Node) {
    ask(node).await;
}
