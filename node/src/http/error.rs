//! Failures and their HTTP form. The only file that gives failures their status codes.
//!
//! Invariant: every failed write says whether it was applied (W5), and only [`ApiError::Unknown`] says `unknown`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::api::{AppliedState, ErrorCode, LeaderInfo, PROBLEM_JSON, Problem};
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
    /// Broken JSON, wrong types, values out of range.
    #[error("{0}")]
    BadRequest(String),
    /// A file name that breaks F1.
    #[error("{0}")]
    BadName(String),
    /// The body is over the limit.
    #[error("the body is over the limit of {limit} bytes; send the listing or the files in several requests")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// No such path.
    #[error("no such path; GET /openapi.json lists what there is")]
    NoSuchPath,
    /// Wrong method.
    #[error("this path does not take that method; see the Allow header")]
    MethodNotAllowed,
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// Not allowed to anybody from outside.
    #[error("{0}")]
    Forbidden(String),
    /// A refusal of the catalog.
    #[error("{0}")]
    Refused(#[from] Rejection),
    /// This node does not lead, and the request was not to be forwarded (W2).
    #[error("this node does not lead; send the request to the leader")]
    NotLeader(Option<LeaderInfo>),
    /// No leader, or it reaches no majority (R4).
    #[error("no leader is confirmed by a majority of the voters; try again, or read with consistency=stale")]
    NoQuorum,
    /// The node belongs to no cluster yet.
    #[error(
        "this node belongs to no cluster yet; run: raftshare-node init --node http://THIS-NODE --members 1=HOST:PORT,…"
    )]
    NotInitialized,
    /// The outcome of a write is not known (X3).
    #[error("{0}; it may have been applied: repeat it with the same Idempotency-Key")]
    Unknown(String),
    /// A queue is full.
    #[error("{0}; try again in a moment")]
    Overloaded(String),
    /// The state is older than the read accepts (R2, R3).
    #[error("{0}")]
    TooStale(String),
    /// What the answer comes from is not loaded yet (R1).
    #[error("this node is still loading: {:.0} % done; ask another node, or again in a moment", progress * 100.0)]
    Loading {
        /// How much is done, 0 to 1.
        progress: f64,
    },
    /// This node's state is not the cluster's (C3, N3).
    #[error("{0}")]
    Diverged(String),
    /// This node was removed from the cluster (C6).
    #[error(
        "this node is not a member as of log index {as_of}; stop it, or start it on an empty data directory with --join to \
         take it in again"
    )]
    Removed {
        /// Log index of the membership without it.
        as_of: u64,
    },
    /// The node's disk failed (W4).
    #[error("this node's storage failed and it is about to stop: {0}")]
    StorageFailed(String),
    /// The cluster exists already (C1).
    #[error("{0}")]
    AlreadyInitialized(String),
    /// An unsafe or impossible membership change (C2).
    #[error("{0}")]
    MembershipRefused(String),
    /// Compacted away.
    #[error("{0}")]
    Compacted(String),
}

/// Milliseconds after which a client should try again, where that makes sense.
const RETRY_AFTER_MS: u64 = 200;

