//! Conditional updates (K2): builds a transaction, sends it under one key, and tells what became of it.
//!
//! ```text
//!  client.txn(&peer).require(Check …).then(Change …).otherwise(Change …)     TxnBuilder
//!        .send()                one call, repeated by the library while that is safe
//!        .prepare()             a Txn, which the caller may send again while the outcome is unknown
//! ```
//!
//! Invariants: all attempts of one [`Txn`] carry one key and the same bytes, so it is applied at most once (X1). While
//! a [`Txn`] exists, its answer is not dropped by later writes of this client (X2).

use std::time::Duration;

use raft_store::types::{AttributeValue, FileName, InvalidValue, PeerId, TxnId};

use super::keys::Key;
use super::{Error, IndexClient, Read};
use crate::contract::{self, ErrorCode, Problem, TxnName, TxnParam, TxnRequest, TxnResponse};

mod parts;

pub use self::parts::{Change, Check, IntoAttribute, lease_token_of, name_of};
pub use crate::contract::TxnBranch as Branch;

/// What became of an applied transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnAnswer {
    /// Which branch was taken.
    pub branch: Branch,
    /// The transaction's id (K5). Ids grow in log order.
    pub id: TxnId,
    /// The names that it touched, as they were right after it.
    pub names: Vec<TxnName>,
}

impl TxnAnswer {
    /// The value of an attribute right after the transaction, if the name was touched and has it.
    pub fn attribute(&self, name: &FileName, key: &str) -> Option<&AttributeValue> {
        self.names.iter().find(|touched| touched.name == *name)?.attributes.get(key)
    }

    /// The same for an integer.
    pub fn integer(&self, name: &FileName, key: &str) -> Option<i64> {
        self.attribute(name, key)?.as_integer()
    }
}

impl From<TxnResponse> for TxnAnswer {
    fn from(answer: TxnResponse) -> Self {
        Self { branch: answer.branch, id: answer.txn, names: answer.names }
    }
}

impl From<TxnAnswer> for TxnResponse {
    fn from(answer: TxnAnswer) -> Self {
        Self { ok: true, branch: answer.branch, txn: answer.id, names: answer.names }
    }
}

/// A transaction that was not applied, or of which that is not known.
#[derive(Debug, thiserror::Error)]
pub enum TxnError {
    /// A key, value or name is not valid. Nothing was sent.
    #[error("{0}")]
    Invalid(InvalidValue),
    /// An addition would leave its bounds or those of 64 bits. Nothing was changed (K3).
    #[error("{}", .problem.detail)]
    OutOfBounds {
        /// The name.
        name: FileName,
        /// The attribute.
        attr: String,
        /// Its value, which was not changed; `None` if it is missing.
        value: Option<i64>,
        /// The server's own error.
        problem: Box<Problem>,
    },
    /// A name is leased, and the operation did not show that lease's token (K4). Nothing was changed.
    #[error("{}", .problem.detail)]
    LeaseRequired {
        /// Who has the lease.
        holder: Option<PeerId>,
        /// The server's own error.
        problem: Box<Problem>,
    },
    /// The transaction may or may not have been applied. Send it again under its key, or look (X3).
    #[error(transparent)]
    Unknown(Error),
    /// Anything else. Nothing was changed.
    #[error(transparent)]
    Failed(Error),
}

impl TxnError {
    fn of(error: Error) -> Self {
        match error {
            Error::Unknown { .. } => Self::Unknown(error),
            Error::Refused(problem) => Self::refused(problem),
            error => Self::Failed(error),
        }
    }

    fn refused(problem: Box<Problem>) -> Self {
        match (problem.code, &problem.name, &problem.attr) {
            (ErrorCode::OutOfBounds, Some(name), Some(attr)) => Self::OutOfBounds {
                name: name.clone(),
                attr: attr.to_string(),
                value: problem.value.as_ref().and_then(AttributeValue::as_integer),
                problem,
            },
            (ErrorCode::LeaseRequired, ..) => Self::LeaseRequired { holder: problem.holder.clone(), problem },
            _ => Self::Failed(Error::Refused(problem)),
        }
    }
}

