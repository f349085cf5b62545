//! `POST /txn`, `GET /txn`: conditional updates of attributes (K1–K5).
//!
//! Invariant: a transaction is one command, however large; what does not fit an entry is refused, never cut (K2, X4).

use client::contract::{self, TxnResponse, TxnStatus};
use raft_store::catalog::{Op, Reply as Committal, Txn};
use raft_store::types::{TxnId, limits};

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::reply::Reply;
use super::writes::unexpected;

impl Handle for contract::Txn {
    type Checked = Txn;

    fn check(sent: Sent<'_, Self>) -> Result<Txn, ApiError> {
        let txn = Txn::from(sent.request);
        let bytes = txn.bytes();
        if bytes > limits::TXN_BYTES_MAX {
            return Err(ApiError::TxnTooLarge { bytes, limit: limits::TXN_BYTES_MAX });
        }
        Ok(txn)
    }

    async fn answer(call: &Call, txn: Txn) -> Result<Reply<TxnResponse>, ApiError> {
        let committed = call.propose(Op::Txn(txn), 0).await?;
        match committed.outcome.result {
            Err(rejection) => Ok(Reply::Refused(rejection, committed.log_index)),
            Ok(Committal::Txn(outcome)) => Ok(Reply::Logged(outcome.into(), committed.log_index)),
            Ok(other) => Err(unexpected(&other)),
        }
    }
}

impl Handle for TxnStatus {
    type Checked = TxnId;

    fn check(sent: Sent<'_, Self>) -> Result<TxnId, ApiError> {
        Ok(sent.query.id)
    }

    async fn answer(call: &Call, id: TxnId) -> Result<Reply<TxnResponse>, ApiError> {
        let outcome = call.node.catalog().txn(id);
        let outcome = outcome.ok_or_else(|| {
            ApiError::NotFound(format!(
                "no transaction {id} is remembered; only those with an Idempotency-Key are, until their answer is settled \
                 or forgotten"
            ))
        })?;
        Ok(Reply::Answer(outcome.into()))
    }
}
