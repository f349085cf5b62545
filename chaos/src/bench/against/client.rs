//! A client of etcd's JSON gateway, driven by the same loops and over the same connections as ours.
//!
//! Invariant: a lock-and-update cycle counts only if every request of it took effect: the lock was free, and the value
//! was written while the lock was still this client's.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::bench::load::Connection;
use crate::bench::load::drive::{Completed, Worker};
use crate::bench::load::peers::{refusal, text_field};

/// Time to live of the leases, in seconds; as long as ours.
const TTL_S: u64 = 60;
/// Time to live of a session's lease, in seconds: longer than any measurement.
const SESSION_TTL_S: u64 = 3_600;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One put per operation.
    Put,
    /// Lease grant, lock, guarded put, lease revoke: four requests.
    Cycle,
    /// Lock under a lease of the session, guarded put that deletes the lock: two requests.
    SessionCycle,
}

impl Work {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Cycle => "cycle",
            Self::SessionCycle => "session cycle",
        }
    }
}

/// One client with one connection.
#[derive(Debug)]
pub struct EtcdClient {
    host: String,
    connection: Option<Connection>,
    work: Work,
    number: u64,
    sequence: u64,
    session: Option<String>,
    body: String,
}

impl EtcdClient {
    /// A client of the member at `host`.
    pub fn new(host: &str, work: Work, number: u64) -> Self {
        let (host, body) = (host.to_owned(), String::new());
        Self { host, connection: None, work, number, sequence: 0, session: None, body }
    }

    /// Connects, and makes the session's lease if one is needed.
    pub async fn prepare(&mut self) -> Result<(), String> {
        let id = self.grant(SESSION_TTL_S).await?;
        if self.work == Work::SessionCycle {
            self.session = Some(id);
            return Ok(());
        }
        self.revoke(&id).await
    }

    async fn put(&mut self) -> Result<(), String> {
        let key = base64(format!("load/p-{}/{}", self.number, self.sequence).as_bytes());
        let value = self.value();
        self.body.clear();
        let _ = write!(self.body, r#"{{"key":"{key}","value":"{value}"}}"#);
        self.send("/v3/kv/put").await.map(|_| ())
    }

    async fn cycle(&mut self) -> Result<(), String> {
        let lease = self.grant(TTL_S).await?;
        let revision = self.lock(&lease).await?;
        self.guarded_put(&revision, false).await?;
        self.revoke(&lease).await
    }

    async fn session_cycle(&mut self) -> Result<(), String> {
        let lease = self.session.clone().ok_or("there is no session")?;
        let revision = self.lock(&lease).await?;
        self.guarded_put(&revision, true).await
    }

    async fn grant(&mut self, ttl_s: u64) -> Result<String, String> {
        self.body.clear();
        let _ = write!(self.body, r#"{{"TTL":"{ttl_s}"}}"#);
        let answer = self.send("/v3/lease/grant").await?;
        text_field(answer, "ID").map(str::to_owned).ok_or_else(|| "no lease was granted".into())
    }

    async fn revoke(&mut self, lease: &str) -> Result<(), String> {
        self.body.clear();
        let _ = write!(self.body, r#"{{"ID":"{lease}"}}"#);
        self.send("/v3/lease/revoke").await.map(|_| ())
    }

    /// Creates the lock's key if it is absent; its revision.
    async fn lock(&mut self, lease: &str) -> Result<String, String> {
        let key = self.lock_key();
        self.body.clear();
        let _ = write!(
            self.body,
            r#"{{"compare":[{{"key":"{key}","target":"CREATE","result":"EQUAL","create_revision":"0"}}],"success":[{{"request_put":{{"key":"{key}","value":"bA==","lease":"{lease}"}}}}]}}"#
        );
        let answer = self.transact("the lock was taken").await?;
        text_field(answer, "revision").map(str::to_owned).ok_or_else(|| "an answer without a revision".into())
    }

    /// Writes the value if the lock is still the one of that revision.
    async fn guarded_put(&mut self, revision: &str, unlock: bool) -> Result<(), String> {
        let (lock, key, value) = (self.lock_key(), base64(format!("load/c-{}", self.number).as_bytes()), self.value());
        self.body.clear();
        let _ = write!(
            self.body,
            r#"{{"compare":[{{"key":"{lock}","target":"CREATE","result":"EQUAL","create_revision":"{revision}"}}],"success":[{{"request_put":{{"key":"{key}","value":"{value}"}}}}"#
        );
        if unlock {
            let _ = write!(self.body, r#",{{"request_delete_range":{{"key":"{lock}"}}}}"#);
        }
        self.body.push_str("]}");
        self.transact("the lock was lost").await.map(|_| ())
    }

    async fn transact(&mut self, otherwise: &str) -> Result<&str, String> {
        let answer = self.send("/v3/kv/txn").await?;
        if answer.contains("\"succeeded\":true") { Ok(answer) } else { Err(otherwise.to_owned()) }
    }

    fn lock_key(&self) -> String {
        base64(format!("lock/c-{}", self.number).as_bytes())
    }

    /// About what an announcement says besides its name.
    fn value(&self) -> String {
        let (number, sequence) = (self.number, self.sequence);
        base64(format!(r#"{{"peerId":"load-p-{number}","size":1,"hash":"{sequence:064x}"}}"#).as_bytes())
    }

    async fn send(&mut self, path: &str) -> Result<&str, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.host).await.map_err(|error| format!("connect: {}", error.kind()))?,
        };
        let status = connection.send("POST", path, "", &self.body).await;
        let status = status.map_err(|error| format!("connection: {}", error.kind()))?;
        let connection = self.connection.insert(connection);
        if status == 200 {
            std::str::from_utf8(connection.body()).map_err(|error| error.to_string())
        } else {
            Err(refusal(status, connection.body()))
        }
    }
}

impl Worker for EtcdClient {
    async fn once(&mut self) -> Completed {
        self.sequence += 1;
        let result = match self.work {
            Work::Put => self.put().await,
            Work::Cycle => self.cycle().await,
            Work::SessionCycle => self.session_cycle().await,
        };
        Completed { kind: self.work.name(), result: result.map(|()| 1) }
    }

    fn reset(&mut self) {
        self.connection = None;
    }
}

/// The gateway wants bytes in base64 (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_encoded_as_the_standard_says() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_value_is_about_as_large_as_an_announcement() {
        let value = EtcdClient::new("a:1", Work::Put, 12).value();
        assert!((100..200).contains(&value.len()), "{}", value.len());
    }
}
