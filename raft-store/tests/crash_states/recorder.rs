//! Records every file operation that this process makes below one directory.
//!
//! It redefines the functions of the C library through which Rust's standard library, and so sled, changes files. The
//! linker prefers these definitions. Each makes the real system call and records it. Only this test executable is
//! affected.
//!
//! Invariants
//! * The recording is one sequence: an operation is made and recorded under one lock. So the sequence is a possible
//!   execution of the threads, and a sync covers exactly the writes recorded before it.
//! * Syncs are recorded but not made: [`super::states`] decides what they guarantee, not this machine's disk.
#![allow(unsafe_code, reason = "symbols for the linker, and plain system calls")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Identifies a file, whatever its current name.
pub type Inode = usize;

/// One operation. Paths are relative to the recorded directory.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    MakeDir(PathBuf),
    Create(PathBuf, Inode),
    Write {
        inode: Inode,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: Inode,
        bytes: u64,
    },
    Sync(Inode),
    SyncDir(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// What the writer reported: an attempt or an acknowledgement.
    Said(String),
}

#[derive(Debug, Clone)]
enum Open {
    File(Inode),
    Directory(PathBuf),
}

struct Recorder {
    root: PathBuf,
    files: BTreeMap<PathBuf, Inode>,
    inodes: usize,
    open: HashMap<c_int, Open>,
    ops: Vec<Op>,
}

static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
static RECORDING: AtomicBool = AtomicBool::new(false);
/// One recording at a time.
static SESSION: Mutex<()> = Mutex::new(());

/// A recording in progress.
pub struct Recording {
    _session: MutexGuard<'static, ()>,
}

impl Recording {
    /// Starts to record below `root`, an existing directory that is empty or has `files` (relative paths).
    pub fn start(root: &Path, files: &[PathBuf]) -> Self {
        let session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
        let files: BTreeMap<_, _> = files.iter().cloned().zip(0..).collect();
        let recorder =
            Recorder { root: root.to_path_buf(), inodes: files.len(), files, open: HashMap::new(), ops: Vec::new() };
        *lock() = Some(recorder);
        RECORDING.store(true, Ordering::SeqCst);
        Self { _session: session }
    }

    /// Stops recording.
    pub fn finish(self) -> Vec<Op> {
        RECORDING.store(false, Ordering::SeqCst);
        lock().take().map(|recorder| recorder.ops).unwrap_or_default()
    }
}

/// Adds a line of the writer to the sequence.
pub fn say(line: String) {
    if let Some(recorder) = lock().as_mut() {
        recorder.ops.push(Op::Said(line));
    }
}

fn lock() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a call, and records it if it succeeds and concerns the recorded directory.
fn noted(call: impl FnOnce() -> libc::c_long, note: impl FnOnce(&mut Recorder, libc::c_long)) -> libc::c_long {
    if !RECORDING.load(Ordering::SeqCst) {
        return call();
    }
    let mut recorder = lock();
    let result = call();
    if result >= 0
        && let Some(recorder) = recorder.as_mut()
    {
        note(recorder, result);
    }
    result
}

impl Recorder {
    fn relative(&self, path: *const c_char) -> Option<PathBuf> {
        // SAFETY: a path given to the C library ends in NUL.
        let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
        path.strip_prefix(&self.root).ok().map(Path::to_path_buf)
    }

    fn file(&self, descriptor: c_int) -> Option<Inode> {
        match self.open.get(&descriptor) {
            Some(Open::File(inode)) => Some(*inode),
            Some(Open::Directory(_)) | None => None,
        }
    }

    fn opened(&mut self, path: PathBuf, descriptor: c_int, flags: c_int) {
        let absolute = self.root.join(&path);
        let opened = if absolute.is_dir() {
            Open::Directory(path)
        } else if let Some(&inode) = self.files.get(&path) {
            if flags & libc::O_TRUNC != 0 {
                self.ops.push(Op::Truncate { inode, bytes: 0 });
            }
            Open::File(inode)
        } else {
            let inode = self.inodes;
            self.inodes += 1;
            self.files.insert(path.clone(), inode);
            self.ops.push(Op::Create(path, inode));
            Open::File(inode)
        };
        self.open.insert(descriptor, opened);
    }

    fn wrote(&mut self, descriptor: c_int, data: *const c_void, bytes: libc::c_long, offset: Option<libc::off64_t>) {
        let (Some(inode), Ok(bytes)) = (self.file(descriptor), usize::try_from(bytes)) else { return };
        // SAFETY: a plain system call on a descriptor that is open.
        let offset = offset.unwrap_or_else(|| unsafe { libc::lseek64(descriptor, 0, libc::SEEK_CUR) } - bytes as i64);
        // SAFETY: the kernel has just read that many bytes there.
        let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), bytes) };
        self.ops.push(Op::Write { inode, offset: offset.unsigned_abs(), bytes: data.to_vec() });
    }

    /// True if the sync was recorded and need not be made.
    fn synced(&mut self, descriptor: c_int) {
        match self.open.get(&descriptor).cloned() {
            Some(Open::File(inode)) => self.ops.push(Op::Sync(inode)),
            Some(Open::Directory(path)) => self.ops.push(Op::SyncDir(path)),
            None => {}
        }
    }
}

fn as_int(result: libc::c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::c_uint) -> c_int {
    // SAFETY (here and below): the arguments are the caller's, passed on as they are.
    let call = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    as_int(noted(call, |recorder, descriptor| {
        if let Some(path) = recorder.relative(path) {
            recorder.opened(path, as_int(descriptor), flags);
        }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn close(descriptor: c_int) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_close, descriptor) };
    as_int(noted(call, |recorder, _| {
        recorder.open.remove(&descriptor);
    }))
}

#[unsafe(no_mangle)]
extern "C" fn write(descriptor: c_int, data: *const c_void, bytes: usize) -> isize {
    let call = || unsafe { libc::syscall(libc::SYS_write, descriptor, data, bytes) };
    noted(call, |recorder, written| recorder.wrote(descriptor, data, written, None)) as isize
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(descriptor: c_int, data: *const c_void, bytes: usize, offset: libc::off64_t) -> isize {
    let call = || unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, data, bytes, offset) };
    noted(call, |recorder, written| recorder.wrote(descriptor, data, written, Some(offset))) as isize
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(descriptor: c_int, bytes: libc::off64_t) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_ftruncate, descriptor, bytes) };
    as_int(noted(call, |recorder, _| {
        if let Some(inode) = recorder.file(descriptor) {
            recorder.ops.push(Op::Truncate { inode, bytes: bytes.unsigned_abs() });
        }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    as_int(noted(|| 0, |recorder, _| recorder.synced(descriptor)))
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    fsync(descriptor)
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: libc::mode_t) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    as_int(noted(call, |recorder, _| {
        if let Some(path) = recorder.relative(path) {
            recorder.ops.push(Op::MakeDir(path));
        }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) };
    as_int(noted(call, |recorder, _| {
        if let (Some(from), Some(to)) = (recorder.relative(from), recorder.relative(to)) {
            if let Some(inode) = recorder.files.remove(&from) {
                recorder.files.insert(to.clone(), inode);
            }
            recorder.ops.push(Op::Rename { from, to });
        }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    as_int(noted(call, |recorder, _| {
        if let Some(path) = recorder.relative(path) {
            recorder.files.remove(&path);
            recorder.ops.push(Op::Remove(path));
        }
    }))
}
