//! Assembly of a node: open the storage, start Raft, serve, and stop in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use raft_store::storage::{OpenOptions, Storage};
use tokio::net::TcpListener;

use crate::clock::millis;
use crate::config::Config;
use crate::events::EventLog;
use crate::freshness::Freshness;
use crate::leadership::{self, Leadership};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::node::{Identities, Node};
use crate::propose::Proposer;
use crate::transport::{LinkPool, Links, Side};
use crate::{birth, membership, serve};

/// How long a stopping node may take to hand over and close.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
/// How long a stopping leader tries to hand over; its successor may be stopping as well.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(1);
/// Idle connections kept to the leader for forwarding.
const FORWARD_CONNECTIONS_IDLE_MAX: usize = 256;
/// A forwarded request gives up connecting after this long.
const FORWARD_CONNECT_DEADLINE: Duration = Duration::from_millis(300);

/// Runs a node until `shutdown` resolves or its storage fails. Prints one line once it serves.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    config.validate().map_err(|reason| anyhow!(reason))?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; is another node or program using it? Pass another --listen", config.listen)
    })?;
    let node = assemble(config, listener.local_addr()?).await?;
    let fatal = node.fatal.clone();
    let serving = tokio::spawn(serve::accept(node.clone(), listener));
    let duties = [
        tokio::spawn(leadership::run(node.clone())),
        tokio::spawn(leadership::follow_events(node.clone())),
        tokio::spawn(leadership::follow_freshness(node.clone())),
    ];
    let (born, mut birth) = tokio::sync::oneshot::channel();
    let born_node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = birth::run(born_node).await {
            let _ = born.send(error);
        }
    });
    announce_start(&node);
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

async fn assemble(config: Config, bound: std::net::SocketAddr) -> anyhow::Result<Arc<Node>> {
    let (data, id) = (config.data.clone(), config.id);
    let options = OpenOptions { node_id: id, new_store_id: rand::random::<u64>().max(1) };
    let opened = tokio::task::spawn_blocking(move || Storage::open(&data, &options)).await?;
    let Storage { log_store, state_machine, state, identity, fatal, stats } =
        opened.with_context(|| format!("cannot use the data directory {}", config.data.display()))?;
    let own = identity.get();
    let side = Side { node: own.node_id, store: own.store_id };
    let identities = Arc::new(Identities::new(side, own.cluster_id));
    let raft_config = openraft::Config {
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election.0),
        election_timeout_max: millis(config.election.1),
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(config.snapshot_every),
        ..raft_store::raft::raft_config("raftshare")
    };
    let raft_config = Arc::new(raft_config.validate()?);
    let network = Links::new(identities.clone());
    let raft = openraft::Raft::new(id, raft_config, network, log_store, state_machine).await?;
    let clock = Arc::default();
    let applied = state.applied_index().unwrap_or(0);
    let http = reqwest::Client::builder()
        .pool_max_idle_per_host(FORWARD_CONNECTIONS_IDLE_MAX)
        .connect_timeout(FORWARD_CONNECT_DEADLINE)
        .tcp_nodelay(true)
        .no_proxy()
        .build()?;
    Ok(Arc::new(Node {
        address: config.advertised(bound),
        boot: rand::random(),
        proposer: Proposer::start(raft.clone(), Arc::clone(&clock)),
        pool: LinkPool::new(identities.clone()),
        freshness: Freshness::default(),
        leadership: Leadership::default(),
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
        clock,
        http,
    }))
}
