//! Which machines a serving peer sends bytes to, if its owner gave an allow list.
//!
//! A request shows only the IP address that it comes from. So the list is turned into IP addresses: those it states,
//! those its host names stand for, and those at which the index reaches the peers that it names.
//!
//! Invariants: a caller that the list does not lead to gets nothing but a refusal. When the index does not answer, what
//! was known before goes on to count.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;

use super::server::refuse;
use crate::address::Host;
use crate::cluster::IndexClient;
use crate::contract::ErrorCode;
use crate::download::allow::{AllowList, host_port};

/// How long the addresses count before they are looked up again.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Shortest time between two lookups, which unknown callers cause.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);
/// Time limit of a lookup.
const LOOKUP_MAX: Duration = Duration::from_secs(2);

/// Decides about callers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    list: Arc<AllowList>,
    client: IndexClient,
    known: Mutex<Known>,
    /// One lookup at a time.
    turn: tokio::sync::Semaphore,
}

#[derive(Default)]
struct Known {
    ips: HashSet<IpAddr>,
    at: Option<Instant>,
}

impl Guard {
    pub(super) fn new(list: Arc<AllowList>, client: &IndexClient) -> Self {
        let client = client.with_deadline(LOOKUP_MAX);
        Self(Arc::new(Inner { list, client, known: Mutex::default(), turn: tokio::sync::Semaphore::new(1) }))
    }

    /// Whether this machine may have bytes.
    pub(super) async fn admits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let answer = |known: &Known| {
            let age = known.at.map(|at| at.elapsed());
            match known.ips.contains(&ip) {
                true if age.is_some_and(|age| age < KNOWN_FOR) => Some(true),
                is_known => age.filter(|age| *age < LOOKUP_PAUSE).map(|_| is_known),
            }
        };
        if let Some(answer) = answer(&self.0.known.lock()) {
            return answer;
        }
        let Ok(_turn) = self.0.turn.acquire().await else { return false };
        if let Some(answer) = answer(&self.0.known.lock()) {
            return answer;
        }
        let found = self.look_up().await;
        let mut known = self.0.known.lock();
        if let Some(ips) = found {
            known.ips = ips;
        }
        known.at = Some(Instant::now());
        known.ips.contains(&ip)
    }

    /// `None` if the index does not answer.
    async fn look_up(&self) -> Option<HashSet<IpAddr>> {
        let Inner { list, client, .. } = &*self.0;
        let mut hosts: Vec<Host> = list.hosts().collect();
        if list.names_peers() {
            match client.peers().await {
                Ok(peers) => {
                    let named = peers.value.iter().filter(|peer| list.names(&peer.id));
                    hosts.extend(named.filter_map(|peer| host_port(&peer.address)).map(|at| at.host));
                }
                Err(error) => {
                    tracing::debug!(%error, "the addresses of the allowed peers are unknown at the moment");
                    return None;
                }
            }
        }
        let mut ips = HashSet::new();
        for host in hosts {
            match host {
                Host::Ip(ip) => drop(ips.insert(ip.to_canonical())),
                Host::Name(name) => match tokio::net::lookup_host((name.as_str(), 0)).await {
                    Ok(found) => ips.extend(found.map(|address| address.ip().to_canonical())),
                    Err(error) => tracing::debug!(%name, %error, "an allowed host has no address at the moment"),
                },
            }
        }
        Some(ips)
    }
}

/// Refuses callers that the guard does not admit.
pub(super) async fn check(
    State(guard): State<Guard>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if guard.admits(from.ip()).await {
        return next.run(request).await;
    }
    let detail = "this peer serves only the hosts that its --allow-peers names";
    refuse(StatusCode::FORBIDDEN, ErrorCode::Forbidden, detail)
}
