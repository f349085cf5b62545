//! Every setting of a node with its default, checked once at the start.
//!
//! Invariant: a node runs only with a [`Config`] that `validate` has checked, relations between timeouts included.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use raft_store::types::{NodeId, limits};
use serde::{Deserialize, Serialize};

/// Largest request body, in bytes (API conventions).
pub const BODY_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Bytes of an oversized body that are read and thrown away so that its sender still gets the answer.
pub const BODY_BYTES_DRAINED_MAX: usize = 256 * 1_024 * 1_024;
/// How long a read waits for `min_index` before it answers `too_stale` (R3).
pub const MIN_INDEX_WAIT: Duration = Duration::from_secs(2);
/// How long a write or a strong read may take before it answers (R4); below the 5 s of the contract.
pub const REQUEST_DEADLINE: Duration = Duration::from_millis(4_500);
/// How long a request waits for a leader to appear before it answers `no_quorum`.
pub const LEADER_WAIT: Duration = Duration::from_millis(3_000);
/// Longest address of a node, in bytes; a host name has at most 253.
pub const ADDRESS_BYTES_MAX: usize = 300;
/// Longest time a heartbeat or a lease request may hang, in milliseconds.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Hits of one search at most.
pub const SEARCH_LIMIT_MAX: usize = 1_000;

/// One listed member of a cluster that is to be founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSpec {
    /// Its node id.
    pub id: NodeId,
    /// `host:port`.
    pub address: String,
}

impl std::str::FromStr for MemberSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, address) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not ID=HOST:PORT, for example 1=127.0.0.1:8080"))?;
        let id = id.trim().parse().map_err(|_| format!("'{id}' in '{text}' is no node id; ids are numbers from 1"))?;
        if id == 0 {
            return Err("node ids start at 1".into());
        }
        check_address(address)?;
        Ok(Self { id, address: address.to_owned() })
    }
}

/// Checks the form `host:port`. An IPv6 address must be in brackets, and port 0 is refused.
pub fn check_address(address: &str) -> Result<(), String> {
    match host_port(address)? {
        (_, 0) => Err(format!("'{address}' has port 0, which reaches nobody; name the port the node listens on")),
        _ => Ok(()),
    }
}

fn host_port(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("'{address}' is not HOST:PORT, for example 127.0.0.1:8080");
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(format!("an address has at most {ADDRESS_BYTES_MAX} bytes, this one has {}", address.len()));
    }
    if address.contains("://") {
        return Err(format!("'{address}' is a URL; pass HOST:PORT alone, for example 127.0.0.1:8080"));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.contains(':') && in_brackets.is_none_or(|host| host.parse::<std::net::Ipv6Addr>().is_err()) {
        return Err(format!("'{address}': an IPv6 address stands in brackets, for example [::1]:8080"));
    }
    let port = port.parse().map_err(|_| wrong())?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if in_brackets.is_none() && (host.is_empty() || !host.chars().all(is_name)) {
        return Err(wrong());
    }
    Ok((host, port))
}

/// The address that `--listen` means. A host name is resolved, and its IPv4 address preferred.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    host_port(text)?;
    let unknown =
        |error: std::io::Error| format!("'{text}': the host name is not known here ({error}); pass an IP address");
    let found: Vec<_> = text.to_socket_addrs().map_err(unknown)?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("'{text}': the host name has no address; pass an IP address"))
}

/// Checks the base URL of a server, such as `http://127.0.0.1:8080`.
pub fn check_server(url: &str) -> Result<(), String> {
    let wrong = || format!("'{url}' is not the base URL of a node, for example http://127.0.0.1:8080");
    let address = match url.split_once("://") {
        Some(("http", address)) => address,
        Some(("https", _)) => return Err(format!("'{url}': this build speaks http between nodes, not https")),
        Some(_) => return Err(wrong()),
        None => return Err(format!("'{url}' has no scheme; pass http://{url}")),
    };
    check_address(address.trim_end_matches('/')).map_err(|reason| format!("{}: {reason}", wrong()))
}

/// A setting's name on the command line, its value, and the shortest and longest it may be.
type Bounded = (&'static str, fn(&Config) -> Duration, Duration, Duration);
/// Lower bounds leave a leader time to hear from its followers; upper bounds keep any wait below a day.
const DURATIONS: [Bounded; 5] = [
    (
        "--lease-ttl",
        |config| config.lease_ttl,
        Duration::from_millis(limits::LEASE_TTL_MS_MIN),
        Duration::from_millis(limits::LEASE_TTL_MS_MAX),
    ),
    ("--peer-ttl", |config| config.peer_ttl, Duration::from_millis(100), Duration::from_secs(24 * 60 * 60)),
    ("--grace", |config| config.grace, Duration::ZERO, Duration::from_secs(24 * 60 * 60)),
    ("--heartbeat", |config| config.heartbeat, Duration::from_millis(1), Duration::from_secs(10)),
    ("--election", |config| config.election.1, Duration::from_millis(10), Duration::from_secs(60)),
];
/// Most copies that a file may be asked to have.
const REPLICAS_MAX: u32 = 100;
/// Most voters: each further one makes every write wait for one more disk (C2).
const MEMBERS_MAX: usize = 9;
/// The shortest time for which a leader counts as known without being heard from.
const LEADER_WORD_MIN: Duration = Duration::from_secs(1);

/// How a node comes to belong to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// It waits for `init`, or already belongs to one.
    Wait,
    /// It founds the cluster together with the listed members, once all of them answer.
    Found {
        /// All founding members, this node among them.
        members: Vec<MemberSpec>,
    },
    /// It asks a member of a running cluster to add it as a learner.
    Join {
        /// Base URLs of members.
        servers: Vec<String>,
        /// Stay a learner.
        learner: bool,
    },
}

