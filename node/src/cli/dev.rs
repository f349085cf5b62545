//! `raftshare-node dev`: a whole cluster with peers on this machine, as real processes, in one command.
//!
//! Invariant: when this process ends, even by being killed, every process it started ends too.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::operate;

use crate::sys::clock;
use crate::testbed::die_with_parent;

/// How long the cluster may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// How long the processes may take to stop before they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(6);
/// The first peer's port lies this far above the first node's: 8080 and 9001.
const PEER_PORT_OFFSET: u16 = 921;
/// Nodes and peers at most.
const PROCESSES_MAX: u16 = 50;

/// Settings of `dev`.
#[derive(Args)]
pub struct DevArgs {
    /// Index nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Peers, each with a folder of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=40))]
    peers: u16,
    /// Where nodes, folders and logs are kept; a second run goes on where the first stopped
    #[arg(long, default_value = ".raftshare-dev")]
    dir: PathBuf,
    /// First node's port; the peers' follow 921 above it
    #[arg(long, default_value_t = 8080)]
    base_port: u16,
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: bool,
}

/// Runs until Ctrl-C, SIGTERM or SIGHUP.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    let started = clock::now();
    let highest = u32::from(args.base_port) + u32::from(PEER_PORT_OFFSET) + u32::from(PROCESSES_MAX);
    if args.base_port == 0 || highest > u32::from(u16::MAX) {
        bail!("--base-port must be between 1 and {}", u32::from(u16::MAX) - highest + u32::from(args.base_port));
    }
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    let dir = args.dir.canonicalize()?;
    check_layout(&dir, &args)?;
    let node_binary = std::env::current_exe()?;
    let peer_binary = node_binary.with_file_name("raftshare");
    if args.peers > 0 && !peer_binary.exists() {
        bail!("{} is missing; build all binaries with: cargo build --release", peer_binary.display());
    }
    check_ports(&args)?;
    let mut stop = Box::pin(operate::stop_signal());
    let mut processes = Vec::new();
    let outcome = async {
        for id in 1..=args.nodes {
            processes.push(start_node(&node_binary, &dir, &args, id)?);
        }
        tokio::select! {
            ready = wait_ready(&args, &mut processes) => ready?,
            () = &mut stop => return Ok(()),
        }
        for number in 1..=args.peers {
            processes.push(start_peer(&peer_binary, &dir, &args, number)?);
        }
        say(&overview(&args, &dir, &processes, started.elapsed()));
        watch(&mut processes, stop).await;
        Ok(())
    }
    .await;
    say("\nstopping …\n");
    stop_all(&mut processes).await;
    say("stopped. Start again with the same command to go on where it was.\n");
    outcome
}

fn say(text: &str) {
    // The processes go on if nobody reads this any more; the command's result reports a failure.
    let _ = client::terminal::write_stdout(text.as_bytes());
}

/// A directory keeps the addresses that it was created with, because the membership records them.
fn check_layout(dir: &Path, args: &DevArgs) -> anyhow::Result<()> {
    let file = dir.join("layout");
    let wanted = format!("nodes {} base-port {}\n", args.nodes, args.base_port);
    match std::fs::read_to_string(&file) {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => bail!(
            "{} was made with: {}; use the same --nodes and --base-port, another --dir, or delete it",
            dir.display(),
            found.trim()
        ),
        Err(_) => std::fs::write(&file, wanted).with_context(|| format!("cannot write {}", file.display())),
    }
}

fn node_port(args: &DevArgs, id: u16) -> u16 {
    args.base_port + id - 1
}

fn peer_port(args: &DevArgs, number: u16) -> u16 {
    args.base_port + PEER_PORT_OFFSET + number - 1
}

fn check_ports(args: &DevArgs) -> anyhow::Result<()> {
    let nodes = (1..=args.nodes).map(|id| node_port(args, id));
    for port in nodes.chain((1..=args.peers).map(|number| peer_port(args, number))) {
        std::net::TcpListener::bind(("127.0.0.1", port))
            .with_context(|| format!("port {port} is in use; stop what uses it, or pass another --base-port"))?;
    }
    Ok(())
}

fn servers(args: &DevArgs) -> String {
    let urls: Vec<_> = (1..=args.nodes).map(|id| format!("http://127.0.0.1:{}", node_port(args, id))).collect();
    urls.join(",")
}

fn spawn(name: String, mut command: Command, log: PathBuf) -> anyhow::Result<Process> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
    // Ctrl-C reaches this process only, which then stops the others in order; and none survives it.
    command.as_std_mut().process_group(0);
    die_with_parent(command.as_std_mut(), Signal::KILL);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(Process { name, child, log, ended: false })
}

fn start_node(binary: &Path, dir: &Path, args: &DevArgs, id: u16) -> anyhow::Result<Process> {
    let members: Vec<_> = (1..=args.nodes).map(|id| format!("{id}=127.0.0.1:{}", node_port(args, id))).collect();
    let mut command = Command::new(binary);
    command.args(["start", "--id", &id.to_string(), "--listen", &format!("127.0.0.1:{}", node_port(args, id))]);
    command.arg("--data").arg(dir.join(format!("node{id}")));
    command.args(["--bootstrap-expect", &args.nodes.to_string(), "--members", &members.join(",")]);
    spawn(format!("node {id}"), command, dir.join(format!("node{id}.log")))
}

