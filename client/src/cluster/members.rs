//! Finds the servers of a cluster: the addresses of a DNS name, and the members that any server knows.
//!
//! ```text
//! configured: http://index.example:8080 ──DNS──► one node for each address
//!             http://10.0.0.1:8080 ──GET /cluster──► every member (with `discover`, or when the caller asks)
//! ```
//!
//! Invariants: no request waits for this, except the first one for the names in the configuration. What was found
//! before stays when a lookup fails. A client that was told to talk to one server only looks nothing up.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::breaker::PROBE_MAX;
use super::transport::Call;
use super::{Error, IndexClient};
use crate::address::{Host, HostPort};
use crate::contract::ClusterResponse;

/// Time between two lookups of the names and the members, while there are requests.
pub const LOOKUP_EVERY: Duration = Duration::from_secs(60);
/// How long the first request waits for the addresses of the configured names.
const RESOLVE_MAX: Duration = Duration::from_secs(1);
/// Time limit for one server's answer about the members.
const MEMBERS_MAX: Duration = Duration::from_secs(2);
/// Most addresses that one name stands for; further ones are ignored.
const ADDRESSES_MAX: usize = 16;

type Lookup = dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Looks the addresses of a `host:port` up.
#[derive(Clone)]
pub struct Resolver(Arc<Lookup>);

impl Resolver {
    /// A resolver of the caller's own.
    pub fn new(
        lookup: impl Fn(String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(lookup))
    }

    /// The operating system's resolver.
    pub fn system() -> Self {
        Self::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) }))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// When the servers were last looked up.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Configured `host:port` whose host is a name.
    names: Vec<String>,
    discover: bool,
    /// Whether the names were looked up once.
    started: AtomicBool,
    due: Mutex<Option<Instant>>,
    first: tokio::sync::Semaphore,
}

impl Schedule {
    /// What is to be looked up for these base URLs. `localhost` is one machine however many addresses it has.
    pub(super) fn new<'a>(urls: impl Iterator<Item = &'a str>, discover: bool) -> Self {
        let host_port = |url: &str| HostPort::parse(url.trim_start_matches("http://")).ok();
        let is_name = |address: &HostPort| matches!(address.host, Host::Name(_)) && !address.host.is_loopback();
        let names = urls.filter_map(host_port).filter(is_name).map(|address| address.to_string()).collect();
        let (started, due) = (AtomicBool::new(false), Mutex::new(None));
        Self { names, discover, started, due, first: tokio::sync::Semaphore::new(1) }
    }

    /// A schedule that looks nothing up.
    pub(super) fn nothing() -> Self {
        Self::new(std::iter::empty(), false)
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.discover
    }

    /// Whether the caller is to look everything up now.
    fn claim(&self, now: Instant) -> bool {
        let mut due = self.due.lock();
        let claimed = due.is_none_or(|due| now >= due);
        if claimed {
            *due = Some(now + LOOKUP_EVERY);
        }
        claimed
    }
}

impl IndexClient {
    /// Learns the addresses of all members from any server that answers, and uses them from now on. Returns the base
    /// URLs of all servers that this client now knows.
    ///
    /// With [`Options::discover`](super::Options::discover) the client does this by itself every [`LOOKUP_EVERY`].
    pub async fn discover(&self) -> Result<Vec<String>, Error> {
        self.resolve_first().await;
        let call = Call::get("/cluster".into());
        let limit = MEMBERS_MAX.min(self.deadline());
        let mut last = "no server is known".to_owned();
        let turn = self.shared.routes.lock().in_turn(Instant::now());
        for slot in turn {
            let reply = match self.attempt(slot, &call, limit).await {
                Ok(reply) => reply,
                Err(failure) => {
                    last = failure.to_string();
                    continue;
                }
            };
            match reply.json::<ClusterResponse>() {
                Ok(cluster) => {
                    let mut routes = self.shared.routes.lock();
                    for member in &cluster.nodes {
                        let _ = routes.learned(&format!("{}://{}", self.shared.scheme, member.address));
                    }
                    return Ok(routes.urls());
                }
                Err(detail) => last = format!("its answer about the members cannot be read: {detail}"),
            }
        }
        Err(Error::Unreachable { servers: self.servers(), last })
    }

    /// What precedes every request: looks the servers up if it is time, and probes nodes that may be back.
    pub(super) async fn prepare(&self) {
        self.probe_due();
        if self.shared.schedule.is_empty() {
            return;
        }
        self.resolve_first().await;
        if self.shared.schedule.claim(Instant::now()) {
            tokio::spawn(self.clone().look_up());
        }
    }

    /// Sends a probe, in the background, to each node that is due.
    pub(super) fn probe_due(&self) {
        let claimed = self.shared.routes.lock().claim_probes(Instant::now());
        for slot in claimed {
            let client = self.clone();
            // The attempt itself records the outcome.
            tokio::spawn(async move { client.attempt(slot, &Call::get("/leader".into()), PROBE_MAX).await.is_ok() });
        }
    }

    /// Waits for the addresses of the configured names, once.
    async fn resolve_first(&self) {
        let schedule = &self.shared.schedule;
        if schedule.names.is_empty() || schedule.started.load(Ordering::Acquire) {
            return;
        }
        let Ok(_turn) = schedule.first.acquire().await else { return };
        if !schedule.started.load(Ordering::Acquire) {
            let _ = tokio::time::timeout(RESOLVE_MAX, self.resolve()).await;
            schedule.started.store(true, Ordering::Release);
        }
    }

    async fn resolve(&self) {
        let lookups = self.shared.schedule.names.iter().map(|name| async move {
            match (self.shared.options.resolver.0)(name.clone()).await {
                Ok(mut addresses) => {
                    addresses.sort();
                    addresses.dedup();
                    addresses.truncate(ADDRESSES_MAX);
                    let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
                    self.shared.routes.lock().resolved(name, &urls);
                }
                // The connection will look the name up once more, and say what is wrong.
                Err(error) => tracing::debug!(%name, %error, "the addresses of a server are unknown"),
            }
        });
        futures::future::join_all(lookups).await;
    }

    /// A boxed future, because a request begins it and it makes requests.
    fn look_up(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.resolve().await;
            if self.shared.schedule.discover
                && let Err(error) = self.discover().await
            {
                tracing::debug!(%error, "the members are unknown; keeping the servers known so far");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_looked_up() {
        let urls = ["http://10.0.0.1:80", "http://[::1]:80", "http://localhost:80", "http://index.example:8080"];
        assert_eq!(Schedule::new(urls.into_iter(), false).names, ["index.example:8080"]);
        assert!(Schedule::new(urls[..3].iter().copied(), false).is_empty());
        assert!(!Schedule::new(urls[..3].iter().copied(), true).is_empty());
    }

    #[test]
    fn a_lookup_is_due_once_in_its_period() {
        let (schedule, now) = (Schedule::new(std::iter::empty(), true), Instant::now());
        assert!(schedule.claim(now));
        assert!(!schedule.claim(now + LOOKUP_EVERY - Duration::from_millis(1)));
        assert!(schedule.claim(now + LOOKUP_EVERY));
    }
}
