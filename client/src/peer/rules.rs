//! Decides what a task may do to a file on this peer (F8, L8), as a pure function.
//!
//! Invariants: a late, repeated or fenced task never replaces or removes newer bytes. No verdict loses the user's own
//! bytes: they are moved to a conflict copy first.

use raft_store::types::{ContentHash, FencingToken, Version};

use super::folder::Disk;
use super::table::Record;
use crate::contract::{Task, TaskKind};

/// The part of a task that the rules need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The kind of task.
    pub kind: TaskKind,
    /// The version to install, or that of the tombstone.
    pub version: Version,
    /// Its hash; `None` for a removal.
    pub hash: Option<ContentHash>,
    /// The fencing token that the version was published under.
    pub fence: FencingToken,
}

impl From<&Task> for Order {
    fn from(task: &Task) -> Self {
        Self { kind: task.kind, version: task.version, hash: task.hash, fence: task.fencing_token }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Fetch the version and put it in place.
    Fetch,
    /// The bytes are already here: announce them.
    Adopt,
    /// Move the announced bytes to the trash.
    Trash,
    /// The user's own bytes are in the way of a removal: move them to a conflict copy.
    SetAside,
    /// There is nothing to remove.
    NothingThere,
    /// Change nothing.
    Refuse(Refusal),
}

/// Why a task is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The task has a lower fencing token than this peer has seen (L8).
    #[error("the task has fencing token {has}, but this peer has seen token {seen} for the file")]
    Fenced {
        /// The task's token.
        has: FencingToken,
        /// The highest token seen.
        seen: FencingToken,
    },
    /// This peer already has that version, or a newer one.
    #[error("version {have} is already here")]
    NotNewer {
        /// The highest version that this peer has had.
        have: Version,
    },
    /// The user has deleted the copy; the index will be told.
    #[error("the copy was deleted here")]
    DeletedHere,
    /// The user's bytes are being published, under a fencing token at least as high.
    #[error("another version is being published here")]
    Publishing,
    /// Without a hash, the bytes cannot be verified.
    #[error("the task has no hash to verify the bytes with")]
    NoHash,
}

impl Refusal {
    /// The code in a heartbeat's `failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Fenced { .. } => "fenced",
            Refusal::NotNewer { .. } => "not_newer",
            Refusal::DeletedHere => "deleted_here",
            Refusal::Publishing => "publishing",
            Refusal::NoHash => "bad_task",
        }
    }
}

/// Decides what to do about a task, given the record and what is on disk.
pub fn decide(record: &Record, disk: &Disk, order: Order) -> Verdict {
    if order.fence < record.fence {
        return Verdict::Refuse(Refusal::Fenced { has: order.fence, seen: record.fence });
    }
    // Moving those bytes away would leave their publication without a holder. A newer fencing token proves that the
    // publication came too late.
    if let Disk::Pending(copy) = disk
        && record.pending_own
        && order.fence <= copy.fence
        && order.hash != Some(copy.hash)
    {
        return Verdict::Refuse(Refusal::Publishing);
    }
    match order.kind {
        TaskKind::Remove => decide_removal(record, disk, order),
        TaskKind::Update | TaskKind::Replicate => decide_fetch(record, disk, order),
    }
}

fn decide_removal(record: &Record, disk: &Disk, order: Order) -> Verdict {
    if *disk == Disk::Absent {
        return Verdict::NothingThere;
    }
    if record.version >= order.version {
        return Verdict::Refuse(Refusal::NotNewer { have: record.version });
    }
    match disk {
        Disk::Announced(_) => Verdict::Trash,
        Disk::Pending(_) if !record.pending_own => Verdict::Trash,
        Disk::Pending(_) | Disk::Other { .. } | Disk::Absent => Verdict::SetAside,
    }
}

fn decide_fetch(record: &Record, disk: &Disk, order: Order) -> Verdict {
    let Some(hash) = order.hash else { return Verdict::Refuse(Refusal::NoHash) };
    let not_newer = Verdict::Refuse(Refusal::NotNewer { have: record.version });
    if order.version < record.version {
        return not_newer;
    }
    if disk.hash() == Some(hash) {
        return Verdict::Adopt;
    }
    // A version has one hash (F2). Different bytes with the same version are the user's own, and an update leaves them
    // alone.
    match (order.kind, disk) {
        (TaskKind::Update, Disk::Absent) if record.held.is_some() => Verdict::Refuse(Refusal::DeletedHere),
        (TaskKind::Update, _) if order.version == record.version => not_newer,
        _ => Verdict::Fetch,
    }
}

#[cfg(test)]
mod tests {
    use raft_store::types::FileName;

    use super::*;
    use crate::files::Stamp;
    use crate::peer::table::Copy;

    fn copy(version: Version) -> Copy {
        let stamp = Stamp { size: 1, mtime_ns: version as i64, inode: 1 };
        Copy { version, hash: ContentHash([version as u8; 32]), stamp, fence: version * 10 }
    }

