//! Loss of power: an ext4 file system on a loop device is shut down without flushing its journal, the writer is killed,
//! the file system is mounted again, and everything acknowledged has to be there.
//!
//! SIGKILL cannot show this: a write that was never synced survives a killed process in the page cache. The test needs
//! root and loop devices; elsewhere it reports that it was skipped.

mod crash;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crash::model::{Counts, Model};
use crash::{Running, rounds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// File systems in use at the same time.
const CHAINS: u64 = 3;
/// Power cuts after which a chain continues in a new directory.
const CUTS_PER_DIRECTORY: u64 = 5;
/// Size of a file system; the image is sparse.
const IMAGE_BYTES: u64 = 256 * 1024 * 1024;

/// `EXT4_IOC_SHUTDOWN`, and its flag that drops the journal instead of flushing it.
const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
const SHUTDOWN_WITHOUT_LOG_FLUSH: u32 = 2;

#[test]
fn child() {
    crash::child::run_if_child();
}

/// A small ext4 file system in an image.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// Creates one. `Err` says what this machine lacks.
    fn new() -> Result<Self, String> {
        let disk = Self { dir: tempfile::TempDir::new().map_err(|error| error.to_string())? };
        let image = File::create(disk.image()).map_err(|error| error.to_string())?;
        image.set_len(IMAGE_BYTES).map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.mount_point()).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(self.image()).arg(self.mount_point()))
    }

    /// Cuts the power: from here on nothing reaches the disk.
    fn cut_power(&self) {
        let handle = File::open(self.mount_point()).expect("the mount point opens");
        let flags = SHUTDOWN_WITHOUT_LOG_FLUSH;
        // SAFETY: the descriptor is open, and the call reads one u32 through a pointer that outlives it.
        #[allow(unsafe_code, reason = "there is no safe interface to this ioctl")]
        let result = unsafe { libc::ioctl(handle.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
        assert_eq!(result, 0, "EXT4_IOC_SHUTDOWN: {}", std::io::Error::last_os_error());
    }

    /// Mounts what is on the disk; this replays the journal.
    fn power_on(&self) {
        run(Command::new("umount").arg(self.mount_point())).expect("nobody uses the file system");
        self.mount().expect("the file system is mounted again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(self.mount_point()));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Cuts the power `cuts` times; returns everything that is wrong, in words.
fn chain(number: u64, cuts: u64, disk: &Disk) -> (Counts, Vec<String>) {
    let mut rng = StdRng::seed_from_u64(number);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    let mut left = cuts;
    while left > 0 {
        let dir = disk.mount_point().join(left.to_string());
        let mut model = Model::default();
        for _ in 0..CUTS_PER_DIRECTORY.min(left) {
            left -= 1;
            let verdict = cut(disk, &dir, &mut rng, &mut model, &runtime);
            if let Err(finding) = verdict {
                wrong.push(finding);
                break;
            }
        }
        counts.add(model.counts);
    }
    (counts, wrong)
}

fn cut(
    disk: &Disk,
    dir: &Path,
    rng: &mut StdRng,
    model: &mut Model,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), String> {
    let child = Running::start(dir, rng.random());
    child.wait_for_a_moment(rng);
    disk.cut_power();
    model.hear(&child.kill());
    disk.power_on();
    runtime.block_on(model.verify(dir))
}

#[test]
fn what_was_acknowledged_survives_loss_of_power() {
    let disks: Result<Vec<_>, _> = (0..CHAINS).map(|_| Disk::new()).collect();
    let disks = match disks {
        Ok(disks) => disks,
        Err(reason) => {
            println!("skipped: needs root, loop devices and mkfs.ext4 ({reason})");
            return;
        }
    };
    let cuts = rounds().div_ceil(CHAINS);
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        let chains: Vec<_> =
            (0..).zip(&disks).map(|(number, disk)| scope.spawn(move || chain(number, cuts, disk))).collect();
        for chain in chains {
            let (more, findings) = chain.join().expect("a chain that ran to its end");
            counts.add(more);
            wrong.extend(findings);
        }
    });
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{} of {} power cuts lost something:\n{}", wrong.len(), cuts * CHAINS, wrong.join("\n"));
    counts.assert_not_vacuous();
}