impl Bootstrap {
    /// The listed members; none unless the node founds a cluster. If the directory belongs to a cluster already, they
    /// are hints where to find its members (C4).
    pub fn members(&self) -> &[MemberSpec] {
        match self {
            Self::Found { members } => members,
            Self::Wait | Self::Join { .. } => &[],
        }
    }

    /// `host:port` of every node that the command line names.
    pub fn addresses(&self) -> Vec<String> {
        match self {
            Self::Found { members } => members.iter().map(|member| member.address.clone()).collect(),
            Self::Join { servers, .. } => servers.iter().filter_map(|server| host_and_port(server)).collect(),
            Self::Wait => Vec::new(),
        }
    }
}

/// `host:port` of a base URL.
fn host_and_port(url: &str) -> Option<String> {
    let uri: hyper::Uri = url.trim_end_matches('/').parse().ok()?;
    let authority = uri.authority()?;
    Some(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)))
}

/// A node's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its identity in the cluster.
    pub id: NodeId,
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How others reach it; the listening address if absent.
    pub advertise: Option<String>,
    /// Its data directory.
    pub data: PathBuf,
    /// How it comes to belong to a cluster.
    pub bootstrap: Bootstrap,
    /// Default number of live copies, proposed when the cluster is founded (M1).
    pub replicas: u32,
    /// Default lease duration (L1).
    pub lease_ttl: Duration,
    /// Silence after which a peer expires (P3).
    pub peer_ttl: Duration,
    /// Planner's pause after an election (P4).
    pub grace: Duration,
    /// Raft heartbeat interval.
    pub heartbeat: Duration,
    /// Shortest and longest election timeout.
    pub election: (Duration, Duration),
    /// Entries after which a snapshot is taken; if absent, one is taken when the log has outgrown the last one.
    pub snapshot_every: Option<u64>,
    /// Answer 403 `not_leader` instead of forwarding (W2).
    pub reject_writes_on_followers: bool,
    /// Serve the wire format of the original under `/v0`.
    pub v0: bool,
    /// Serve beyond loopback without credentials.
    pub insecure: bool,
}

impl Config {
    /// Checks every relation; the error says what to pass instead.
    pub fn validate(&self) -> Result<(), String> {
        if self.id == 0 {
            return Err("--id must be 1 or greater".into());
        }
        if let Some(advertise) = &self.advertise {
            check_address(advertise)?;
        }
        if !self.listen.ip().is_loopback() && !self.insecure {
            return Err(format!(
                "--listen {} is reachable from other machines, and this node has no credentials to ask for; \
                 listen on 127.0.0.1, or pass --insecure if everybody who can reach it may change everything",
                self.listen
            ));
        }
        if self.listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(format!(
                "--listen {} is a wildcard address; pass --advertise HOST:PORT with the address that others should use",
                self.listen
            ));
        }
        if self.heartbeat * 2 > self.election.0 || self.election.0 >= self.election.1 {
            return Err(format!(
                "the election timeout ({:?}..{:?}) must be a range that starts at twice the heartbeat ({:?}) or later",
                self.election.0, self.election.1, self.heartbeat
            ));
        }
        for (name, value, least, most) in DURATIONS {
            let value = value(self);
            if value < least || value > most {
                return Err(format!("{name} is {value:?}; it must be from {least:?} to {most:?}"));
            }
        }
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Err(format!("--replicas is {}; it must be from 1 to {REPLICAS_MAX}", self.replicas));
        }
        if self.snapshot_every == Some(0) {
            return Err("--snapshot-every must be 1 or greater".into());
        }
        self.validate_bootstrap()
    }

    fn validate_bootstrap(&self) -> Result<(), String> {
        let members = match &self.bootstrap {
            Bootstrap::Found { members } => members,
            Bootstrap::Join { servers, .. } => return servers.iter().try_for_each(|server| check_server(server)),
            Bootstrap::Wait => return Ok(()),
        };
        if members.len() > MEMBERS_MAX {
            return Err(format!(
                "--members names {} nodes; a cluster is founded by {MEMBERS_MAX} at most, and grows by --join --learner",
                members.len()
            ));
        }
        let mut ids: Vec<_> = members.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != members.len() {
            return Err("--members names a node id twice".into());
        }
        let mut addresses: Vec<_> = members.iter().map(|member| &member.address).collect();
        addresses.sort_unstable();
        if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("--members names the address {} twice", pair[0]));
        }
        if !ids.contains(&self.id) {
            return Err(format!("--members does not name this node (--id {})", self.id));
        }
        Ok(())
    }

    /// How long a leader counts as known after the newest moment at which a majority had confirmed it (R5): three
    /// of the longest election timeouts, so that it fits slow links as well, and a second at least, so that a
    /// busy machine does not make it flicker.
    pub fn leader_word_max(&self) -> Duration {
        (3 * self.election.1).max(LEADER_WORD_MIN)
    }

    /// The address other nodes and clients are told.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| bound.to_string())
    }
}
