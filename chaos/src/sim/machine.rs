//! One simulated machine: a disk that outlives crashes, and the node that runs on it.
//!
//! Invariant: the node is the product's own, assembled by `node::start::run_on`; only what it stands on is simulated.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use node::config::{Bootstrap, Config, MemberSpec};
use node::node::Node;
use node::start::{Environment, open_options, run_on};
use node::sys::clock::Monotonic;
use parking_lot::Mutex;
use raft_store::storage::{Feed, SharedState, SimDisk, Storage};

use super::net::{PORT, SimListener, SimNet, address};
use super::plan::{GRACE, PEER_TTL, Plan};

/// A node that runs.
pub(super) struct Live {
    pub(super) node: Weak<Node>,
    pub(super) state: SharedState,
    pub(super) feed: Feed,
}

/// What the outside knows of a machine.
#[derive(Default)]
pub(super) struct Inside {
    /// The node, once it is assembled.
    pub(super) live: Option<Live>,
    /// Why the node ended by itself.
    pub(super) ended: Option<String>,
}

/// A machine. Cheap to clone.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) id: u64,
    pub(super) disk: SimDisk,
    pub(super) inside: Arc<Mutex<Inside>>,
    neighbours: Neighbours,
    config: Config,
    rate_percent: u32,
}

/// All machines, by address; machines share it.
#[derive(Clone, Default)]
pub(super) struct Neighbours(Arc<Mutex<BTreeMap<String, Weak<Mutex<Inside>>>>>);

impl Neighbours {
    fn run_at(&self, address: &str) -> bool {
        let inside = self.0.lock().get(address).and_then(Weak::upgrade);
        inside.is_some_and(|inside| inside.lock().live.as_ref().is_some_and(|live| live.node.strong_count() > 0))
    }
}

impl Machine {
    /// A new machine with an empty disk.
    pub(super) fn new(id: u64, plan: &Plan, neighbours: &Neighbours) -> Self {
        let disk = SimDisk::default();
        disk.set_pace(plan.disk.0, plan.disk.1, plan.seed ^ id);
        let rate_percent = plan.rates.get(id.saturating_sub(1) as usize).copied().unwrap_or(100);
        let inside = Arc::default();
        neighbours.0.lock().insert(address(id), Arc::downgrade(&inside));
        Self { id, disk, inside, neighbours: neighbours.clone(), config: config(id, plan), rate_percent }
    }

    /// The software: runs the node; when it ends, waits until the simulator notices.
    pub(super) async fn run(self) -> turmoil::Result {
        let why = match self.serve().await {
            Ok(()) => "it stopped".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        self.inside.lock().ended = Some(why);
        std::future::pending().await
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let neighbours = self.neighbours.clone();
        let listener = SimListener::bind().await?;
        let storage = Storage::open_simulated(&self.disk, &open_options(&self.config))?;
        let environment = Environment {
            listener,
            bound: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT),
            net: Arc::new(SimNet { runs: Arc::new(move |address| neighbours.run_at(address)) }),
            storage,
            clock: Monotonic::with_rate(self.rate_percent),
        };
        let started = |node: &Arc<Node>| {
            let ((), feed) = node.state.subscribe(|_| ());
            let live = Live { node: Arc::downgrade(node), state: node.state.clone(), feed };
            self.inside.lock().live = Some(live);
        };
        run_on(environment, self.config.clone(), started, std::future::pending()).await.map(|_ended| ())
    }

    /// Forgets the node, which is gone.
    pub(super) fn clear(&self) {
        *self.inside.lock() = Inside::default();
    }

    /// The node, if it runs.
    pub(super) fn node(&self) -> Option<Arc<Node>> {
        self.inside.lock().live.as_ref()?.node.upgrade()
    }
}

fn config(id: u64, plan: &Plan) -> Config {
    let founders = (1..=plan.founders).map(|id| MemberSpec { id, address: address(id) }).collect();
    Config {
        id,
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT),
        advertise: Some(address(id)),
        data: PathBuf::from("simulated"),
        bootstrap: if id <= plan.founders { Bootstrap::Found { members: founders } } else { Bootstrap::Wait },
        replicas: 2,
        lease_ttl: Duration::from_secs(60),
        peer_ttl: PEER_TTL,
        grace: GRACE,
        heartbeat: Duration::from_millis(50),
        election: (Duration::from_millis(150), Duration::from_millis(300)),
        snapshot_every: Some(plan.snapshot_every),
        reject_writes_on_followers: false,
        v0: true,
        insecure: true,
    }
}
