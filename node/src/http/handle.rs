//! How endpoints are served: an endpoint's kind decides which node answers, the endpoint itself only what it answers.
//!
//! ```text
//! request ─► take apart ─► check ─► here or at the leader? ─► answer ─► render
//!            (deadline, key)   ^ the endpoint     (its kind)      ^ the endpoint
//! ```
//!
//! Invariant: nothing is forwarded, proposed or changed before the whole request is checked.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use client::contract::{self, Endpoint, Kind, Method, NoBody, ReadParams};
use raft_store::catalog::{KeyTag, Op};
use serde::de::DeserializeOwned;

use super::blocking;
use super::body::{key_tag, parse};
use super::consistency::{Admitted, Source, admit};
use super::error::ApiError;
use super::reply::{Render, Reply};
use super::route::{Parts, to_leader};
use super::writes::go_elsewhere;
use crate::config::REQUEST_DEADLINE;
use crate::node::Node;

/// A request, taken apart.
pub struct Call {
    /// The node.
    pub node: Arc<Node>,
    /// Method, path, headers, body and deadline.
    pub parts: Parts,
    /// The idempotency key; only for logged writes.
    pub key: Option<KeyTag>,
    /// Whether the request asked to wait before it is decided.
    pub waits: bool,
}

/// The content of a request, in the contract's types.
pub struct Sent<'a, E: Endpoint> {
    /// The query.
    pub query: E::Query,
    /// The body.
    pub request: E::Request,
    /// The idempotency key.
    pub key: Option<&'a KeyTag>,
}

/// How one endpoint is answered.
pub trait Handle: Endpoint<Answer: Render> {
    /// The checked request: what is to be done.
    type Checked: Send + 'static;
    /// For reads: where the answer comes from.
    const SOURCE: Source = Source::Catalog;
    /// Whether a request may ask to wait before it is decided.
    const WAITS: bool = false;

    /// Checks the request. Does no I/O, because large bodies are checked on the blocking pool.
    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError>
    where
        Self: Sized;

    /// How long the leader may take if the request goes to the leader.
    fn within(_checked: &Self::Checked, _parts: &Parts) -> Duration {
        REQUEST_DEADLINE
    }

    /// Answers the request, on the node that the endpoint's kind demands.
    fn answer(
        call: &Call,
        checked: Self::Checked,
    ) -> impl Future<Output = Result<Reply<<Self::Answer as Render>::Out>, ApiError>> + Send;
}

