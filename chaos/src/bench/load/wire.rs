//! In which format a load asks: that of the contract, or that of the original's clients below `/v0`.
//!
//! Invariant: a kind of operation that a format does not have is refused before anything is started.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::mix::{Mix, OperationKind};

/// The address of a peer that nobody fetches from.
const ADDRESS: &str = "http://127.0.0.1:9";
/// What the original's clients send for a moment that they leave to the server.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// The contract's.
    #[default]
    Native,
    /// The original's, below /v0.
    V0,
}

impl Wire {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Native, Self::V0];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::V0 => "v0",
        }
    }

    /// What every path begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Native => "",
            Self::V0 => "/v0",
        }
    }

    /// Whether writes have idempotency keys.
    pub fn has_keys(self) -> bool {
        self == Self::Native
    }

    /// Refuses a mix with kinds that this format does not have.
    pub fn check(self, mix: &Mix) -> Result<(), String> {
        let lacks =
            |kind: &OperationKind| matches!(kind, OperationKind::Batch | OperationKind::Txn | OperationKind::File);
        match mix.kinds().find(|kind| self == Self::V0 && lacks(kind)) {
            Some(kind) => Err(format!("the wire format {} has no operation {}", self.name(), kind.name())),
            None => Ok(()),
        }
    }

    /// Begins the body of a registration or an announcement, without its end.
    pub(super) fn peer(self, body: &mut String, id: &str, serving: bool, register: bool) {
        // Nothing that is written into memory fails.
        let _ = match (self, register) {
            (Self::Native, false) => write!(body, r#"{{"peerId":"{id}""#),
            (Self::Native, true) => {
                write!(body, r#"{{"peerId":"{id}","address":"{ADDRESS}","serving":{serving}"#)
            }
            (Self::V0, _) => {
                write!(body, r#"{{"peer":{{"id":"{id}","addr":"{ADDRESS}","lastSeen":"{ZERO_TIME}"}}"#)
            }
        };
    }

    /// A file in such a body; a version is named only where one has to be.
    pub(super) fn file(self, body: &mut String, name: &str, version: u64, hash: &str) {
        let _ = match self {
            Self::Native => write!(body, r#"{{"name":"{name}","size":1,"hash":"{hash}"}}"#),
            Self::V0 => write!(body, r#"{{"name":"{name}","size":1,"hash":"{hash}","version":{version}}}"#),
        };
    }

    /// Whether the answer to a search or to a question about holders has something in it.
    pub(super) fn is_found(self, answer: &[u8]) -> bool {
        match self {
            Self::Native => answer != b"[]",
            // Either the list of matches or that of holders.
            Self::V0 => answer.windows(3).any(|window| window == b":[{"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_that_the_originals_clients_do_not_have_are_refused() {
        let mix = |text: &str| text.parse::<Mix>().expect("a mix");
        assert!(Wire::V0.check(&mix("register,search,announce,cycle,heartbeat,peers")).is_ok());
        assert!(Wire::Native.check(&mix("batch,file")).is_ok());
        let error = Wire::V0.check(&mix("search,batch")).expect_err("no batches");
        assert!(error.contains("v0 has no operation batch"), "{error}");
    }

    #[test]
    fn an_answer_without_a_match_is_told_from_one_with_matches() {
        assert!(!Wire::Native.is_found(b"[]") && Wire::Native.is_found(b"[{}]"));
        for nothing in [&br#"{"matches":[]}"#[..], br#"{"matches":null}"#, br#"{"file":{"name":"x"},"peers":[]}"#] {
            assert!(!Wire::V0.is_found(nothing), "{}", String::from_utf8_lossy(nothing));
        }
        assert!(Wire::V0.is_found(br#"{"matches":[{"file":{},"peers":[]}]}"#));
    }

    #[test]
    fn the_originals_bodies_have_its_fields_and_no_others() {
        let mut body = String::new();
        Wire::V0.peer(&mut body, "p", true, true);
        body.push_str(",\"files\":[");
        Wire::V0.file(&mut body, "a/b", 3, "");
        body.push_str("]}");
        let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let peer = serde_json::json!({"id": "p", "addr": ADDRESS, "lastSeen": ZERO_TIME});
        let file = serde_json::json!({"name": "a/b", "size": 1, "hash": "", "version": 3});
        assert_eq!(json, serde_json::json!({"peer": peer, "files": [file]}));
    }
}
