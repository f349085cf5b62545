//! Tests of a folder on a real disk: identity, locks, names and links, scanning, putting bytes in place.

use std::os::unix::fs::symlink;

use raft_store::types::Version;

use super::*;
use crate::contract::TaskKind;
use crate::peer::install::{Placed, Removed};
use crate::peer::rules::{Order, Refusal};
use crate::peer::scan;

struct Fixture {
    folder: Folder,
    dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("temp dir");
    let folder = Folder::open(dir.path(), Some(PeerId::parse("peer-a").expect("valid id"))).expect("opens");
    Fixture { folder, dir }
}

fn name(text: &str) -> FileName {
    FileName::parse(text).expect("valid name")
}

impl Fixture {
    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("folders");
        fs::write(path, text).expect("write");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).expect("readable")
    }

    fn order(&self, kind: TaskKind, version: Version, text: &str) -> Order {
        let hash = (kind != TaskKind::Remove).then(|| files::hash_bytes(text.as_bytes()));
        Order { kind, version, hash, fence: version * 10 }
    }

    fn install(&self, file: &str, version: Version, text: &str) -> Placed {
        let staged = self.folder.stage_bytes(text.as_bytes()).expect("stage");
        self.folder.install(staged, &name(file), self.order(TaskKind::Update, version, text)).expect("install")
    }

    /// Installs and lets the index accept it.
    fn hold(&self, file: &str, version: Version, text: &str) {
        match self.install(file, version, text) {
            Placed::Ready { copy, .. } => self.folder.accept(&name(file), copy).expect("accept"),
            Placed::Refused(refusal) => panic!("{refusal}"),
        }
    }

    fn conflict_copies(&self) -> Vec<String> {
        let scan = scan::scan(&self.folder);
        scan.conflict_copies.iter().map(|name| self.read(name.as_str())).collect()
    }
}

#[test]
fn the_identity_stays_and_another_one_is_refused() {
    let Fixture { folder, dir } = fixture();
    folder.update_identity(|identity| identity.incarnation = Some(7)).expect("store");
    let again = Folder::open(dir.path(), None).expect("opens");
    assert_eq!((again.peer_id().as_str(), again.identity().incarnation), ("peer-a", Some(7)));
    let other = Folder::open(dir.path(), Some(PeerId::parse("peer-b").expect("valid id")));
    assert!(matches!(other, Err(FolderError::WrongPeer { .. })));
    assert!(Folder::open_existing(&dir.path().join("sub")).expect("looks").is_none());
}

#[test]
fn only_one_serve_at_a_time_and_others_can_tell() {
    let Fixture { folder, dir } = fixture();
    let other = Folder::open(dir.path(), None).expect("opens");
    assert!(!other.is_served());
    let lock = folder.lock_for_serving("process 1").expect("free");
    assert!(other.is_served());
    let error = other.lock_for_serving("process 2").expect_err("taken").to_string();
    assert!(error.contains("process 1") && error.contains("stop it first"), "{error}");
    drop(lock);
    assert!(!other.is_served());
}

#[test]
fn a_scan_names_what_it_skips_and_follows_no_link_out() {
    let fixture = fixture();
    let outside = tempfile::tempdir().expect("temp dir");
    fs::write(outside.path().join("secret"), "s").expect("write");
    fixture.write("a.txt", "a");
    fixture.write("sub/ü.txt", "u");
    fixture.write("back\\slash", "x");
    fixture.write("e\u{301}", "not NFC");
    fixture.write("a.txt.conflict-peer-a-1700000000", "kept");
    let root = fixture.dir.path();
    symlink(outside.path().join("secret"), root.join("leak")).expect("link");
    symlink(outside.path(), root.join("leakdir")).expect("link");
    symlink(root.join(".raftshare/identity.json"), root.join("state")).expect("link");
    symlink("a.txt", root.join("alias")).expect("link");
    symlink("nowhere", root.join("dangling")).expect("link");
    let seen = scan::scan(&fixture.folder);
    let mut files: Vec<_> = seen.files.iter().map(|found| found.name.as_str()).collect();
    files.sort_unstable();
    assert_eq!(files, ["a.txt", "alias", "sub/ü.txt"]);
    assert_eq!(seen.conflict_copies.len(), 1);
    let mut skipped: Vec<_> = seen.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    skipped.sort_unstable();
    assert_eq!(skipped, ["back\\\\slash", "dangling", "e\u{301}", "leak", "leakdir", "state"]);
    for file in ["leak", "state", "leakdir/secret"] {
        assert!(matches!(fixture.folder.existing_path(&name(file)), Err(FolderError::Outside { .. })), "{file}");
    }
    let staged = fixture.folder.stage_bytes(b"x").expect("stage");
    let refused = fixture.folder.install(staged, &name("leakdir/new"), fixture.order(TaskKind::Replicate, 1, "x"));
    assert!(matches!(refused, Err(FolderError::Outside { .. })));
}

