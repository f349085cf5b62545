//! Assembly of a node: open the storage, start Raft, serve, and stop in order.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use raft_store::storage::{OpenOptions, Storage, request_set_aside};
use tokio::net::TcpListener;

use crate::comparison::Divergence;
use crate::condition::{Condition, ConditionCell};
use crate::config::Config;
use crate::duties::{self, bootstrap, membership, standing, starts};
use crate::events::EventLog;
use crate::freshness::Freshness;
use crate::http;
use crate::identities::{Identities, Side};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::node::{FailoverAttempts, Node};
use crate::propose::{LogClock, Proposer};
use crate::sys::clock::{Monotonic, millis};
use crate::sys::limits;
use crate::sys::net::{Listener, Net, SystemNet};
use crate::sys::pulse::Pulse;
use crate::transport::{Admissions, LinkPool, Links};

/// How long a stopping node may take to hand over and close.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
/// How long a stopping leader tries to hand over; its successor may be stopping as well.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(1);

/// What a node runs on, apart from its settings.
pub struct Environment<L> {
    /// Where connections come in.
    pub listener: L,
    /// The address it listens on.
    pub bound: SocketAddr,
    /// Its network.
    pub net: Arc<dyn Net>,
    /// Its opened storage.
    pub storage: Storage,
    /// Its clock.
    pub clock: Monotonic,
}

/// Why a node ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// Its data directory is to be set aside; it then starts anew and waits for this cluster to take it in (C3).
    SetAside {
        /// The cluster.
        cluster: u64,
    },
}

/// Runs a node until `shutdown` resolves or its storage fails. Prints one line once it serves.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    config.validate().map_err(|reason| anyhow!(reason))?;
    limits::raise();
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; is another node or program using it? Pass another --listen", config.listen)
    })?;
    let bound = listener.local_addr()?;
    let (data, options) = (config.data.clone(), open_options(&config));
    let opened = tokio::task::spawn_blocking(move || Storage::open(&data, &options)).await?;
    let storage = opened.with_context(|| format!("cannot use the data directory {}", config.data.display()))?;
    let environment =
        Environment { listener, bound, net: Arc::new(SystemNet::new()?), storage, clock: Monotonic::default() };
    let data = config.data.clone();
    match run_on(environment, config, |node| announce_start(node), shutdown).await? {
        Ended::Stopped => Ok(()),
        Ended::SetAside { cluster } => {
            tokio::task::spawn_blocking(move || request_set_aside(&data, cluster)).await??;
            Err(start_again())
        }
    }
}

/// Replaces this process with a new one of the same program, which closes everything that this one has open. Returns
/// only if it fails.
fn start_again() -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return anyhow!("cannot find this program to start it again ({error}); start the node again"),
    };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    anyhow!("cannot start this program again ({error}); start the node again")
}

/// How a node opens its storage.
pub fn open_options(config: &Config) -> OpenOptions {
    OpenOptions { node_id: config.id, new_store_id: rand::random::<u64>().max(1) }
}