impl ApiError {
    /// Code and status of the contract.
    pub fn code(&self) -> (ErrorCode, StatusCode) {
        use ErrorCode as Code;
        use StatusCode as Status;
        match self {
            Self::BadRequest(_) => (Code::BadRequest, Status::BAD_REQUEST),
            Self::BadName(_) => (Code::BadName, Status::BAD_REQUEST),
            Self::TooLarge { .. } => (Code::TooLarge, Status::PAYLOAD_TOO_LARGE),
            Self::NoSuchPath | Self::NotFound(_) => (Code::NotFound, Status::NOT_FOUND),
            Self::MethodNotAllowed => (Code::MethodNotAllowed, Status::METHOD_NOT_ALLOWED),
            Self::Forbidden(_) => (Code::Forbidden, Status::FORBIDDEN),
            Self::Refused(rejection) => rejection_code(rejection),
            Self::NotLeader(_) => (Code::NotLeader, Status::FORBIDDEN),
            Self::NoQuorum => (Code::NoQuorum, Status::SERVICE_UNAVAILABLE),
            Self::NotInitialized => (Code::NotInitialized, Status::SERVICE_UNAVAILABLE),
            Self::Unknown(_) => (Code::OutcomeUnknown, Status::SERVICE_UNAVAILABLE),
            Self::Overloaded(_) => (Code::Overloaded, Status::TOO_MANY_REQUESTS),
            Self::TooStale(_) => (Code::TooStale, Status::SERVICE_UNAVAILABLE),
            Self::Loading { .. } => (Code::Loading, Status::SERVICE_UNAVAILABLE),
            Self::Diverged(_) => (Code::Diverged, Status::SERVICE_UNAVAILABLE),
            Self::Removed { .. } => (Code::Removed, Status::SERVICE_UNAVAILABLE),
            Self::StorageFailed(_) => (Code::StorageFailed, Status::SERVICE_UNAVAILABLE),
            Self::AlreadyInitialized(_) => (Code::AlreadyInitialized, Status::CONFLICT),
            Self::MembershipRefused(_) => (Code::MembershipRefused, Status::CONFLICT),
            Self::Compacted(_) => (Code::Compacted, Status::GONE),
        }
    }

    /// The error body; `write` adds whether the write was applied.
    pub fn problem(&self, write: bool) -> Problem {
        let (code, status) = self.code();
        let name = serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_owned));
        let name = name.unwrap_or_default();
        let title = name.replace('_', " ");
        let mut problem = Problem::new(status.as_u16(), code, title, self.to_string());
        problem.kind = format!("urn:raftshare:error:{name}");
        problem.applied = write.then_some(match self {
            Self::Unknown(_) => AppliedState::Unknown,
            _ => AppliedState::No,
        });
        problem.retry_after_ms =
            matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS).then_some(RETRY_AFTER_MS);
        match self {
            Self::NotLeader(leader) => problem.leader = leader.clone(),
            Self::Refused(rejection) => add_rejection(&mut problem, rejection),
            Self::Loading { progress } => problem.progress = Some(*progress),
            _ => {}
        }
        problem
    }

    /// The whole answer.
    pub fn response(&self, write: bool) -> Response {
        render(&self.problem(write))
    }

    /// The answer to a failed read, with a detail of its own.
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
            // Raft may have sent the entry before the disk failed: not definite.
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

fn rejection_code(rejection: &Rejection) -> (ErrorCode, StatusCode) {
    use ErrorCode as Code;
    use StatusCode as Status;
    match rejection {
        Rejection::UnknownPeer { .. } => (Code::UnknownPeer, Status::CONFLICT),
        Rejection::NotFound { .. } => (Code::NotFound, Status::NOT_FOUND),
        Rejection::NotHolder { .. } => (Code::NotHolder, Status::FORBIDDEN),
        Rejection::LeaseRequired { .. } => (Code::LeaseRequired, Status::FORBIDDEN),
        Rejection::LeaseExpired { .. } => (Code::LeaseExpired, Status::FORBIDDEN),
        Rejection::VersionConflict { .. } => (Code::VersionConflict, Status::CONFLICT),
        Rejection::HashConflict { .. } => (Code::HashConflict, Status::CONFLICT),
        Rejection::KeyReused => (Code::KeyReused, Status::UNPROCESSABLE_ENTITY),
        Rejection::KeyExpired => (Code::KeyExpired, Status::CONFLICT),
        Rejection::Overloaded { .. } => (Code::Overloaded, Status::TOO_MANY_REQUESTS),
    }
}

/// The code alone, for results within one answer.
pub fn code_of(rejection: &Rejection) -> ErrorCode {
    rejection_code(rejection).0
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
        Rejection::UnknownPeer { .. }
        | Rejection::NotFound { .. }
        | Rejection::NotHolder { .. }
        | Rejection::KeyReused
        | Rejection::KeyExpired
        | Rejection::Overloaded { .. } => {}
    }
}
