//! The library that talks to an index cluster: finds the leader, retries what is safe to retry, and says how fresh an
//! answer is.
//!
//! ```text
//!  requests (writes.rs, txn.rs, reads.rs, admin.rs)    one method per request of the HTTP contract
//!        │
//!  engines (write_engine.rs, read_engine.rs)       loops: pick a server, attempt, learn, retry or give up
//!        │            │             │
//!  routes.rs (who)  retry.rs (whether, when)  transport.rs (one HTTP attempt)        the first two are pure
//!        │
//!  breaker.rs (does a node get requests?)  members.rs (finds nodes: DNS names, members)
//! ```
//!
//! Invariants: a write is retried only under its idempotency key, or if it certainly was not applied (X3). "Maybe
//! applied" leaves the library only as [`Error::Unknown`] (W5). An answer that may be old says so
//! ([`Freshness::stale`], R2).

mod admin;
mod breaker;
mod clock;
mod error;
mod keys;
mod lease;
mod members;
mod read_engine;
mod reads;
pub mod retry;
mod routes;
mod transport;
mod txn;
mod write_engine;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::{Mutex, RwLock};

pub use crate::contract::SearchMode;
pub use admin::NewNode;
pub use clock::BootTime;
pub use error::Error;
pub use lease::LeaseGuard;
pub use members::{LOOKUP_EVERY, Resolver};
pub use read_engine::{Consistency, Freshness, Read, ReadOptions};

pub use txn::{Branch, Change, Check, IntoAttribute, Txn, TxnAnswer, TxnBuilder, TxnError, lease_token_of, name_of};
pub use writes::{Grant, LeaseAnswer};

use crate::contract::{LeaderInfo, headers};
use keys::Keys;
use members::Schedule;
use routes::{Routes, Slot};
use transport::{Call, Failure, Reply};

/// Default time limit of one call, retries included.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// Silence after which a read is also sent to another server.
pub const HEDGE_AFTER: Duration = Duration::from_millis(300);
/// How long the servers may take to say who leads.
const DISCOVERY_MAX: Duration = Duration::from_millis(300);
/// How long the other servers may still contradict the first one that names a leader.
const DISCOVERY_EXTRA: Duration = Duration::from_millis(20);

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Base URLs of some nodes (`http://host:port`); a bare `host:port` means `http`.
    pub servers: Vec<String>,
    /// Time limit of one call, retries included; at most five minutes (X3).
    pub deadline: Duration,
    /// Silence after which a read is also sent to another server.
    pub hedge_after: Duration,
    /// The secret or token to send as `Authorization: Bearer`, if the cluster requires one.
    pub token: Option<String>,
    /// Whether to contact nodes that the servers name as leader; otherwise only `servers` are used, which forward (W2).
    pub follow_hints: bool,
    /// Whether to learn all members from the servers, now and then while there are requests; needs `follow_hints`.
    pub discover: bool,
    /// Looks up the addresses of servers that are given by name. A name with several addresses is as many servers.
    pub resolver: Resolver,
}

impl Options {
    /// Defaults for these servers.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            deadline: DEADLINE_DEFAULT,
            hedge_after: HEDGE_AFTER,
            token: None,
            follow_hints: true,
            discover: false,
            resolver: Resolver::system(),
        }
    }
}

/// A client of one index cluster. Cheap to clone; clones share connections, session, leader and last written index.
#[derive(Debug, Clone)]
pub struct IndexClient {
    shared: Arc<Shared>,
    key: Option<Arc<str>>,
    deadline: Duration,
    reading: ReadOptions,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    options: Options,
    scheme: String,
    token: RwLock<Option<String>>,
    routes: Mutex<Routes>,
    schedule: Schedule,
    /// One discovery at a time: after a failover every waiting call needs the same answer.
    discovery: tokio::sync::Semaphore,
    keys: Keys,
    /// Highest `Raftshare-Index` of this client's writes (R3).
    written: AtomicU64,
}

