//! The tasks in progress: their ids, deadlines, and what peers say about them (M2, M3).
//!
//! A task's id names its leader's term, a counter, and a fingerprint of what it is about. The
//! fingerprint is how a new leader, which has never seen the task, recognises it in the `working` list
//! of a heartbeat and counts it as under way (M1).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use client::contract::TaskKind;
use raft_store::types::{FileName, PeerId, Version};

/// Time every task has, in milliseconds.
pub const TASK_TIMEOUT_MS: u64 = 300_000;
/// A task gets another millisecond for this many bytes: the planner waits for transfers of 1 MiB/s and more.
pub const TASK_BYTES_PER_MS: u64 = 1_048;

/// Names a task inside the planner; grows with every task.
pub(super) type TaskNo = u64;

/// A task that was given out.
#[derive(Debug, Clone)]
pub(super) struct TaskState {
    pub(super) id: String,
    pub(super) peer: PeerId,
    pub(super) file: FileName,
    pub(super) kind: TaskKind,
    pub(super) version: Version,
    /// Bytes reserved on the peer.
    pub(super) bytes: u64,
    /// When it is overdue.
    deadline_ms: u64,
    /// Whether the peer's newest heartbeat named it: then it is not repeated (M3).
    pub(super) working: bool,
}

/// What an id says about its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fingerprint {
    kind: char,
    version: Version,
    name: u64,
}

impl Fingerprint {
    pub(super) fn of(kind: TaskKind, version: Version, file: &FileName) -> Self {
        let kind = match kind {
            TaskKind::Replicate => 'c',
            TaskKind::Update => 'u',
            TaskKind::Remove => 'r',
        };
        // FNV-1a: the same in every build; a collision costs one needless wait.
        let name = file
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self { kind, version, name }
    }

    /// Reads an id that some leader made; `None` for anything else.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let mut parts = id.split('-');
        let (_term, _counter) = (parts.next()?.strip_prefix('t')?, parts.next()?);
        let (what, name) = (parts.next()?, parts.next()?);
        let kind = what.chars().next().filter(|kind| matches!(kind, 'c' | 'u' | 'r'))?;
        let version = what[1..].parse().ok()?;
        Some(Self { kind, version, name: u64::from_str_radix(name, 16).ok()? })
    }

    fn id(&self, term: u64, no: TaskNo) -> String {
        format!("t{term}-{no}-{}{}-{:016x}", self.kind, self.version, self.name)
    }
}

/// All tasks under way.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    term: u64,
    next: TaskNo,
    states: BTreeMap<TaskNo, TaskState>,
    by_id: HashMap<String, TaskNo>,
    deadlines: BTreeSet<(u64, TaskNo)>,
}

/// What a new task is about.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) peer: &'a PeerId,
    pub(super) file: &'a FileName,
    pub(super) kind: TaskKind,
    pub(super) version: Version,
    pub(super) size: Option<u64>,
}

impl Tasks {
    pub(super) fn new(term: u64) -> Self {
        Self { term, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn get(&self, no: TaskNo) -> Option<&TaskState> {
        self.states.get(&no)
    }

    pub(super) fn by_id(&self, id: &str) -> Option<TaskNo> {
        self.by_id.get(id).copied()
    }

    /// Adds a task, or adopts the one with this id, on which the peer works already.
    pub(super) fn add(&mut self, order: &Order<'_>, adopted: Option<String>, now_ms: u64) -> TaskNo {
        self.next += 1;
        let (no, size) = (self.next, order.size.unwrap_or(0));
        let working = adopted.is_some();
        let fingerprint = Fingerprint::of(order.kind, order.version, order.file);
        let id = adopted.unwrap_or_else(|| fingerprint.id(self.term, no));
        let deadline_ms = now_ms.saturating_add(TASK_TIMEOUT_MS).saturating_add(size / TASK_BYTES_PER_MS);
        let bytes = if order.kind == TaskKind::Replicate { size } else { 0 };
        self.by_id.insert(id.clone(), no);
        self.deadlines.insert((deadline_ms, no));
        let (peer, file) = (order.peer.clone(), order.file.clone());
        let state = TaskState { id, peer, file, kind: order.kind, version: order.version, bytes, deadline_ms, working };
        self.states.insert(no, state);
        no
    }

    pub(super) fn remove(&mut self, no: TaskNo) -> Option<TaskState> {
        let state = self.states.remove(&no)?;
        if self.by_id.get(&state.id) == Some(&no) {
            self.by_id.remove(&state.id);
        }
        self.deadlines.remove(&(state.deadline_ms, no));
        Some(state)
    }

    pub(super) fn set_working(&mut self, no: TaskNo, working: bool) {
        if let Some(state) = self.states.get_mut(&no) {
            state.working = working;
        }
    }

    /// The peer works on this task under an id that an earlier leader gave it.
    pub(super) fn rename(&mut self, no: TaskNo, id: &str) {
        if let Some(state) = self.states.get_mut(&no) {
            self.by_id.remove(&state.id);
            state.id = id.to_owned();
            state.working = true;
            self.by_id.insert(state.id.clone(), no);
        }
    }

    /// The task that has been overdue longest.
    pub(super) fn first_overdue(&self, now_ms: u64) -> Option<TaskNo> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now_ms).map(|(_, no)| *no)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_another_leader_what_they_are_about() {
        let name = |text: &str| FileName::parse(text).expect("valid");
        let peer = PeerId::parse("a").expect("valid");
        let mut tasks = Tasks::new(7);
        let (file, other) = (name("some/file"), name("other"));
        let order = Order { peer: &peer, file: &file, kind: TaskKind::Update, version: 12, size: None };
        let no = tasks.add(&order, None, 0);
        let id = tasks.get(no).expect("just added").id.clone();
        assert!(id.starts_with("t7-1-u12-"), "{id}");
        assert_eq!(Fingerprint::parse(&id), Some(Fingerprint::of(TaskKind::Update, 12, &file)));
        assert_ne!(Fingerprint::parse(&id), Some(Fingerprint::of(TaskKind::Update, 12, &other)));
        for foreign in ["", "x", "t1-2", "t1-2-é5-0", "t1-2-u-0", "t1-2-uX-0", "t1-2-u1-zz"] {
            assert_eq!(Fingerprint::parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn large_files_have_more_time() {
        let file = FileName::parse("f").expect("valid");
        let peer = PeerId::parse("a").expect("valid");
        let mut tasks = Tasks::new(1);
        let size = Some(TASK_BYTES_PER_MS * 1_000);
        let no = tasks.add(&Order { peer: &peer, file: &file, kind: TaskKind::Replicate, version: 1, size }, None, 0);
        assert_eq!(tasks.first_overdue(TASK_TIMEOUT_MS + 999), None);
        assert_eq!(tasks.first_overdue(TASK_TIMEOUT_MS + 1_000), Some(no));
    }
}
