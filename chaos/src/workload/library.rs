//! Writes through the product's client library, and how its answers read in a history.
//!
//! Invariant: a call goes through `client::cluster::IndexClient` alone, so that the library's repeats and keys are what
//! is tested.

use std::time::Duration;

use client::cluster::{Error, Grant, IndexClient, LeaseAnswer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::code_text;
use super::raw::UNREACHABLE;
use super::write::Write;
use crate::history::{Answer, Micros, Op, OpId, Record};

/// Carries out a write. For a lease, `patience` is how long to wait in line; `now` is the history's clock.
pub(crate) async fn call(
    index: &IndexClient,
    write: &Write,
    patience: Option<Duration>,
    now: impl Fn() -> Micros,
) -> Result<(Answer, Value), Error> {
    let granted = |grant: Grant| {
        // Now first, then the age: the difference is never later than the moment of sending.
        let now = now();
        let age = Micros::try_from(grant.sent.elapsed().as_micros()).unwrap_or(Micros::MAX);
        let (response, sent) = (grant.response, Some(now.saturating_sub(age)));
        let (fence, ttl_ms, version) = (response.fencing_token, response.ttl_ms, response.version);
        (Answer::Granted { fence, ttl_ms, version, sent }, json!({ "leaseToken": response.lease_token }))
    };
    let told = |answer: Answer| (answer, Value::Null);
    Ok(match &write.op {
        Op::Acquire { wait, .. } => {
            let request = read(write)?;
            let answer = match wait {
                true => index.acquire_waiting(&request, patience, |_| {}).await?,
                false => index.acquire(&request).await?,
            };
            match answer {
                LeaseAnswer::Granted(grant) => granted(grant),
                LeaseAnswer::Denied(denied) => {
                    told(Answer::Denied { holder: denied.holder.to_string(), position: denied.position })
                }
            }
        }
        Op::Renew { .. } => granted(index.renew(&read(write)?).await?),
        Op::Publish { .. } => told(Answer::Published { version: index.announce(&read(write)?).await?.version }),
        Op::Register { .. } => index.register(&read(write)?).await.map(|_| told(Answer::Done))?,
        Op::Release { .. } => index.release(&read(write)?).await.map(|()| told(Answer::Done))?,
        Op::Leave { .. } => index.leave(&read(write)?).await.map(|()| told(Answer::Done))?,
        Op::Txn(_) => return Err(not_a_write("the clients that send transactions do without the library")),
        Op::Read { .. } | Op::Search { .. } | Op::ReadAttributes { .. } | Op::LookUp { .. } => {
            return Err(not_a_write("it is a read"));
        }
    })
}

/// The library's form of a request.
fn read<T: DeserializeOwned>(write: &Write) -> Result<T, Error> {
    serde_json::from_value(write.body.clone()).map_err(not_a_write)
}

fn not_a_write(why: impl ToString) -> Error {
    Error::Protocol { server: "the workload".into(), detail: why.to_string() }
}

/// What a call came to, for the history.
pub(crate) fn outcome_record(id: OpId, outcome: Result<Answer, &Error>) -> Record {
    match outcome {
        Ok(answer) => Record::Ok { id, answer, seen: None },
        Err(Error::Refused(problem) | Error::Unavailable(problem) | Error::TooStale(problem)) => {
            Record::Refused { id, code: code_text(problem.code), detail: problem.detail.clone() }
        }
        Err(error @ Error::Unreachable { .. }) => {
            Record::Refused { id, code: UNREACHABLE.into(), detail: error.to_string() }
        }
        Err(
            error @ (Error::Unknown { .. } | Error::TimedOut { .. } | Error::Protocol { .. } | Error::BadServer { .. }),
        ) => Record::Unknown { id, reason: error.to_string() },
    }
}