    fn holding(version: Version) -> Record {
        let mut record = Record::new(FileName::parse("f").expect("valid name"));
        record.hold(copy(version));
        record
    }

    fn order(kind: TaskKind, version: Version) -> Order {
        let hash = (kind != TaskKind::Remove).then_some(ContentHash([version as u8; 32]));
        Order { kind, version, hash, fence: version * 10 }
    }

    const MINE: Disk = Disk::Other { hash: ContentHash([99; 32]), stamp: Stamp { size: 2, mtime_ns: 9, inode: 2 } };

    /// One row per combination of what the peer has, what is on disk, and what the task wants.
    #[test]
    fn the_table_of_f8_and_l8() {
        use TaskKind::{Remove, Replicate, Update};
        let nothing = Record::new(FileName::parse("f").expect("valid name"));
        let v3 = holding(3);
        let has3 = Disk::Announced(copy(3));
        let not_newer = Verdict::Refuse(Refusal::NotNewer { have: 3 });
        for (record, disk, kind, version, expected) in [
            (&nothing, Disk::Absent, Replicate, 1, Verdict::Fetch),
            (&nothing, Disk::Absent, Update, 2, Verdict::Fetch),
            (&nothing, MINE, Replicate, 1, Verdict::Fetch),
            (&v3, has3, Update, 4, Verdict::Fetch),
            (&v3, MINE, Update, 4, Verdict::Fetch),
            (&v3, MINE, Replicate, 3, Verdict::Fetch),
            (&v3, Disk::Absent, Replicate, 3, Verdict::Fetch),
            (&v3, has3, Update, 3, Verdict::Adopt),
            (&v3, has3, Replicate, 3, Verdict::Adopt),
            (&v3, MINE, Update, 3, not_newer),
            (&v3, Disk::Absent, Update, 4, Verdict::Refuse(Refusal::DeletedHere)),
            (&v3, has3, Remove, 4, Verdict::Trash),
            (&v3, MINE, Remove, 4, Verdict::SetAside),
            (&v3, has3, Remove, 3, not_newer),
            (&v3, MINE, Remove, 3, not_newer),
            (&v3, Disk::Absent, Remove, 4, Verdict::NothingThere),
            (&nothing, MINE, Remove, 4, Verdict::SetAside),
        ] {
            let verdict = decide(record, &disk, order(kind, version));
            assert_eq!(verdict, expected, "{kind:?} to v{version} on {disk:?} having v{}", record.version);
        }
    }

    #[test]
    fn late_tasks_are_refused_whatever_is_on_disk() {
        let record = holding(3);
        for kind in [TaskKind::Replicate, TaskKind::Update, TaskKind::Remove] {
            for disk in [Disk::Absent, Disk::Announced(copy(3)), MINE] {
                let fenced = decide(&record, &disk, order(kind, 2));
                assert_eq!(fenced, Verdict::Refuse(Refusal::Fenced { has: 20, seen: 30 }));
                let unfenced = decide(&record, &disk, Order { fence: 30, ..order(kind, 2) });
                let harmless = matches!(unfenced, Verdict::Refuse(_) | Verdict::NothingThere);
                assert!(harmless, "{kind:?} to v2 on {disk:?}: {unfenced:?}");
            }
        }
    }

    #[test]
    fn the_fence_is_remembered_after_the_bytes_are_gone() {
        let mut record = holding(3);
        record.held = None;
        let verdict = decide(&record, &Disk::Absent, order(TaskKind::Replicate, 2));
        assert_eq!(verdict, Verdict::Refuse(Refusal::Fenced { has: 20, seen: 30 }));
    }

    #[test]
    fn bytes_that_only_wait_to_be_announced_may_be_replaced_but_the_users_are_set_aside() {
        let mut record = holding(3);
        record.pending = Some(copy(4));
        let disk = Disk::Pending(copy(4));
        assert_eq!(decide(&record, &disk, order(TaskKind::Remove, 5)), Verdict::Trash);
        record.pending_own = true;
        assert_eq!(decide(&record, &disk, order(TaskKind::Remove, 5)), Verdict::SetAside);
    }

    #[test]
    fn a_publication_under_way_gives_way_only_to_a_newer_grant() {
        let mut record = holding(3);
        (record.pending, record.pending_own) = (Some(copy(5)), true);
        let disk = Disk::Pending(copy(5));
        let refused = Verdict::Refuse(Refusal::Publishing);
        assert_eq!(decide(&record, &disk, order(TaskKind::Update, 4)), refused);
        assert_eq!(decide(&record, &disk, order(TaskKind::Remove, 4)), refused);
        assert_eq!(decide(&record, &disk, order(TaskKind::Update, 5)), Verdict::Adopt);
        assert_eq!(decide(&record, &disk, order(TaskKind::Update, 6)), Verdict::Fetch);
    }
}