impl From<TxnError> for Error {
    fn from(error: TxnError) -> Self {
        match error {
            TxnError::OutOfBounds { problem, .. } | TxnError::LeaseRequired { problem, .. } => Self::Refused(problem),
            TxnError::Unknown(error) | TxnError::Failed(error) => error,
            TxnError::Invalid(invalid) => {
                let problem = Problem::new(400, ErrorCode::BadRequest, "Bad request", invalid.to_string());
                Self::Refused(Box::new(problem))
            }
        }
    }
}

/// Builds a transaction. Without conditions the operations are carried out unconditionally, and still together.
#[derive(Debug, Clone)]
#[must_use = "a transaction does nothing until it is sent"]
pub struct TxnBuilder {
    client: IndexClient,
    request: TxnRequest,
    invalid: Option<InvalidValue>,
}

/// A transaction with its key. Sending it again never applies it again.
#[derive(Debug)]
pub struct Txn {
    client: IndexClient,
    request: Result<TxnRequest, InvalidValue>,
    key: Option<Key>,
}

impl IndexClient {
    /// A transaction of this peer, to be built and sent.
    pub fn txn(&self, peer: &PeerId) -> TxnBuilder {
        let request =
            TxnRequest { peer_id: peer.clone(), conditions: Vec::new(), then: Vec::new(), otherwise: Vec::new() };
        TxnBuilder { client: self.clone(), request, invalid: None }
    }

    /// What became of a keyed transaction (K5); `None` if the index never knew it, or has forgotten its answer.
    pub async fn txn_outcome(&self, id: TxnId) -> Result<Option<Read<TxnAnswer>>, Error> {
        match self.ask::<contract::TxnStatus>(&TxnParam { id }).await {
            Ok(answer) => Ok(Some(answer.map(TxnAnswer::from))),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl TxnBuilder {
    /// Adds a condition. All must hold for the branch `then`.
    pub fn require(mut self, check: Check) -> Self {
        let condition = self.valid(check.0);
        self.request.conditions.extend(condition);
        self
    }

    /// Adds an operation that is carried out if all conditions hold.
    pub fn then(mut self, change: Change) -> Self {
        let operation = self.valid(change.0);
        self.request.then.extend(operation);
        self
    }

    /// Adds an operation that is carried out if a condition does not hold.
    pub fn otherwise(mut self, change: Change) -> Self {
        let operation = self.valid(change.0);
        self.request.otherwise.extend(operation);
        self
    }

    /// Adds operations and conditions that are there already, such as those from a file.
    pub fn with(mut self, request: TxnRequest) -> Self {
        self.request.conditions.extend(request.conditions);
        self.request.then.extend(request.then);
        self.request.otherwise.extend(request.otherwise);
        self
    }

    /// The request as it will be sent.
    pub fn request(&self) -> &TxnRequest {
        &self.request
    }

    /// Sends the transaction. The library repeats it under its key while it may be repeated.
    pub async fn send(self) -> Result<TxnAnswer, TxnError> {
        self.prepare().send().await
    }

    /// Fixes the transaction and its key, so that it can be sent again while its outcome is unknown.
    pub fn prepare(self) -> Txn {
        let key = self.client.key.is_none().then(|| self.client.shared.keys.begin());
        let request = self.invalid.map_or(Ok(self.request), Err);
        Txn { client: self.client, request, key }
    }

    /// Keeps the first error until the transaction is sent, so that calls can be chained.
    fn valid<T>(&mut self, part: Result<T, InvalidValue>) -> Option<T> {
        part.map_err(|invalid| self.invalid.get_or_insert(invalid)).ok()
    }
}

impl Txn {
    /// Sends the transaction, or asks again what became of it: the key and the bytes are always the same.
    pub async fn send(&self) -> Result<TxnAnswer, TxnError> {
        let request = self.request.as_ref().map_err(|invalid| TxnError::Invalid(invalid.clone()))?;
        let sent = self.client.write_under::<contract::Txn, TxnResponse>(self.key.as_ref(), request, Duration::ZERO);
        sent.await.map(|(answer, _)| answer.into()).map_err(TxnError::of)
    }
}
