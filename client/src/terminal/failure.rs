//! The failure of a command: what is wrong, why, and what to do next.
//!
//! Invariant: an unknown outcome has the exit code of a timeout, never that of a success or a refusal (W5).

use std::fmt;

use serde::Serialize;

use super::Exit;
use crate::cluster::Error;
use crate::contract::ErrorCode;

/// The failure of a command.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub exit: Exit,
    /// What is wrong and why, in one sentence.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The code of the API, if a server refused.
    pub code: Option<ErrorCode>,
}

/// A failure as one JSON object.
#[derive(Serialize)]
struct FailureJson<'a> {
    code: serde_json::Value,
    message: &'a str,
    hint: Option<&'a str>,
    exit: u8,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None, code: None }
    }

    /// The failure as one JSON object with `code`, `message`, `hint` and `exit`.
    pub fn to_json(&self) -> String {
        let named = self.code.filter(|code| *code != ErrorCode::Unknown);
        let code = named.and_then(|code| serde_json::to_value(code).ok()).unwrap_or_else(|| self.exit.name().into());
        let hint = self.hint.as_deref();
        let json = FailureJson { code, message: &self.what, hint, exit: self.exit as u8 };
        serde_json::to_string(&json).unwrap_or_default()
    }

    /// Adds a hint: the next command to type, or the next thing to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  {hint}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Unknown { .. } => Some(ErrorCode::OutcomeUnknown),
            _ => error.code(),
        };
        let failure = Self { code, ..Self::new(exit_of(&error), error.to_string()) };
        match (&error, error.code()) {
            (Error::Unreachable { .. }, _) => failure.hint("start a cluster:  raftshare-node dev --nodes 3"),
            (_, Some(ErrorCode::NotInitialized)) => {
                failure.hint("create the cluster first:  raftshare-node init --node URL --members 1=H:P,…")
            }
            (_, Some(ErrorCode::NoQuorum)) => failure.hint("see which nodes are down:  raftshare status"),
            (_, Some(ErrorCode::MembershipRefused)) => failure.hint("see which nodes are up:  raftshare-node status"),
            (_, Some(ErrorCode::Unauthorized)) => failure.hint("pass the cluster's join token in RAFTSHARE_TOKEN"),
            (_, Some(ErrorCode::NotFound)) => failure.hint("list all files:  raftshare search ''"),
            _ => failure,
        }
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Refused(problem) => match problem.code {
            ErrorCode::NotFound => Exit::NotFound,
            ErrorCode::LeaseRequired | ErrorCode::LeaseExpired => Exit::Conflict,
            ErrorCode::VersionConflict | ErrorCode::HashConflict | ErrorCode::MembershipRefused => Exit::Conflict,
            ErrorCode::OutOfBounds => Exit::Conflict,
            ErrorCode::Unauthorized | ErrorCode::Forbidden => Exit::Unauthorized,
            _ => Exit::Other,
        },
        Error::Unavailable(_) | Error::Unreachable { .. } | Error::TooStale(_) => Exit::Unavailable,
        Error::Unknown { .. } | Error::TimedOut { .. } => Exit::TimedOut,
        Error::BadServer { .. } => Exit::Usage,
        Error::Protocol { .. } => Exit::Other,
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Disk, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Problem;

    fn failure(status: u16, code: ErrorCode) -> Failure {
        let problem = Box::new(Problem::new(status, code, "", "because"));
        Failure::from(match status {
            503 => Error::Unavailable(problem),
            _ => Error::Refused(problem),
        })
    }

    #[test]
    fn scripts_can_tell_refusals_apart() {
        assert_eq!(failure(409, ErrorCode::MembershipRefused).exit, Exit::Conflict);
        assert_eq!(failure(503, ErrorCode::NoQuorum).exit, Exit::Unavailable);
        let unknown = Failure::from(Error::Unknown { after: std::time::Duration::from_secs(5), last: String::new() });
        assert_eq!(unknown.exit, Exit::TimedOut);
        assert!(unknown.to_json().contains(r#""code":"outcome_unknown""#), "{}", unknown.to_json());
    }

    #[test]
    fn a_failure_is_one_json_object() {
        let json: serde_json::Value =
            serde_json::from_str(&failure(409, ErrorCode::MembershipRefused).to_json()).expect("JSON");
        let expected = serde_json::json!({"code": "membership_refused", "message": "because", "exit": 5,
                                          "hint": "see which nodes are up:  raftshare-node status"});
        assert_eq!(json, expected);
        let local = Failure::new(Exit::Usage, "say what");
        assert_eq!(local.to_json(), r#"{"code":"usage","message":"say what","hint":null,"exit":2}"#);
    }
}
