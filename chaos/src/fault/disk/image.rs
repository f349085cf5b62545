//! One node's disk: an ext4 file system in its own image, mounted over a loop device.
//!
//! Invariant: a dropped image is not mounted. What is on it after a power cut is what an ext4 journal recovers, so what
//! a process had not synced is gone, unlike after SIGKILL.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl};

/// Size of a file system. The image is sparse; a node of a short run needs a tenth of it.
const BYTES: u64 = 96 * 1024 * 1024;
/// `EXT4_IOC_SHUTDOWN`, and its flag that drops the journal instead of flushing it.
const EXT4_IOC_SHUTDOWN: u32 = 0x8004_587d;
const SHUTDOWN_WITHOUT_LOG_FLUSH: u32 = 2;
/// How often, and after which pauses, an unmount is tried: the kernel closes a killed process's files a moment later.
const UNMOUNT_TRIES: u32 = 100;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(20);
/// Space is taken in steps that become smaller, down to one block.
const BALLAST_STEPS: [u64; 3] = [1 << 23, 1 << 18, 1 << 12];
/// Attempts to fill a disk whose node gives space back meanwhile.
const FILLS_MAX: usize = 10;

/// A file system in an image.
#[derive(Debug)]
pub struct Image {
    image: PathBuf,
    mount_point: PathBuf,
    mounted: bool,
}

impl Image {
    /// Makes the image `NAME.img` and mounts it on `NAME.mnt`, both in `directory`. `Err` says what this machine lacks.
    pub fn create(directory: &Path, name: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut disk = Self {
            image: directory.join(format!("{name}.img")),
            mount_point: directory.join(format!("{name}.mnt")),
            mounted: false,
        };
        File::create(&disk.image)?.set_len(BYTES)?;
        std::fs::create_dir_all(&disk.mount_point)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount_point))?;
        self.mounted = true;
        Ok(())
    }

    /// A handle that [`cut`] can use without opening anything first.
    pub fn handle(&self) -> anyhow::Result<File> {
        File::open(&self.mount_point).with_context(|| format!("cannot open {}", self.mount_point.display()))
    }

    /// Whether nothing can be written any more, as after [`cut`].
    pub fn is_dead(&self) -> bool {
        let probe = File::create(self.mount_point.join("probe")).and_then(|mut file| {
            file.write_all(b"alive")?;
            file.sync_all()
        });
        probe.is_err_and(|error| matches!(Errno::from_io_error(&error), Some(Errno::IO | Errno::ROFS)))
    }

    /// Mounts what is on the disk again; the journal is replayed. Nobody may have a file open on it.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()
    }

    /// Takes all free space. A node that runs may give some back in between (a purged segment, an old snapshot).
    pub fn fill(&self) -> anyhow::Result<()> {
        for _ in 0..FILLS_MAX {
            if self.fill_once()? {
                return Ok(());
            }
        }
        bail!("the disk takes more though it was filled {FILLS_MAX} times")
    }

    /// True if nothing more goes onto the disk afterwards.
    fn fill_once(&self) -> anyhow::Result<bool> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        let mut size = ballast.metadata()?.len();
        for step in BALLAST_STEPS {
            while allocate(&ballast, size, step) {
                size += step;
            }
        }
        // What allocating leaves over, block by block.
        while let Ok(()) = ballast.write_all(&[0x55; 1 << 12]).and_then(|()| ballast.sync_data()) {}
        let more = File::create(self.mount_point.join("probe")).and_then(|mut file| file.write_all(&[0x55; 1 << 13]));
        Ok(more.is_err())
    }

    /// Gives the space back.
    pub fn free(&self) -> anyhow::Result<()> {
        for file in [self.ballast(), self.mount_point.join("probe")] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.mount_point.join("ballast")
    }

    #[expect(clippy::disallowed_methods, reason = "no runtime is needed to clean up")]
    fn unmount(&mut self) -> anyhow::Result<()> {
        let mut tries = 0;
        while self.mounted {
            match run(Command::new("umount").arg(&self.mount_point)) {
                Ok(()) => self.mounted = false,
                Err(error) if tries == UNMOUNT_TRIES => return Err(error),
                Err(_) => {
                    tries += 1;
                    std::thread::sleep(UNMOUNT_PAUSE);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a process that has a file open keeps it, and the mount point is free.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount_point));
        }
    }
}

/// From here on nothing reaches the disk, and nothing that was not synced ever will.
pub fn cut(handle: &File) -> std::io::Result<()> {
    #[allow(unsafe_code, reason = "there is no safe interface to this ioctl")]
    // SAFETY: the call reads one u32 through a pointer that outlives it, as its number says.
    unsafe {
        ioctl(handle, Setter::<EXT4_IOC_SHUTDOWN, u32>::new(SHUTDOWN_WITHOUT_LOG_FLUSH))?;
    }
    Ok(())
}

/// Takes blocks for a part of a file without writing them.
fn allocate(file: &File, from: u64, length: u64) -> bool {
    fallocate(file, FallocateFlags::empty(), from, length).is_ok()
}

/// Unmounts whatever an earlier run left mounted below `directory`.
pub fn unmount_below(directory: &Path) {
    let Ok(directory) = directory.canonicalize() else { return };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points.filter(|point| point.starts_with(&directory)) {
        // One that cannot be unmounted makes clearing the directory fail, which says so.
        let _ = run(Command::new("umount").arg("-l").arg(point));
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())
}
