//! Raw HTTP requests to chosen nodes, and what their answers prove.
//!
//! Invariant: a request counts as refused only if no connection came about or an error body of
//! the contract says so (W5).

use std::sync::Arc;
use std::time::Duration;

use client::contract::{AppliedState, Problem, headers};
use raft_store::types::NodeId;
use serde_json::Value;

use super::code_text;
use super::txn::applied_answer;
use super::write::Write;
use crate::history::{Answer, Seen};

/// The code of a request for which no connection came about.
pub(crate) const UNREACHABLE: &str = "unreachable";

/// Sends raw requests and reads their outcome.
#[derive(Debug, Clone)]
pub struct RawClient {
    http: reqwest::Client,
    servers: Arc<Vec<String>>,
}

/// What a raw request came to.
#[derive(Debug)]
pub enum RawOutcome {
    /// A 2xx answer.
    Ok(Value, Option<Seen>),
    /// An answer that proves that nothing was applied: its code, and in words.
    Refused(String, String),
    /// Everything else.
    Unknown(String),
}

/// What a read came to, and whose state answered it, a refusal too.
pub(crate) type Heard = (RawOutcome, Option<Seen>);

impl RawClient {
    /// A client of these base URLs.
    pub fn new(servers: Arc<Vec<String>>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { http, servers })
    }

    /// One POST to server number `server`, counted from 0.
    pub async fn post(
        &self,
        server: usize,
        path: &str,
        body: &Value,
        key: Option<&str>,
        limit: Duration,
    ) -> RawOutcome {
        let mut request = self.http.post(self.address(server, path)).json(body).timeout(limit);
        if let Some(key) = key {
            request = request.header(headers::IDEMPOTENCY_KEY, key);
        }
        outcome(request.send().await).await.0
    }

    /// One write to server number `server`.
    pub(crate) async fn write(&self, server: usize, write: &Write, key: Option<&str>, limit: Duration) -> RawOutcome {
        self.post(server, write.path, &write.body, key, limit).await
    }

    /// One GET from server number `server`, counted from 0.
    pub async fn get(&self, server: usize, path: &str, query: &[(&str, &str)], limit: Duration) -> RawOutcome {
        self.ask(server, path, query, limit).await.0
    }

    /// The same, with who answered.
    pub(crate) async fn ask(&self, server: usize, path: &str, query: &[(&str, &str)], limit: Duration) -> Heard {
        outcome(self.http.get(self.address(server, path)).query(query).timeout(limit).send().await).await
    }

    fn address(&self, server: usize, path: &str) -> String {
        let count = self.servers.len().max(1);
        format!("{}{path}", self.servers.get(server % count).map_or("", String::as_str))
    }
}

async fn outcome(result: reqwest::Result<reqwest::Response>) -> Heard {
    let response = match result {
        Ok(response) => response,
        Err(error) if error.is_connect() => return (RawOutcome::Refused(UNREACHABLE.into(), error.to_string()), None),
        Err(error) => return (RawOutcome::Unknown(error.to_string()), None),
    };
    let success = response.status().is_success();
    let seen = seen(&response);
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return (RawOutcome::Unknown(error.to_string()), None),
    };
    (outcome_of(success, &body, seen.clone()), seen)
}

/// What a whole answer proves.
pub(crate) fn outcome_of(success: bool, body: &[u8], seen: Option<Seen>) -> RawOutcome {
    if success {
        let body = if body.is_empty() { b"null" } else { body };
        return match serde_json::from_slice(body) {
            Ok(value) => RawOutcome::Ok(value, seen),
            Err(error) => RawOutcome::Unknown(error.to_string()),
        };
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.applied == Some(AppliedState::Unknown) => RawOutcome::Unknown(problem.detail),
        Ok(problem) => RawOutcome::Refused(code_text(problem.code), problem.detail),
        Err(_) => RawOutcome::Unknown("an error without an error body".into()),
    }
}

fn seen(response: &reqwest::Response) -> Option<Seen> {
    let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let node: NodeId = text(headers::NODE)?.parse().ok()?;
    let applied = text(headers::APPLIED)?.parse().ok()?;
    let index = text(headers::INDEX).and_then(|index| index.parse().ok());
    Some(Seen { node, boot: text(headers::BOOT)?.to_owned(), applied, index })
}

/// The answer to a write.
pub(crate) fn write_answer(value: &Value) -> Option<Answer> {
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    match value.get("granted").and_then(Value::as_bool) {
        Some(true) => Some(Answer::Granted {
            fence: number("fencingToken")?,
            ttl_ms: number("ttlMs")?,
            version: number("version")?,
            sent: None,
        }),
        Some(false) => {
            let holder = value.get("holder").and_then(Value::as_str)?.to_owned();
            Some(Answer::Denied { holder, position: number("position") })
        }
        None if value.is_null() || value.get("incarnation").is_some() => Some(Answer::Done),
        None if value.get("txn").is_some() => applied_answer(value),
        None => number("version").map(|version| Answer::Published { version }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let grant = json!({"granted": true, "fencingToken": 7, "ttlMs": 5, "version": 0, "leaseToken": "x"});
        assert_eq!(write_answer(&grant), Some(Answer::Granted { fence: 7, ttl_ms: 5, version: 0, sent: None }));
        let denied = json!({"granted": false, "holder": "p", "remainingMs": 1});
        assert_eq!(write_answer(&denied), Some(Answer::Denied { holder: "p".into(), position: None }));
        let published = json!({"ok": true, "version": 3, "tasks": []});
        assert_eq!(write_answer(&published), Some(Answer::Published { version: 3 }));
        assert_eq!(write_answer(&json!({"ok": true, "incarnation": 3, "tasks": []})), Some(Answer::Done));
        assert_eq!(write_answer(&Value::Null), Some(Answer::Done));
        assert_eq!(write_answer(&json!({"granted": true})), None);
    }

    #[tokio::test]
    async fn a_connection_that_never_came_about_proves_that_nothing_was_applied() {
        let port = node::testbed::free_ports(1).expect("a free port")[0];
        let servers = Arc::new(vec![format!("http://127.0.0.1:{port}")]);
        let raw = RawClient::new(servers).expect("a client");
        let outcome = raw.post(0, "/lease", &json!({}), None, Duration::from_secs(9)).await;
        assert!(matches!(outcome, RawOutcome::Refused(code, _) if code == "unreachable"));
    }
}