/// Logged writes that are a single command and have an empty answer. Their request type alone describes them.
macro_rules! commands {
    ($($(#$mark:ident)? $endpoint:ident),+) => { $(commands!(@ $($mark)? $endpoint);)+ };
    (@ command $endpoint:ident) => {
        impl Handle for contract::$endpoint {
            type Checked = Op;

            fn check(sent: Sent<'_, Self>) -> Result<Op, ApiError> {
                Ok(sent.request.into())
            }

            async fn answer(call: &Call, op: Op) -> Result<Reply<()>, ApiError> {
                call.command(op).await
            }
        }
    };
    (@ $endpoint:ident) => {};
}
client::for_each_endpoint!(commands);

/// In an `impl Handle`: the request has neither a query nor a body that needs checking.
macro_rules! nothing_to_check {
    () => {
        type Checked = ();

        fn check(_sent: $crate::http::handle::Sent<'_, Self>) -> Result<(), ApiError> {
            Ok(())
        }
    };
}
pub(super) use nothing_to_check;

/// Adds an endpoint to a router.
pub fn mount<E: Handle>(router: Router<Arc<Node>>) -> Router<Arc<Node>> {
    let method = match E::METHOD {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
    };
    router.route(E::PATH, on(method, serve::<E>))
}

async fn serve<E: Handle>(State(node): State<Arc<Node>>, request: Request) -> Response {
    let outcome = match E::KIND {
        Kind::Logged => logged::<E>(node, request).await,
        Kind::Read | Kind::Leader | Kind::Local | Kind::Own => unlogged::<E>(node, request).await,
    };
    match outcome {
        Ok(reply) => reply.render::<E::Answer>(),
        Err(error) => error.response(E::METHOD == Method::Post),
    }
}

type Outcome<E> = Result<Reply<<<E as Endpoint>::Answer as Render>::Out>, ApiError>;

async fn logged<E: Handle>(node: Arc<Node>, request: Request) -> Outcome<E> {
    let parts = Parts::of(request)?;
    let key = if parts.body.len() < blocking::LARGE_BODY_BYTES {
        key_tag(&parts.headers, E::PATH, &parts.body)?
    } else {
        let Parts { headers, body, .. } = parts.clone();
        blocking::run(body.len(), move || key_tag(&headers, E::PATH, &body)).await?
    };
    let call = Call { node, parts, key, waits: E::WAITS };
    loop {
        let checked = check::<E>(&call).await?;
        if let Some(answer) = call.forwarded(E::within(&checked, &call.parts)).await? {
            return Ok(Reply::Whole(answer));
        }
        match E::answer(&call, checked).await {
            Err(refusal @ ApiError::NotLeader(_)) => go_elsewhere(&call, refusal).await?,
            outcome => return outcome,
        }
    }
}

async fn unlogged<E: Handle>(node: Arc<Node>, request: Request) -> Outcome<E> {
    let parts = match (E::METHOD, E::KIND) {
        (Method::Post, _) => Parts::of(request)?,
        // What a read is forwarded with is its query; its body has to have arrived whole like any other.
        (Method::Get, Kind::Read) => Parts { body: Bytes::new(), ..Parts::of(request)? },
        (Method::Get, Kind::Logged | Kind::Leader | Kind::Local | Kind::Own) => Parts::of_probe(request),
    };
    let call = Call { node, parts, key: None, waits: E::WAITS };
    let checked = check::<E>(&call).await?;
    let elsewhere = match E::KIND {
        Kind::Leader => call.forwarded(E::within(&checked, &call.parts)).await?,
        Kind::Read => {
            let params: ReadParams = query(&call.parts)?;
            match admit(&call.node, &call.parts, params, E::SOURCE).await? {
                Admitted::Here => None,
                Admitted::Answered(answer) => Some(answer),
            }
        }
        Kind::Logged | Kind::Local | Kind::Own => None,
    };
    match elsewhere {
        Some(answer) => Ok(Reply::Whole(answer)),
        None => E::answer(&call, checked).await,
    }
}

async fn check<E: Handle>(call: &Call) -> Result<E::Checked, ApiError> {
    let query = query(&call.parts)?;
    if TypeId::of::<E::Request>() == TypeId::of::<NoBody>() {
        return E::check(Sent { query, request: parse(b"{}")?, key: call.key.as_ref() });
    }
    let body = call.parts.body.clone();
    // A sign of life does not wait behind listings, however many tasks it names.
    if body.len() < blocking::LARGE_BODY_BYTES || E::KIND != Kind::Logged {
        return E::check(Sent { query, request: parse(&body)?, key: call.key.as_ref() });
    }
    let key = call.key.clone();
    blocking::run(body.len(), move || E::check(Sent { query, request: parse(&body)?, key: key.as_ref() })).await
}

/// Parses query parameters: unknown ones are ignored, wrong values of known ones are refused.
fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ApiError> {
    let written = parts.uri.query().unwrap_or_default();
    serde_path_to_error::deserialize(serde_html_form::Deserializer::from_bytes(written.as_bytes())).map_err(|error| {
        let (parameter, reason) = (error.path().to_string(), error.inner().to_string());
        // A reason may quote what the caller wrote, so only its beginning says what it is.
        if reason.starts_with("bad file name") {
            ApiError::BadName(reason)
        } else if let Some(field) = reason.strip_prefix("missing field `") {
            ApiError::BadRequest(format!("the parameter `{}` is missing", field.trim_end_matches('`')))
        } else {
            ApiError::BadRequest(format!("query: {parameter}: {reason}"))
        }
    })
}

impl Call {
    /// The leader's answer, if this node does not lead; `within` limits the wait.
    pub async fn forwarded(&self, within: Duration) -> Result<Option<Response>, ApiError> {
        to_leader(&self.node, &self.parts, within).await
    }
}