/// Runs a node in a given environment until `shutdown` resolves or its storage fails; `started` is called once it
/// serves.
pub async fn run_on<L: Listener>(
    environment: Environment<L>,
    config: Config,
    started: impl FnOnce(&Arc<Node>),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Ended> {
    let Environment { listener, bound, net, storage, clock } = environment;
    let node = assemble(config, bound, net, storage, clock).await?;
    let fatal = node.fatal.clone();
    let serving = tokio::spawn(http::listen::accept(node.clone(), listener));
    let duties = duties::spawn(&node);
    let (bootstrap_failure, mut bootstrap_failed) = tokio::sync::oneshot::channel();
    let bootstrapping = node.clone();
    tokio::spawn(async move {
        if let Err(error) = bootstrap::run(bootstrapping).await {
            let _ = bootstrap_failure.send(error);
        }
    });
    let (refused, mut refusal) = tokio::sync::oneshot::channel();
    let starting = node.clone();
    let announcing = tokio::spawn(async move {
        if let Err(error) = starts::run(starting).await {
            let _ = refused.send(error);
        }
    });
    started(&node);
    let mut ended = Ended::Stopped;
    let failed = tokio::select! {
        () = shutdown => None,
        () = node.set_aside.notified() => {
            ended = Ended::SetAside { cluster: node.identities.cluster().unwrap_or(0) };
            None
        }
        reason = fatal.wait() => Some(reason),
        Ok(error) = &mut bootstrap_failed => bail!(error),
        Ok(error) = &mut refusal => bail!(error),
        // Duties run for ever. One that ends has hit a bug, and a node without it would only seem to work.
        (ended, _, _) = futures::future::select_all(duties) => {
            bail!("an internal task ended unexpectedly ({ended:?}); the node stops, its data is safe")
        }
    };
    if let Some(reason) = failed {
        // Nothing is acknowledged any more. What is in flight is answered, then the process ends (W4).
        let _ = tokio::time::timeout(HAND_OVER_DEADLINE, membership::hand_over(&node, HAND_OVER_DEADLINE)).await;
        bail!(
            "the storage in {} failed: {reason}; free or repair the disk, then start the node again",
            node.config.data.display()
        );
    }
    tracing::info!("stopping");
    announcing.abort();
    let _ = tokio::time::timeout(HAND_OVER_DEADLINE, membership::hand_over(&node, HAND_OVER_DEADLINE)).await;
    serving.abort();
    node.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    let _ = tokio::time::timeout(STOP_DEADLINE, node.raft.shutdown()).await;
    Ok(ended)
}

/// One line for people and scripts: where this node serves. A standard output that cannot be
/// written does not end a node (N4).
fn announce_start(node: &Node) {
    let cluster = match node.identities.cluster() {
        Some(cluster) => format!("cluster {cluster:016x}"),
        None => "no cluster yet".to_owned(),
    };
    let line = format!("raftshare-node {} serves http://{} ({cluster})\n", node.config.id, node.address);
    if let Err(error) = client::terminal::write_stdout(line.as_bytes()) {
        tracing::warn!(%error, address = node.address, "serving, but cannot print that to standard output");
    }
}

async fn assemble(
    config: Config,
    bound: SocketAddr,
    net: Arc<dyn Net>,
    storage: Storage,
    monotonic: Monotonic,
) -> anyhow::Result<Arc<Node>> {
    let Storage {
        log_store,
        state_machine,
        snapshot_receiver,
        state,
        repair,
        identity,
        starts,
        fatal,
        stats,
        executor,
    } = storage;
    let own = identity.get();
    let side = Side { node: own.node_id, store: own.store_id };
    let start = starts.begin(rand::random()).await.context("cannot write to the data directory")?;
    let removed = starts.read(|starts| starts.removed);
    let hints = config.bootstrap.members().to_vec();
    let address = config.advertised(bound);
    let identities = Arc::new(Identities::new(side, start, address.clone(), own.cluster_id, starts, hints));
    let defaults = raft_store::raft::raft_config("raftshare");
    let snapshot_policy =
        config.snapshot_every.map_or(defaults.snapshot_policy, openraft::SnapshotPolicy::LogsSinceLast);
    let raft_config = openraft::Config {
        snapshot_policy,
        // Until a majority has recorded this start (C3).
        enable_elect: false,
        // Whoever asks for more frequent snapshots wants a short log.
        max_in_snapshot_log_to_keep: defaults
            .max_in_snapshot_log_to_keep
            .min(config.snapshot_every.unwrap_or(u64::MAX)),
        ..defaults
    };
    let election = (millis(config.election.0), millis(config.election.1));
    let raft_config = raft_store::raft::with_timeouts(raft_config, millis(config.heartbeat), election);
    let raft_config = Arc::new(raft_config.validate()?);
    let metrics = Arc::new(Metrics::default());
    let network = Links::new(net.clone(), identities.clone(), metrics.clone());
    let raft = openraft::Raft::new(config.id, raft_config, network, log_store, state_machine).await?;
    let begun = raft.is_initialized().await?;
    let clock = Arc::new(LogClock::new(monotonic));
    let applied = state.applied_index().unwrap_or(0);
    let pulse = Arc::new(Pulse::new(monotonic));
    let node = Arc::new(Node {
        address,
        boot: rand::random(),
        proposer: Proposer::start(raft.clone(), Arc::clone(&clock), Arc::clone(&pulse)),
        pulse,
        pool: LinkPool::new(net.clone(), identities.clone()),
        condition: ConditionCell::default(),
        admissions: Admissions::default(),
        founding_refused: parking_lot::Mutex::default(),
        stopping: std::sync::atomic::AtomicBool::new(false),
        set_aside: tokio::sync::Notify::new(),
        divergence: Divergence::default(),
        repair,
        freshness: Freshness::default(),
        leadership: Leadership::new(monotonic),
        failover: FailoverAttempts::default(),
        names: Arc::default(),
        events: EventLog::new(applied),
        metrics,
        changes: tokio::sync::Semaphore::new(1),
        config,
        identities,
        raft,
        state,
        identity_store: identity,
        fatal,
        snapshot_receiver,
        stats,
        executor,
        clock,
        net,
    });
    let condition = match removed {
        Some(as_of) => {
            standing::say_removed(as_of);
            Condition::Removed { as_of }
        }
        None if begun && !node.is_sole_voter() => starts::starting(&node),
        // It is alone, or new: there is no majority that its state could differ from.
        None => Condition::Serving,
    };
    starts::set_condition(&node, condition);
    Ok(node)
}
