//! Requests to simulated nodes, and what their answers prove.
//!
//! Invariant: a request counts as refused only if no connection came about or an error body of the contract says so.

use std::time::Duration;

use client::contract::headers;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;

use super::net::{address, exchange};
use crate::history::Seen;
use crate::workload::{Heard, RawOutcome, outcome_of};

/// A POST of JSON to a node.
pub(super) fn post_request(node: u64, path: &str) -> hyper::http::request::Builder {
    Request::post(format!("http://{}{path}", address(node))).header("content-type", "application/json")
}

/// Sends one.
pub(super) async fn post(node: u64, path: &str, body: &Value, limit: Duration) -> RawOutcome {
    call(post_request(node, path), body.to_string(), limit, &mut 0).await
}

/// Sends a request and reads what its answer proves.
pub(super) async fn call(
    request: hyper::http::request::Builder,
    body: String,
    limit: Duration,
    newest_index: &mut u64,
) -> RawOutcome {
    ask(request, body, limit, newest_index).await.0
}

/// The same, with who answered; `newest_index` is raised to the log index of a write.
pub(super) async fn ask(
    request: hyper::http::request::Builder,
    body: String,
    limit: Duration,
    newest_index: &mut u64,
) -> Heard {
    let request = match request.body(Bytes::from(body)) {
        Ok(request) => request,
        Err(error) => return (RawOutcome::Refused("unreachable".into(), error.to_string()), None),
    };
    match exchange(request, limit).await {
        Ok(response) => {
            let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
            *newest_index = (*newest_index).max(number(headers::INDEX).unwrap_or(0));
            let seen = (|| {
                let (node, applied) = (number(headers::NODE)?, number(headers::APPLIED)?);
                let boot = text(headers::BOOT)?.to_owned();
                Some(Seen { node, boot, applied, index: number(headers::INDEX) })
            })();
            (outcome_of(response.status().is_success(), response.body(), seen.clone()), seen)
        }
        Err(node::sys::net::Undelivered::NotSent(reason)) => (RawOutcome::Refused("unreachable".into(), reason), None),
        Err(node::sys::net::Undelivered::Lost(reason)) => (RawOutcome::Unknown(reason), None),
    }
}