fn start_peer(binary: &Path, dir: &Path, args: &DevArgs, number: u16) -> anyhow::Result<Process> {
    let folder = dir.join(format!("peer{number}"));
    if !folder.exists() {
        std::fs::create_dir_all(&folder)?;
        let text = format!("Hello from peer {number}.\nEverything in this folder is shared.\n");
        std::fs::write(folder.join(format!("hello-from-peer{number}.txt")), text)?;
    }
    let mut command = Command::new(binary);
    command.args(["serve", "--no-shell", "--server", &servers(args), "--peer-id", &format!("peer{number}")]);
    command.arg("--dir").arg(&folder);
    command.args(["--bind", &format!("127.0.0.1:{}", peer_port(args, number))]);
    spawn(format!("peer {number}"), command, dir.join(format!("peer{number}.log")))
}

/// Waits until every node can serve linearizable reads and writes.
async fn wait_ready(args: &DevArgs, processes: &mut [Process]) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(1)).no_proxy().build()?;
    let deadline = clock::now() + READY_DEADLINE;
    for id in 1..=args.nodes {
        let url = format!("http://127.0.0.1:{}/readyz", node_port(args, id));
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            for process in processes.iter_mut() {
                if let Some(status) = process.child.try_wait()? {
                    bail!("{} stopped ({status}); its log says why: {}", process.name, process.log.display());
                }
            }
            if clock::now() >= deadline {
                bail!("node {id} is not ready after {READY_DEADLINE:?}; the logs are {}/node*.log", args.dir.display());
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    Ok(())
}

fn overview(args: &DevArgs, dir: &Path, processes: &[Process], took: Duration) -> String {
    let mut rows = vec![["WHAT".to_owned(), "ADDRESS".to_owned(), "PID".to_owned(), "DATA".to_owned()]];
    for (place, process) in (0..).zip(processes) {
        let pid = process.child.id().map_or("–".to_owned(), |pid| pid.to_string());
        let (port, data) = if place < args.nodes {
            (node_port(args, place + 1), format!("node{}", place + 1))
        } else {
            (peer_port(args, place - args.nodes + 1), format!("peer{}", place - args.nodes + 1))
        };
        rows.push([
            process.name.clone(),
            format!("http://127.0.0.1:{port}"),
            pid,
            dir.join(data).display().to_string(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row: &[String; 4]| row[column].len()).max().unwrap_or(0);
    let mut out = format!("raftshare is ready after {:.1} s\n\n", took.as_secs_f64());
    for row in &rows {
        out.push_str(&format!(
            "  {:<a$}  {:<b$}  {:<c$}  {}\n",
            row[0],
            row[1],
            row[2],
            row[3],
            a = width(0),
            b = width(1),
            c = width(2)
        ));
    }
    let binary = std::env::current_exe().unwrap_or_else(|_| "raftshare-node".into());
    let cli = binary.with_file_name("raftshare");
    let (cli, binary) = (shorten(&cli), shorten(&binary));
    let first = shorten(&dir.join("peer1"));
    let tries = [
        (format!("{cli} search hello"), "find a file"),
        (format!("{cli} get hello-from-peer2.txt --dir {first}"), "fetch it, verified"),
        (format!("{cli} update hello-from-peer1.txt --dir {first}"), "change it under a lease, in $EDITOR"),
        (format!("{binary} status"), "who leads?"),
        ("kill -9 PID-OF-THE-LEADER".to_owned(), "nothing is lost: search, get and update go on"),
    ];
    out.push_str(&format!("\nTry, in another terminal:\n\n  export RAFTSHARE_SERVER={}\n", servers(args)));
    for (command, purpose) in tries {
        // The comment gets its own line: with a long directory the two together would wrap.
        out.push_str(&format!("\n  # {purpose}\n  {command}\n"));
    }
    out.push_str(&format!(
        "\nConsole: http://127.0.0.1:{}/   logs: {}/*.log   stop everything: Ctrl-C\n",
        args.base_port,
        dir.display()
    ));
    out
}

/// A path as one would type it in this directory.
fn shorten(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map_or_else(|_| path.display().to_string(), |short| format!("./{}", short.display()))
}

/// Reports when a process ends, which a user who tries out failures wants to see.
async fn watch(processes: &mut [Process], stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut interval = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = interval.tick() => {
                for process in processes.iter_mut().filter(|process| !process.ended) {
                    if let Ok(Some(status)) = process.child.try_wait() {
                        process.ended = true;
                        say(&format!("{} stopped ({status}); log: {}\n", process.name, process.log.display()));
                    }
                }
            }
        }
    }
}

async fn stop_all(processes: &mut [Process]) {
    // Peers first, so that they can say goodbye to a cluster that still runs.
    for group in [false, true] {
        let chosen = processes.iter_mut().filter(|process| process.name.starts_with("node") == group);
        let mut waiting = Vec::new();
        for process in chosen {
            // A child that has an id was not reaped yet, so the id still refers to it.
            if let Some(pid) = process.child.id().and_then(|id| Pid::from_raw(id as i32)) {
                let _ = kill_process(pid, Signal::TERM);
                waiting.push(process);
            }
        }
        let ends = waiting.iter_mut().map(|process| process.child.wait());
        let _ = tokio::time::timeout(STOP_DEADLINE, futures::future::join_all(ends)).await;
        for process in waiting {
            let _ = process.child.start_kill();
            let _ = process.child.wait().await;
        }
    }
}
