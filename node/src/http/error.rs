//! Failures and their HTTP form: maps each failure to a code of the contract, which gives the code its status.
//!
//! Invariant: every failed write says whether it was applied (W5), and only [`ApiError::Unknown`] says `unknown`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::contract::{AppliedState, ErrorCode, LeaderInfo, PROBLEM_JSON, Problem};
use raft_store::catalog::Rejection;

use crate::condition::Refusal;
use crate::deadline::BadDeadline;
use crate::duties::bootstrap::BootstrapError;
use crate::duties::membership::ChangeError;
use crate::node::KnownLeader;
use crate::propose::ProposeError;

/// A request that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// Invalid JSON, wrong types, or values out of range.
    #[error("{0}")]
    BadRequest(String),
    /// The file name breaks rule F1.
    #[error("{0}")]
    BadName(String),
    /// The body exceeds the limit.
    #[error("the body is over the limit of {limit} bytes; send the listing or the files in several requests")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The transaction does not fit an entry of the log (K2).
    #[error(
        "the transaction may take {bytes} bytes in the log, and the limit is {limit}; send fewer operations at a time"
    )]
    TxnTooLarge {
        /// The most bytes that it may take.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// No such path.
    #[error("no such path; GET /openapi.json lists all paths")]
    NoSuchPath,
    /// Wrong method.
    #[error("this path does not support that method; see the Allow header")]
    MethodNotAllowed,
    /// The named file or lease does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Not allowed to any outside caller.
    #[error("{0}")]
    Forbidden(String),
    /// The catalog refused the request.
    #[error("{0}")]
    Refused(#[from] Rejection),
    /// This node does not lead, and the caller asked not to be forwarded (W2).
    #[error("this node does not lead; send the request to the leader")]
    NotLeader(Option<LeaderInfo>),
    /// There is no leader, or the leader cannot reach a majority (R4).
    #[error("no leader is confirmed by a majority of the voters; try again, or read with consistency=stale")]
    NoQuorum,
    /// The node does not belong to a cluster yet.
    #[error(
        "this node belongs to no cluster yet; run: raftshare-node init --node http://THIS-NODE --members 1=HOST:PORT,…"
    )]
    NotInitialized,
    /// The outcome of a write is unknown (X3).
    #[error("{0}; it may have been applied: repeat it with the same Idempotency-Key")]
    Unknown(String),
    /// A queue is full.
    #[error("{0}; try again in a moment")]
    Overloaded(String),
    /// The state is older than the read accepts (R2, R3).
    #[error("{0}")]
    TooStale(String),
    /// The source of the answer is not loaded yet (R1).
    #[error("this node is still loading: {:.0} % done; ask another node, or again in a moment", progress * 100.0)]
    Loading {
        /// Fraction that is loaded, 0 to 1.
        progress: f64,
    },
    /// This node's state differs from the cluster's (C3, N3).
    #[error("{0}")]
    Diverged(String),
    /// This node was removed from the cluster (C6).
    #[error(
        "this node is not a member as of log index {as_of}; stop it, or start it on an empty data directory with --join to \
         take it in again"
    )]
    Removed {
        /// Log index of the membership that does not include this node.
        as_of: u64,
    },
    /// The node's storage failed (W4).
    #[error("this node's storage failed and it is about to stop: {0}")]
    StorageFailed(String),
    /// The cluster already exists (C1).
    #[error("{0}")]
    AlreadyInitialized(String),
    /// The membership change is unsafe or impossible (C2).
    #[error("{0}")]
    MembershipRefused(String),
    /// The requested events are no longer available.
    #[error("{0}")]
    Compacted(String),
}

/// How long a client should wait before trying again, in milliseconds.
const RETRY_AFTER_MS: u64 = 200;

impl ApiError {
    /// The failure's code in the contract.
    pub fn code(&self) -> ErrorCode {
        use ErrorCode as Code;
        match self {
            Self::BadRequest(_) => Code::BadRequest,
            Self::BadName(_) => Code::BadName,
            Self::TooLarge { .. } | Self::TxnTooLarge { .. } => Code::TooLarge,
            Self::NoSuchPath | Self::NotFound(_) => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::Forbidden(_) => Code::Forbidden,
            Self::Refused(rejection) => code_of(rejection),
            Self::NotLeader(_) => Code::NotLeader,
            Self::NoQuorum => Code::NoQuorum,
            Self::NotInitialized => Code::NotInitialized,
            Self::Unknown(_) => Code::OutcomeUnknown,
            Self::Overloaded(_) => Code::Overloaded,
            Self::TooStale(_) => Code::TooStale,
            Self::Loading { .. } => Code::Loading,
            Self::Diverged(_) => Code::Diverged,
            Self::Removed { .. } => Code::Removed,
            Self::StorageFailed(_) => Code::StorageFailed,
            Self::AlreadyInitialized(_) => Code::AlreadyInitialized,
            Self::MembershipRefused(_) => Code::MembershipRefused,
            Self::Compacted(_) => Code::Compacted,
        }
    }

