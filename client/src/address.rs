//! Addresses as people type them: `HOST:PORT` to listen on or to reach a member at, and base URLs of servers.
//!
//! Invariant: every option of both programs that takes an address uses this module, so the same text means the same
//! everywhere. Ambiguous text is refused with examples that work. Nothing here resolves names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest host name, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Why a text is not a usable address. `Display` is the message for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a usable address: {why}; examples: {examples}")]
pub struct AddressError {
    text: String,
    why: String,
    examples: &'static str,
}

const HOST_PORTS: &str = "127.0.0.1:8080, localhost:8080, [::1]:8080";
const URLS: &str = "http://127.0.0.1:8080, localhost:8080, http://[::1]:8080";

/// A host, by name or IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A name, in lower case.
    Name(String),
}

impl Host {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }

    /// Whether it is a wildcard address, which can be listened on but not connected to.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_unspecified())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `HOST:PORT`; an IPv6 address is in brackets. `Display` is a form that [`HostPort::parse`] and `ToSocketAddrs` read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port; where listening, 0 picks a free one.
    pub port: u16,
}

impl HostPort {
    /// Reads `HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bad = |why: &str| AddressError { text: text.to_owned(), why: why.to_owned(), examples: HOST_PORTS };
        if text.contains("://") {
            return Err(bad("it is a URL, but HOST:PORT is expected here"));
        }
        split(text).map_err(|why| bad(&why))
    }

    /// Like [`HostPort::parse`]; `:PORT` means that port on `host`.
    pub fn parse_or_port_of(text: &str, host: IpAddr) -> Result<Self, AddressError> {
        if text.starts_with(':') && !text.starts_with("::") {
            return Ok(Self { host: Host::Ip(host), ..Self::parse(&format!("0.0.0.0{text}"))? });
        }
        Self::parse(text)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// An address to listen on: `HOST:PORT`, or `:PORT` for loopback; port 0 picks a free port.
pub fn listen(text: &str) -> Result<HostPort, AddressError> {
    HostPort::parse_or_port_of(text, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// A base URL, `http://HOST:PORT` without a trailing slash. A bare `HOST:PORT` means `http`.
pub fn base_url(text: &str) -> Result<String, AddressError> {
    let bad = |why: &str| AddressError { text: text.to_owned(), why: why.to_owned(), examples: URLS };
    let reachable = |address: HostPort| match address.port {
        0 => Err(bad("port 0 cannot be connected to")),
        _ => Ok(format!("http://{address}")),
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return reachable(split(text).map_err(|why| bad(&why))?);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => return Err(bad("this version supports http only")),
        _ => return Err(bad("only http URLs are supported")),
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(bad("it has a path; give only the scheme, host and port"));
    }
    if rest.contains('@') {
        return Err(bad("it has a user name; pass a token with RAFTSHARE_TOKEN"));
    }
    // Without a port, a URL means port 80.
    let has_port = rest.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let whole = if has_port { rest.to_owned() } else { format!("{rest}:80") };
    reachable(split(&whole).map_err(|why| bad(&why))?)
}

/// A base URL that others can connect to, so not a wildcard address.
pub fn reachable_url(text: &str) -> Result<String, AddressError> {
    let url = base_url(text)?;
    let bad = |why: &str| AddressError { text: text.to_owned(), why: why.to_owned(), examples: URLS };
    let address = split(url.trim_start_matches("http://")).map_err(|why| bad(&why))?;
    if address.host.is_wildcard() {
        return Err(bad("it is a wildcard address; give the address that others connect to"));
    }
    Ok(url)
}

/// A comma-separated list of base URLs, at least one.
pub fn base_urls(text: &str) -> Result<Vec<String>, AddressError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        let why = "no server is given".to_owned();
        return Err(AddressError { text: text.to_owned(), why, examples: URLS });
    }
    parts.into_iter().map(base_url).collect()
}

fn split(text: &str) -> Result<HostPort, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
            let port = after.strip_prefix(':').ok_or("the port is missing")?;
            let ip = Ipv6Addr::from_str(ip).map_err(|_| "the text in brackets is no IPv6 address")?;
            (Host::Ip(IpAddr::V6(ip)), port)
        }
        None => {
            if text.matches(':').count() > 1 {
                return Err("an IPv6 address needs brackets, with the port after them".into());
            }
            let (host, port) = text.split_once(':').ok_or("the port is missing")?;
            (name_or_v4(host)?, port)
        }
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or("the port is not a number from 0 to 65535")?;
    Ok(HostPort { host, port })
}

fn name_or_v4(host: &str) -> Result<Host, String> {
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    if let Ok(ip) = Ipv4Addr::from_str(host) {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if host.len() > HOST_BYTES_MAX || !host.bytes().all(is_name) || numeric {
        return Err("the host is neither a name nor an IP address".into());
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_host_and_a_port() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("localhost:0", "localhost:0"),
            ("Node-1.Example:80", "node-1.example:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("[0:0:0:0:0:0:0:1]:8080", "[::1]:8080"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
        ] {
            let parsed = HostPort::parse(text).expect(text);
            assert_eq!(parsed.to_string(), expected);
            assert_eq!(HostPort::parse(expected), Ok(parsed));
        }
        assert_eq!(listen(":9001").expect("loopback").to_string(), "127.0.0.1:9001");
        assert!(listen("localhost:1").expect("a name").host.is_loopback());
        assert!(!listen("0.0.0.0:1").expect("any").host.is_loopback());
    }

    #[test]
    fn what_is_half_understood_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "port is missing"),
            ("localhost", "port is missing"),
            (":8080", "host is missing"),
            ("localhost:", "not a number"),
            ("localhost:+80", "not a number"),
            ("localhost:65536", "not a number"),
            ("::1", "brackets"),
            ("::1:8080", "brackets"),
            ("[::1]", "port is missing"),
            ("[::1:8080", "not closed"),
            ("[localhost]:1", "no IPv6"),
            ("1.2.3:80", "neither a name"),
            ("1.2.3.256:80", "neither a name"),
            ("a b:80", "neither a name"),
            ("http://localhost:80", "is a URL"),
        ] {
            let error = HostPort::parse(text).expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("[::1]:8080"), "{text}: {error}");
        }
        assert!(listen(":").is_err() && listen("::1").is_err());
    }

    #[test]
    fn base_urls_have_one_form() {
        for (text, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("HTTP://Localhost:8080/", "http://localhost:8080"),
            ("http://node-1", "http://node-1:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]:80"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(base_url(text).expect(text), expected);
        }
        for (text, why) in [
            ("https://a:1", "http only"),
            ("ftp://a:1", "only http"),
            ("http://a:1/x", "path"),
            ("http://a:1?x", "path"),
            ("http://u@a:1", "user name"),
            ("http://:1", "host is missing"),
            ("http://a:0", "port 0"),
            ("::1", "brackets"),
            ("http://::1", "brackets"),
            ("localhost", "port is missing"),
        ] {
            let error = base_url(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(base_urls("a:1, b:2,").expect("two"), ["http://a:1", "http://b:2"]);
        assert!(base_urls(" , ").is_err());
        assert!(reachable_url("0.0.0.0:1").is_err() && reachable_url("a:0").is_err());
        assert_eq!(reachable_url("a:1").expect("one"), "http://a:1");
    }
}