#[test]
fn changes_are_told_apart_by_bytes_and_not_by_time() {
    let fixture = fixture();
    fixture.hold("same", 1, "same");
    fixture.hold("edited", 1, "before");
    fixture.hold("gone", 1, "gone");
    fixture.write("edited", "after!");
    fixture.write("new", "new");
    fs::remove_file(fixture.dir.path().join("same")).expect("remove");
    fixture.write("same", "same");
    fs::remove_file(fixture.dir.path().join("gone")).expect("remove");
    let changes = scan::compare(&fixture.folder, &scan::scan(&fixture.folder)).expect("compare");
    let names = |list: &[scan::Found]| {
        let mut names: Vec<_> = list.iter().map(|found| found.name.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&changes.new), ["new"]);
    assert_eq!(names(&changes.touched), ["edited", "same"]);
    assert_eq!(changes.gone, [name("gone")]);
    assert!(matches!(fixture.folder.disk(&name("same")).expect("disk"), Disk::Announced(_)));
    assert!(matches!(fixture.folder.disk(&name("edited")).expect("disk"), Disk::Other { .. }));
}

#[test]
fn an_update_replaces_announced_bytes_and_keeps_the_users() {
    let fixture = fixture();
    fixture.hold("d/f", 1, "one");
    fixture.hold("d/f", 2, "two");
    assert_eq!((fixture.read("d/f").as_str(), fixture.conflict_copies().len()), ("two", 0));
    fixture.write("d/f", "mine");
    fixture.hold("d/f", 3, "three");
    assert_eq!(fixture.read("d/f"), "three");
    assert_eq!(fixture.conflict_copies(), ["mine"]);
    let late = fixture.install("d/f", 2, "two");
    assert_eq!(late, Placed::Refused(Refusal::Fenced { has: 20, seen: 30 }));
    assert_eq!(fixture.read("d/f"), "three");
    assert_eq!(fs::read_dir(fixture.folder.tmp_dir()).expect("list").count(), 0, "no leftovers");
}

#[test]
fn a_removal_goes_to_the_trash_and_the_users_bytes_stay() {
    let fixture = fixture();
    fixture.hold("d/f", 1, "one");
    let removal = fixture.order(TaskKind::Remove, 2, "");
    let Removed::Trashed(path) = fixture.folder.remove(&name("d/f"), removal).expect("remove") else {
        panic!("announced bytes go to the trash");
    };
    assert_eq!(fs::read_to_string(path).expect("in the trash"), "one");
    assert_eq!(fixture.folder.remove(&name("d/f"), removal).expect("again"), Removed::NothingThere);
    fixture.write("d/f", "mine");
    let later = fixture.order(TaskKind::Remove, 3, "");
    let Removed::SetAside(path) = fixture.folder.remove(&name("d/f"), later).expect("remove") else {
        panic!("the user's bytes are set aside");
    };
    assert_eq!(fs::read_to_string(path).expect("kept"), "mine");
}