    /// The error body; with `write` it says whether the write was applied.
    pub fn problem(&self, write: bool) -> Problem {
        let code = self.code();
        let name = code.name();
        let mut problem = Problem::new(code.status(), code, name.replace('_', " "), self.to_string());
        problem.kind = format!("urn:raftshare:error:{name}");
        problem.applied = write.then_some(match self {
            Self::Unknown(_) => AppliedState::Unknown,
            _ => AppliedState::No,
        });
        problem.retry_after_ms = matches!(problem.status, 429 | 503).then_some(RETRY_AFTER_MS);
        match self {
            Self::NotLeader(leader) => problem.leader = leader.clone(),
            Self::Refused(rejection) => add_rejection(&mut problem, rejection),
            Self::Loading { progress } => problem.progress = Some(*progress),
            _ => {}
        }
        problem
    }

    /// The complete answer.
    pub fn response(&self, write: bool) -> Response {
        render(&self.problem(write))
    }

    /// The answer to a failed read, with its own detail.
    pub fn response_saying(&self, detail: String) -> Response {
        render(&Problem { detail, ..self.problem(false) })
    }
}

fn render(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if problem.retry_after_ms.is_some() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A failed read; failed writes are answered by [`ApiError::response`] with `write` set.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.response(false)
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Self::NotLeader(None),
            ProposeError::Overloaded => Self::Overloaded(error.to_string()),
            ProposeError::Expired => Self::NoQuorum,
            ProposeError::Paused => Self::Overloaded(error.to_string()),
            ProposeError::Unknown(_) => Self::Unknown(error.to_string()),
            // Raft may have sent the entry before the disk failed, so the outcome is unknown.
            ProposeError::Storage(_) => Self::Unknown(error.to_string()),
        }
    }
}

impl From<BadDeadline> for ApiError {
    fn from(error: BadDeadline) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Diverged(reason) => Self::Diverged(reason),
            Refusal::Removed { as_of } => Self::Removed { as_of },
        }
    }
}

impl From<BootstrapError> for ApiError {
    fn from(error: BootstrapError) -> Self {
        match error {
            BootstrapError::AlreadyInitialized(reason) => Self::AlreadyInitialized(reason),
            BootstrapError::Unreachable(reason) => Self::MembershipRefused(reason),
            BootstrapError::BadList(reason) => Self::BadRequest(reason),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(reason) => Self::MembershipRefused(reason),
            ChangeError::Join(error) => error.into(),
            ChangeError::NotInitialized => Self::NotInitialized,
            ChangeError::NoQuorum => Self::NoQuorum,
            ChangeError::Unknown(reason) => Self::Unknown(reason),
            ChangeError::Storage(reason) => Self::StorageFailed(reason),
        }
    }
}

impl From<KnownLeader> for LeaderInfo {
    fn from(leader: KnownLeader) -> Self {
        Self { id: leader.id, address: leader.member.address, term: leader.term }
    }
}

/// The code of a rejection by the catalog.
pub fn code_of(rejection: &Rejection) -> ErrorCode {
    use ErrorCode as Code;
    match rejection {
        Rejection::UnknownPeer { .. } => Code::UnknownPeer,
        Rejection::NotFound { .. } => Code::NotFound,
        Rejection::NotHolder { .. } => Code::NotHolder,
        Rejection::LeaseRequired { .. } => Code::LeaseRequired,
        Rejection::LeaseExpired { .. } => Code::LeaseExpired,
        Rejection::VersionConflict { .. } => Code::VersionConflict,
        Rejection::HashConflict { .. } => Code::HashConflict,
        Rejection::KeyReused => Code::KeyReused,
        Rejection::KeyExpired => Code::KeyExpired,
        Rejection::Overloaded { .. } => Code::Overloaded,
        Rejection::AttributesLeased { .. } => Code::LeaseRequired,
        Rejection::OutOfBounds { .. } => Code::OutOfBounds,
        Rejection::NotAnInteger { .. } | Rejection::TooManyAttributes { .. } => Code::BadRequest,
        Rejection::AnswerTooLarge { .. } => Code::TooLarge,
    }
}

fn add_rejection(problem: &mut Problem, rejection: &Rejection) {
    match rejection {
        Rejection::LeaseRequired { current_version, holder } => {
            problem.current_version = Some(*current_version);
            problem.holder = holder.clone();
        }
        Rejection::LeaseExpired { current_version, holder, fencing_token } => {
            problem.current_version = Some(*current_version);
            problem.holder = holder.clone();
            problem.fencing_token = *fencing_token;
        }
        Rejection::VersionConflict { current_version, hash, size, holder } => {
            problem.current_version = Some(*current_version);
            problem.hash = *hash;
            problem.size = *size;
            problem.holder = holder.clone();
        }
        Rejection::HashConflict { current_version, hash, size } => {
            problem.current_version = Some(*current_version);
            problem.hash = *hash;
            problem.size = *size;
        }
        Rejection::AttributesLeased { file, holder } => {
            problem.name = Some(file.clone());
            problem.holder = holder.clone();
        }
        Rejection::OutOfBounds { file, key, value, by: _ } => {
            problem.name = Some(file.clone());
            problem.attr = Some(key.clone());
            problem.value = Some((*value).into());
        }
        Rejection::NotAnInteger { file, key } => {
            problem.name = Some(file.clone());
            problem.attr = Some(key.clone());
        }
        Rejection::TooManyAttributes { file } => problem.name = Some(file.clone()),
        Rejection::AnswerTooLarge { .. }
        | Rejection::UnknownPeer { .. }
        | Rejection::NotFound { .. }
        | Rejection::NotHolder { .. }
        | Rejection::KeyReused
        | Rejection::KeyExpired
        | Rejection::Overloaded { .. } => {}
    }
}
