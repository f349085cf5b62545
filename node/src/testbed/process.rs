//! One child process: started with its output in a file, killed, stopped, continued and started again.
//!
//! Invariant: no child outlives its `Process`, nor this program: dropping kills and reaps it, and the system kills it
//! when the thread that started it ends (so that nothing is left behind after Ctrl-C or SIGKILL). Start processes from
//! the main thread or a runtime's worker, never from a short-lived thread.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::{Signal, TestbedError};

/// What to run.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Extra environment.
    pub environment: Vec<(String, String)>,
    /// Where its output is appended.
    pub log: PathBuf,
}

/// A child that may be started many times.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Option<Child>,
}

/// Finds a product binary in `directory`, or beside this program.
pub fn find_binary(name: &str, directory: Option<&Path>) -> Result<PathBuf, TestbedError> {
    let beside = || std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_path_buf));
    let directory = directory.map(Path::to_path_buf).or_else(beside).unwrap_or_default();
    let path = directory.join(name);
    if path.is_file() { Ok(path) } else { Err(TestbedError::Missing { path: path.display().to_string() }) }
}

impl Process {
    /// Starts the child.
    pub fn start(spec: Spec) -> Result<Self, TestbedError> {
        let mut process = Self { spec, child: None };
        process.restart()?;
        Ok(process)
    }

    /// Arguments of its next start.
    pub fn set_arguments(&mut self, arguments: Vec<String>) {
        self.spec.arguments = arguments;
    }

    /// Starts it again after its end; its log goes on.
    pub fn restart(&mut self) -> Result<(), TestbedError> {
        self.kill();
        self.child = Some(spawn(&self.spec)?);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone. Fine if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a child that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it keeps its state and its connections, and does nothing.
    pub fn stop(&self) -> Result<(), TestbedError> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT after [`Process::stop`].
    pub fn resume(&self) -> Result<(), TestbedError> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM: asks it to end in order.
    pub fn terminate(&self) -> Result<(), TestbedError> {
        self.signal(Signal::TERM)
    }

    /// Whether it was started and nobody killed it; it may have ended by itself.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended by itself, if it did; it counts as not started from then on.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Waits until it ends by itself; `None` if it does not run.
    pub fn wait(mut self) -> Option<ExitStatus> {
        self.child.take()?.wait().ok()
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn signal(&self, signal: Signal) -> Result<(), TestbedError> {
        self::signal(self.id().ok_or(TestbedError::NotRunning)?, signal)
    }
}

/// Sends a signal to a child of this process.
pub fn signal(pid: u32, signal: Signal) -> Result<(), TestbedError> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(TestbedError::NotRunning)?;
    kill_process(target, signal).map_err(|error| TestbedError::Signal { signal, pid, source: error.into() })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes a command's child be sent `signal` when the thread that starts it ends, so that it does not outlive this
/// program.
#[allow(unsafe_code, reason = "what runs before exec has to be async-signal-safe")]
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    // SAFETY: two system calls, which allocate nothing and take no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(signal))?;
            // The parent may have died before the call above.
            if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
}

fn spawn(spec: &Spec) -> Result<Child, TestbedError> {
    let failed = |source| TestbedError::Start { program: spec.program.display().to_string(), source };
    let log = OpenOptions::new().create(true).append(true).open(&spec.log).map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
    // Ctrl-C is for this program, which ends its run in order; the nodes must not see it.
    command.process_group(0);
    die_with_parent(&mut command, Signal::KILL);
    command.spawn().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(directory: &Path) -> Spec {
        Spec {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), "echo started; exec sleep 600".into()],
            environment: Vec::new(),
            log: directory.join("log"),
        }
    }

    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.trim().chars().next()
    }

    #[test]
    fn a_process_is_killed_restarted_and_gone_when_dropped() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut process = Process::start(sleeper(directory.path())).expect("starts");
        let first = process.id().expect("runs");
        process.kill();
        assert!(!process.is_started());
        assert!(process.stop().is_err());
        process.restart().expect("starts again");
        let second = process.id().expect("runs");
        assert_ne!(first, second);
        assert!(process.ended().is_none());
        drop(process);
        assert_eq!(state(second), None, "no zombie and no process is left");
    }

    #[test]
    fn a_stopped_process_is_stopped_until_it_is_resumed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let process = Process::start(sleeper(directory.path())).expect("starts");
        let pid = process.id().expect("runs");
        let wait_for = |wanted: bool| {
            while (state(pid) == Some('T')) != wanted {
                std::thread::yield_now()
            }
        };
        process.stop().expect("stops");
        wait_for(true);
        process.resume().expect("resumes");
        wait_for(false);
    }

    #[test]
    fn an_end_by_itself_is_noticed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut spec = sleeper(directory.path());
        spec.arguments = vec!["-c".into(), "exit 3".into()];
        let mut process = Process::start(spec).expect("starts");
        let status = loop {
            if let Some(status) = process.ended() {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(status.code(), Some(3));
        assert!(!process.is_started());
    }

    #[test]
    fn a_missing_binary_says_how_to_build_it() {
        let error = find_binary("raftshare-node", Some(Path::new("/nowhere"))).expect_err("missing").to_string();
        assert!(error.contains("cargo build --release"), "{error}");
    }
}