impl IndexClient {
    /// Checks the server addresses; does not connect yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let urls = options.servers.iter().map(|server| base_url(server)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = urls.first() else {
            return Err(Error::BadServer { server: String::new(), detail: "no server is given".into() });
        };
        let scheme = first.split("://").next().unwrap_or("http").to_owned();
        let http = transport::http_client()
            .map_err(|error| Error::BadServer { server: first.clone(), detail: error.to_string() })?;
        let schedule = match options.follow_hints {
            true => Schedule::new(urls.iter().map(String::as_str), options.discover),
            false => Schedule::nothing(),
        };
        let shared = Shared {
            http,
            schedule,
            scheme,
            token: RwLock::new(options.token.clone()),
            routes: Mutex::new(Routes::new(urls)),
            discovery: tokio::sync::Semaphore::new(1),
            keys: Keys::new(),
            written: AtomicU64::new(0),
            options,
        };
        let deadline = shared.options.deadline;
        Ok(Self { shared: Arc::new(shared), key: None, deadline, reading: ReadOptions::default() })
    }

    /// A client with the default options for a comma-separated list of servers.
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Self::new(Options::new(servers.split(',').map(str::trim).filter(|server| !server.is_empty())))
    }

    /// The same client with another time limit per call.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same client with the caller's own key for its writes. Use it for one operation only (X1).
    ///
    /// An operation that is repeated under the same key, by any client of the same peer, gets the first answer again.
    pub fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: Some(Arc::from(key.into())), ..self.clone() }
    }

    /// The same client with other options for its reads.
    pub fn with_reading(&self, reading: ReadOptions) -> Self {
        Self { reading, ..self.clone() }
    }

    /// A client with these options that talks only to one server; for inspecting nodes one by one.
    pub fn only(&self, server: &str) -> Result<Self, Error> {
        let token = self.shared.token.read().clone();
        let servers = vec![server.to_owned()];
        let options = Options { servers, token, follow_hints: false, ..self.shared.options.clone() };
        Ok(Self { deadline: self.deadline, reading: self.reading.clone(), ..Self::new(options)? })
    }

    /// Replaces the secret that is sent to the servers.
    pub fn set_token(&self, token: Option<String>) {
        *self.shared.token.write() = token;
    }

    /// The highest log index of this client's acknowledged writes; 0 before the first (R3). Reads use it automatically.
    pub fn last_index(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }

    /// The base URLs of all servers known so far: configured, resolved, named as leader, or learned as members.
    pub fn known_servers(&self) -> Vec<String> {
        self.shared.routes.lock().urls()
    }

    /// All servers known so far, comma-separated; for messages.
    pub fn servers(&self) -> String {
        self.shared.routes.lock().servers()
    }

    /// The time limit per call.
    pub fn deadline(&self) -> Duration {
        self.deadline.min(retry::DEADLINE_MAX)
    }

    /// Makes one attempt at one server, and updates the routes with what it learns.
    async fn attempt(&self, slot: Slot, call: &Call, limit: Duration) -> Result<Reply, Failure> {
        let (url, host) = {
            let routes = self.shared.routes.lock();
            (routes.url(slot).to_owned(), routes.host(slot).map(str::to_owned))
        };
        let token = self.shared.token.read().clone();
        let server = transport::Server { url: &url, host: host.as_deref(), bearer: token.as_deref() };
        let result = transport::attempt(&self.shared.http, server, call, limit).await;
        self.learn(slot, &result);
        result
    }

    fn learn(&self, slot: Slot, result: &Result<Reply, Failure>) {
        use crate::contract::ErrorCode as C;
        let mut routes = self.shared.routes.lock();
        let problem = match result {
            Ok(_) => return routes.answered(slot),
            Err(Failure::NotSent(_) | Failure::Silent(_) | Failure::Broken(_)) => {
                return routes.failed(slot, Instant::now());
            }
            Err(Failure::Answered { problem, .. }) => problem,
        };
        routes.answered(slot);
        if matches!(problem.code, C::NotLeader | C::NoQuorum | C::StorageFailed | C::NotInitialized) {
            routes.not_leading(slot);
        }
        if matches!(problem.code, C::StorageFailed | C::NotInitialized) {
            routes.failed(slot, Instant::now());
        }
        if let Some(leader) = &problem.leader {
            self.note_leader(&mut routes, leader);
        }
    }

    fn note_leader(&self, routes: &mut Routes, leader: &LeaderInfo) {
        if self.shared.options.follow_hints {
            routes.hinted(&format!("{}://{}", self.shared.scheme, leader.address), leader.term);
        }
    }

    /// The leader, if it is known or can be found now.
    async fn find_leader(&self) -> Option<Slot> {
        if !self.shared.options.follow_hints {
            return None;
        }
        let known = |routes: &Routes| {
            let now = Instant::now();
            routes.leader(now).map(Some).or_else(|| routes.is_leaderless(now).then_some(None))
        };
        if let Some(answer) = known(&self.shared.routes.lock()) {
            return answer;
        }
        let _turn = self.shared.discovery.acquire().await.ok()?;
        if let Some(answer) = known(&self.shared.routes.lock()) {
            return answer;
        }
        self.ask_for_leader(None).await;
        let now = Instant::now();
        let mut routes = self.shared.routes.lock();
        let leader = routes.leader(now);
        if leader.is_none() {
            routes.nobody_leads(now);
        }
        leader
    }

    /// Asks all ready servers except `except` at once who leads, and records their answers: the highest term wins.
    async fn ask_for_leader(&self, except: Option<Slot>) {
        let call = Call::get("/leader".into());
        let slots = self.shared.routes.lock().ready(Instant::now());
        let mut answers: FuturesUnordered<_> = slots
            .into_iter()
            .filter(|&slot| Some(slot) != except)
            .map(|slot| self.attempt(slot, &call, DISCOVERY_MAX))
            .collect();
        let mut found = false;
        loop {
            let patience = if found { DISCOVERY_EXTRA } else { DISCOVERY_MAX * 2 };
            let Ok(Some(answer)) = tokio::time::timeout(patience, answers.next()).await else { return };
            if let Some(leader) = answer.ok().and_then(|reply| reply.json::<LeaderInfo>().ok()) {
                self.note_leader(&mut self.shared.routes.lock(), &leader);
                found = true;
            }
        }
    }

    fn note_index(&self, reply: &Reply) {
        if let Some(index) = reply.number(headers::INDEX) {
            self.shared.written.fetch_max(index, Ordering::AcqRel);
        }
    }
}

/// Checks a server's address and normalizes it to `http://host:port`.
fn base_url(server: &str) -> Result<String, Error> {
    crate::address::base_url(server)
        .map_err(|error| Error::BadServer { server: server.to_owned(), detail: error.to_string() })
}
