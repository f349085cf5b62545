//! A list of known peers: only these are asked for bytes and, by a serving peer, only their machines get any.
//!
//! ```text
//! laptop              a peer id
//! 10.0.0.7            every peer at this IP address
//! 10.0.0.7:9001       one address; as a URL it means the same
//! ```
//!
//! Invariant: what the list does not name is not allowed. An address is where somebody is reached, not proof of who it
//! is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use raft_store::types::PeerId;

use crate::address::{self, Host, HostPort};

/// Most entries of a list.
pub const ENTRIES_MAX: usize = 1_000;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Peer(PeerId),
    Ip(IpAddr),
    Address(HostPort),
}

/// A list of known peers. Its text is comma-separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
    text: String,
}

impl AllowList {
    /// Whether the list names this peer: by its id, or by the base URL at which it is reached.
    pub fn allows(&self, id: &PeerId, url: &str) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Peer(peer) => peer == id,
            Entry::Ip(_) | Entry::Address(_) => false,
        }) || self.allows_address(url)
    }

    /// Whether the list names this base URL.
    pub fn allows_address(&self, url: &str) -> bool {
        let Some(at) = host_port(url) else { return false };
        self.entries.iter().any(|entry| match entry {
            Entry::Peer(_) => false,
            Entry::Ip(ip) => at.host == Host::Ip(*ip),
            Entry::Address(address) => *address == at,
        })
    }

    /// Whether the list names a peer by its id.
    pub fn names_peers(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Peer(_)))
    }

    /// Whether the list names this peer id.
    pub(crate) fn names(&self, id: &PeerId) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Peer(peer) if peer == id))
    }

    /// Hosts of the addresses in the list.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = Host> + '_ {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Peer(_) => None,
            Entry::Ip(ip) => Some(Host::Ip(*ip)),
            Entry::Address(address) => Some(address.host.clone()),
        })
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for AllowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err("it names nobody; examples: laptop,10.0.0.7:9001".into());
        }
        if parts.len() > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} entries"));
        }
        let entries = parts.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { entries, text: text.to_owned() })
    }
}

/// The host and port of a base URL.
pub(crate) fn host_port(url: &str) -> Option<HostPort> {
    let url = address::base_url(url).ok()?;
    HostPort::parse(url.strip_prefix("http://")?).ok()
}

fn entry(text: &str) -> Result<Entry, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse() {
        return Ok(Entry::Ip(ip));
    }
    if text.contains(':') {
        let url = address::base_url(text).map_err(|error| error.to_string())?;
        return host_port(&url).map(Entry::Address).ok_or_else(|| format!("'{text}' is not an address"));
    }
    PeerId::parse(text).map(Entry::Peer).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_what_it_names_and_nothing_else() {
        let list: AllowList = "laptop, 10.0.0.7,http://10.0.0.8:9001/ ,[::1], Desk.example:90".parse().expect("valid");
        let id = |text: &str| PeerId::parse(text).expect("valid");
        for (peer, url, allowed) in [
            ("laptop", "http://1.2.3.4:5", true),
            ("LAPTOP", "http://1.2.3.4:5", false),
            ("x", "http://10.0.0.7:1", true),
            ("x", "http://10.0.0.8:9001", true),
            ("x", "http://10.0.0.8:9002", false),
            ("x", "http://[::1]:7", true),
            ("x", "http://desk.example:90", true),
            ("x", "http://desk.example:91", false),
            ("x", "not a url", false),
            ("10.0.0.9", "http://10.0.0.9x:1", false),
        ] {
            assert_eq!(list.allows(&id(peer), url), allowed, "{peer} at {url}");
        }
        assert!(list.names_peers() && list.names(&id("laptop")));
        assert_eq!(list.hosts().count(), 4);
    }

    #[test]
    fn half_understood_entries_are_refused() {
        for (text, why) in [
            ("", "nobody"),
            (" , ", "nobody"),
            ("laptop,10.0.0.7:x", "not a number"),
            ("https://a:1", "http only"),
            ("::1:99999:x", "brackets"),
            ("a\tb", "control character"),
        ] {
            let error = text.parse::<AllowList>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
