//! Assembly of a node: open the storage, start Raft, serve, and stop in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use raft_store::storage::{OpenOptions, Storage};
use tokio::net::TcpListener;

use crate::clock::{LogClock, Monotonic, millis};
use crate::condition::ConditionCell;
use crate::config::Config;
use crate::divergence::{self, Divergence};
use crate::events::EventLog;
use crate::freshness::Freshness;
use crate::leadership::{self, Leadership};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::net::{Listener, Net, SystemNet};
use crate::node::{Identities, Node};
use crate::propose::Proposer;
use crate::succession::Succession;
use crate::transport::{LinkPool, Links, Side};
use crate::{birth, digests, membership, names, serve, snapshots};

/// How long a stopping node may take to hand over and close.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
/// How long a stopping leader tries to hand over; its successor may be stopping as well.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(1);
/// What a node stands on, apart from its settings.
pub struct Ground<L> {
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

/// Runs a node until `shutdown` resolves or its storage fails. Prints one line once it serves.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    config.validate().map_err(|reason| anyhow!(reason))?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; is another node or program using it? Pass another --listen", config.listen)
    })?;
    let bound = listener.local_addr()?;
    let (data, options) = (config.data.clone(), open_options(&config));
    let opened = tokio::task::spawn_blocking(move || Storage::open(&data, &options)).await?;
    let storage = opened.with_context(|| format!("cannot use the data directory {}", config.data.display()))?;
    let ground = Ground { listener, bound, net: Arc::new(SystemNet::new()?), storage, clock: Monotonic::default() };
    run_on(ground, config, |node| announce_start(node), shutdown).await
}

/// How a node opens its storage.
pub fn open_options(config: &Config) -> OpenOptions {
    OpenOptions { node_id: config.id, new_store_id: rand::random::<u64>().max(1) }
}

/// Runs a node on given ground until `shutdown` resolves or its storage fails; `started` is called once it serves.
pub async fn run_on<L: Listener>(
    ground: Ground<L>,
    config: Config,
    started: impl FnOnce(&Arc<Node>),
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Ground { listener, bound, net, storage, clock } = ground;
    let node = assemble(config, bound, net, storage, clock).await?;
    let fatal = node.fatal.clone();
    let serving = tokio::spawn(serve::accept(node.clone(), listener));
    let duties = [
        tokio::spawn(leadership::run(node.clone())),
        tokio::spawn(leadership::follow_events(node.clone())),
        tokio::spawn(leadership::follow_freshness(node.clone())),
        tokio::spawn(names::load(node.clone())),
        tokio::spawn(snapshots::run(node.clone())),
        tokio::spawn(digests::run(node.clone())),
        tokio::spawn(divergence::run(node.clone())),
    ];
    let (born, mut birth) = tokio::sync::oneshot::channel();
    let born_node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = birth::run(born_node).await {
            let _ = born.send(error);
        }
    });
    started(&node);
    let failed = tokio::select! {
        () = shutdown => None,
        reason = fatal.wait() => Some(reason),
        Ok(error) = &mut birth => bail!(error),
        // They run for ever: one that ends has met a defect, and a node without it would only look alive.
        (ended, _, _) = futures::future::select_all(duties) => {
            bail!("an internal task ended unexpectedly ({ended:?}); the node stops, its data is safe")
        }
    };
    if let Some(reason) = failed {
        // Nothing is acknowledged any more; what is under way is answered, then the process ends (W4).
        let _ = tokio::time::timeout(HAND_OVER_DEADLINE, membership::hand_over(&node)).await;
        bail!(
            "the storage in {} failed: {reason}; free or repair the disk, then start the node again",
            node.config.data.display()
        );
    }
    tracing::info!("stopping");
    let _ = tokio::time::timeout(HAND_OVER_DEADLINE, membership::hand_over(&node)).await;
    serving.abort();
    let _ = tokio::time::timeout(STOP_DEADLINE, node.raft.shutdown()).await;
    Ok(())
}

/// One line for people and scripts: where this node serves.
#[allow(clippy::print_stdout, reason = "the contract of `start`: one line on standard output once it serves")]
fn announce_start(node: &Node) {
    let cluster = match node.identities.cluster() {
        Some(cluster) => format!("cluster {cluster:016x}"),
        None => "no cluster yet".to_owned(),
    };
    println!("raftshare-node {} serves http://{} ({cluster})", node.config.id, node.address);
}

async fn assemble(
    config: Config,
    bound: SocketAddr,
    net: Arc<dyn Net>,
    storage: Storage,
    monotonic: Monotonic,
) -> anyhow::Result<Arc<Node>> {
    let Storage { log_store, state_machine, state, repair, identity, fatal, stats, executor } = storage;
    let own = identity.get();
    let side = Side { node: own.node_id, store: own.store_id };
    let identities = Arc::new(Identities::new(side, own.cluster_id));
    let defaults = raft_store::raft::raft_config("raftshare");
    let snapshot_policy =
        config.snapshot_every.map_or(defaults.snapshot_policy, openraft::SnapshotPolicy::LogsSinceLast);
    let raft_config = openraft::Config {
        snapshot_policy,
        // Snapshots that are taken more often are there to keep the log short.
        max_in_snapshot_log_to_keep: defaults
            .max_in_snapshot_log_to_keep
            .min(config.snapshot_every.unwrap_or(u64::MAX)),
        ..defaults
    };
    let election = (millis(config.election.0), millis(config.election.1));
    let raft_config = raft_store::raft::with_timeouts(raft_config, millis(config.heartbeat), election);
    let raft_config = Arc::new(raft_config.validate()?);
    let network = Links::new(net.clone(), identities.clone());
    let raft = openraft::Raft::new(config.id, raft_config, network, log_store, state_machine).await?;
    let clock = Arc::new(LogClock::new(monotonic));
    let applied = state.applied_index().unwrap_or(0);
    Ok(Arc::new(Node {
        address: config.advertised(bound),
        boot: rand::random(),
        proposer: Proposer::start(raft.clone(), Arc::clone(&clock)),
        pool: LinkPool::new(net.clone(), identities.clone()),
        condition: ConditionCell::default(),
        divergence: Divergence::default(),
        repair,
        freshness: Freshness::default(),
        leadership: Leadership::new(monotonic),
        succession: Succession::default(),
        names: Names::default(),
        events: EventLog::new(applied),
        metrics: Metrics::default(),
        config,
        identities,
        raft,
        state,
        identity_store: identity,
        fatal,
        stats,
        executor,
        clock,
        net,
    }))
}