#[test]
fn a_refused_publication_is_taken_back_without_loss() {
    let fixture = fixture();
    fixture.hold("f", 1, "one");
    let staged = fixture.folder.stage_bytes(b"my two").expect("stage");
    let publishing = fixture.folder.begin_publish(staged, &name("f"), 2, 50).expect("begin");
    assert_eq!(fixture.read("f"), "my two");
    assert!(matches!(fixture.folder.disk(&name("f")).expect("disk"), Disk::Pending(copy) if copy.version == 2));
    let kept = fixture.folder.roll_back(publishing).expect("roll back").expect("a conflict copy");
    assert_eq!((fixture.read("f").as_str(), fs::read_to_string(kept).expect("kept").as_str()), ("one", "my two"));
    assert!(matches!(fixture.folder.disk(&name("f")).expect("disk"), Disk::Announced(copy) if copy.version == 1));
}

#[test]
fn publishing_over_a_tasks_unannounced_copy_is_no_conflict() {
    let fixture = fixture();
    fixture.hold("f", 1, "one");
    let Placed::Ready { copy: second, .. } = fixture.install("f", 2, "two") else { panic!("a newer version") };
    let staged = fixture.folder.stage_bytes(b"three").expect("stage");
    let publishing = fixture.folder.begin_publish(staged, &name("f"), 3, 50).expect("begin");
    fixture.folder.accept(&name("f"), second).expect("the answer to version 2 comes late");
    assert!(matches!(fixture.folder.disk(&name("f")).expect("disk"), Disk::Pending(copy) if copy.version == 3));
    assert!(fixture.conflict_copies().is_empty());
    fixture.folder.roll_back(publishing).expect("roll back");
    assert_eq!(fixture.read("f"), "two");
    assert!(matches!(fixture.folder.disk(&name("f")).expect("disk"), Disk::Announced(copy) if copy.version == 2));
}

#[test]
fn a_publication_that_is_accepted_is_held() {
    let fixture = fixture();
    fixture.write("f", "edited in place");
    let staged = fixture.folder.stage_file(&fixture.dir.path().join("f")).expect("stage");
    let publishing = fixture.folder.begin_publish(staged, &name("f"), 4, 50).expect("begin");
    fixture.folder.complete_publish(publishing, 4, Some(51)).expect("complete");
    let record = fixture.folder.record(&name("f")).expect("record");
    assert_eq!((record.version, record.fence, record.pending), (4, 51, None));
    assert!(fixture.conflict_copies().is_empty());
    let hash = files::hash_bytes(b"edited in place");
    fixture.folder.record_published(&name("f"), 5, hash, 60).expect("same bytes");
    let other = fixture.folder.record_published(&name("f"), 6, files::hash_bytes(b"x"), 61);
    assert!(matches!(other, Err(FolderError::Changed { .. })));
}

#[test]
fn a_crash_between_install_and_announce_is_recognised() {
    let fixture = fixture();
    fixture.hold("f", 1, "one");
    let _lost = fixture.install("f", 2, "two"); // the process dies here
    let again = Folder::open(fixture.dir.path(), None).expect("opens");
    assert!(matches!(again.disk(&name("f")).expect("disk"), Disk::Pending(copy) if copy.version == 2));
    files::clean(&again.tmp_dir(), &again.trash_dir()).expect("clean");
}

#[test]
fn a_folder_in_the_way_is_an_error_and_not_a_loss() {
    let fixture = fixture();
    fixture.write("d/f", "x");
    for file in ["d", "d/f/g"] {
        let staged = fixture.folder.stage_bytes(b"y").expect("stage");
        let result = fixture.folder.install(staged, &name(file), fixture.order(TaskKind::Replicate, 1, "y"));
        assert!(matches!(result, Err(FolderError::InTheWay { .. })), "{file}: {result:?}");
    }
    assert_eq!(fixture.read("d/f"), "x");
}

#[test]
fn private_folders_are_never_part_of_the_share_at_any_depth_and_in_any_case() {
    let fixture = fixture();
    for path in ["a.txt", "sub/b.txt"] {
        fixture.write(path, "shared");
    }
    for path in ["sub/.RaftShare/identity.json", ".RAFTSHARE/identity.json", "sub/deep/.raft\u{17f}hare/leases.json"] {
        fixture.write(path, "secret");
    }
    let scan = scan::scan(&fixture.folder);
    let mut names: Vec<_> = scan.files.iter().map(|found| found.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["a.txt", "sub/b.txt"]);
}

#[test]
fn a_shared_folder_inside_is_not_shared_again() {
    let fixture = fixture();
    fixture.write("a.txt", "mine");
    fixture.hold("inner/b.txt", 1, "held before inner was shared");
    Folder::open(&fixture.dir.path().join("inner"), None).expect("shared by itself");
    let scan = scan::scan(&fixture.folder);
    let names: Vec<_> = scan.files.iter().map(|found| found.name.to_string()).collect();
    assert_eq!(names, ["a.txt"]);
    assert_eq!(scan.skipped.iter().map(|skipped| skipped.path.as_str()).collect::<Vec<_>>(), ["inner"]);
    let changes = scan::compare(&fixture.folder, &scan).expect("compare");
    assert_eq!(changes.gone, [name("inner/b.txt")], "its holdings are withdrawn (F1)");
    let nested = |result: Result<(), FolderError>| matches!(result, Err(FolderError::Nested { .. }));
    assert!(nested(fixture.folder.existing_path(&name("inner/b.txt")).map(drop)), "not served");
    let staged = fixture.folder.stage_bytes(b"x").expect("stage");
    let order = fixture.order(TaskKind::Replicate, 1, "x");
    assert!(nested(fixture.folder.install(staged, &name("inner/new.txt"), order).map(drop)), "no task writes there");
    assert!(!fixture.dir.path().join("inner/new.txt").exists());
}

#[test]
fn a_folder_inside_a_served_one_is_not_served() {
    let outer = fixture();
    let inner = Folder::open(&outer.dir.path().join("a/inner"), None).expect("opens");
    let lock = outer.folder.lock_for_serving("test").expect("served");
    let refused = inner.lock_for_serving("test").expect_err("copies would nest into each other");
    assert!(matches!(&refused, FolderError::InsideServed { .. }), "{refused}");
    drop(lock);
    inner.lock_for_serving("test").expect("nobody serves the outer one now");
    let private = outer.dir.path().join(STATE_DIR).join("trash");
    assert!(matches!(Folder::open(&private, None), Err(FolderError::InState { .. })));
}

#[test]
fn a_publication_that_a_look_took_for_an_edit_is_not_withdrawn() {
    let fixture = fixture();
    let (file, text) = (name("a.txt"), "published meanwhile");
    fixture.hold("a.txt", 1, "old");
    let held = fixture.folder.record(&file).expect("record").held;
    let staged = fixture.folder.stage_bytes(text.as_bytes()).expect("stage");
    let publishing = fixture.folder.begin_publish(staged, &file, 2, 20).expect("begin");
    let stamp = publishing.copy.stamp;
    assert!(!fixture.folder.is_still_edited(&file, stamp).expect("look"), "it is being published");
    assert!(fixture.folder.withdrawn(&file, held).expect("withdrawn"), "its outcome has to be announced again");
    fixture.folder.complete_publish(publishing, 2, Some(20)).expect("complete");
    assert!(!fixture.folder.is_still_edited(&file, stamp).expect("look"), "it is published");
    assert!(fixture.folder.withdrawn(&file, held).expect("withdrawn"), "the newer copy stays");
    assert_eq!(fixture.folder.record(&file).expect("record").held.map(|copy| copy.version), Some(2));

    fixture.write("a.txt", "an edit of the user");
    let Disk::Other { stamp, .. } = fixture.folder.disk(&file).expect("disk") else { panic!("it is an edit") };
    assert!(fixture.folder.is_still_edited(&file, stamp).expect("look"));
    let held = fixture.folder.record(&file).expect("record").held;
    assert!(!fixture.folder.withdrawn(&file, held).expect("withdrawn"));
}
