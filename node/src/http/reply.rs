//! Answers: their forms, and the headers of every answer (R2).

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use client::contract::{
    AnswerForm, EventStream, Html, Json, JsonList, MetricsText, NoBody, NoContent, Octets, Text, headers,
};
use raft_store::catalog::Rejection;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::freshness::age_ms;
use crate::node::Node;

// Checked at compile time, not with each answer.
const INDEX: HeaderName = HeaderName::from_static(headers::INDEX);
const NODE: HeaderName = HeaderName::from_static(headers::NODE);
const ROLE: HeaderName = HeaderName::from_static(headers::ROLE);
const TERM: HeaderName = HeaderName::from_static(headers::TERM);
const APPLIED: HeaderName = HeaderName::from_static(headers::APPLIED);
const STALENESS_MS: HeaderName = HeaderName::from_static(headers::STALENESS_MS);
const BOOT: HeaderName = HeaderName::from_static(headers::BOOT);
/// Number of headers that most answers have: those of the state, the content type and the index.
const HEADERS: usize = 8;
/// Number of header values that a thread caches.
const NUMBERS_KEPT: usize = 16;

thread_local! {
    /// Header values of recent numbers. Answers to the writes of one entry carry the same numbers, and each value would
    /// be an allocation.
    static NUMBERS: RefCell<[Option<(u64, HeaderValue)>; NUMBERS_KEPT]> = const { RefCell::new([const { None }; NUMBERS_KEPT]) };
}

fn number(number: u64) -> HeaderValue {
    NUMBERS.with_borrow_mut(|kept| {
        let place = &mut kept[number as usize % NUMBERS_KEPT];
        match place {
            Some((known, value)) if *known == number => value.clone(),
            _ => place.insert((number, HeaderValue::from(number))).1.clone(),
        }
    })
}

/// Position and age of derived state from which an answer comes.
#[derive(Debug, Clone, Copy)]
pub struct DerivedFrom {
    /// The log index up to which the state had followed the log.
    pub applied: u64,
    /// The newest moment at which a majority had confirmed a state at or below that index.
    pub as_of: Option<Instant>,
}

/// The answer of an endpoint.
pub enum Reply<T> {
    /// The body.
    Answer(T),
    /// The body of a logged write, and its log index.
    Logged(T, u64),
    /// The body, and the derived state it comes from.
    Derived(T, DerivedFrom),
    /// A refusal that was committed, and its log index.
    Refused(Rejection, u64),
    /// A complete answer: the leader's, or one with its own headers.
    Whole(Response),
}

impl<T> Reply<T> {
    /// The complete answer, except for the headers that every answer has.
    pub fn render<A: Render<Out = T>>(self) -> Response {
        match self {
            Self::Answer(body) => A::render(body),
            Self::Logged(body, log_index) => with_index(A::render(body), log_index),
            Self::Derived(body, derived) => {
                let mut response = A::render(body);
                response.extensions_mut().insert(derived);
                response
            }
            Self::Refused(rejection, log_index) => with_index(ApiError::Refused(rejection).response(true), log_index),
            Self::Whole(response) => response,
        }
    }
}

/// Renders a form of answer.
pub trait Render: AnswerForm {
    /// What the endpoint returns.
    type Out: Send;

    /// The answer without further headers.
    fn render(body: Self::Out) -> Response;
}

impl<T: Serialize + ToSchema + Send + 'static> Render for Json<T> {
    type Out = T;

    fn render(body: T) -> Response {
        typed::<Self>(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl<T: Serialize + ToSchema + Send + 'static> Render for JsonList<T> {
    type Out = Vec<T>;

    fn render(body: Vec<T>) -> Response {
        json(&body)
    }
}

impl Render for NoContent {
    type Out = ();

    fn render((): ()) -> Response {
        let mut response = response(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}

impl Render for Text {
    type Out = String;

    fn render(body: String) -> Response {
        typed::<Self>(body)
    }
}

impl Render for MetricsText {
    type Out = String;

    fn render(body: String) -> Response {
        typed::<Self>(body)
    }
}

impl Render for Html {
    type Out = &'static str;

    fn render(body: &'static str) -> Response {
        typed::<Self>(body)
    }
}

impl Render for Octets {
    type Out = Body;

    fn render(body: Body) -> Response {
        typed::<Self>(body)
    }
}

impl<T: ToSchema + Send + 'static> Render for EventStream<T> {
    type Out = Body;

    fn render(body: Body) -> Response {
        let mut response = typed::<Self>(body);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    // Reserved at once: growing would move the headers.
    response.headers_mut().reserve(HEADERS);
    response
}

fn typed<A: AnswerForm>(body: impl Into<Body>) -> Response {
    let mut response = response(body.into());
    if let Some(media) = A::MEDIA {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    response
}

/// A JSON answer to which headers can be added.
pub fn json<T: Serialize>(body: &T) -> Response {
    typed::<Json<NoBody>>(serde_json::to_vec(body).unwrap_or_default())
}

/// An answer that is JSON already.
pub fn json_text(text: &'static str) -> Response {
    typed::<Json<NoBody>>(text)
}

/// Adds `Raftshare-Index`.
fn with_index(mut response: Response, log_index: u64) -> Response {
    response.headers_mut().insert(INDEX, number(log_index));
    response
}

/// Adds the headers that say which node's state answered. A forwarded answer keeps the leader's headers.
pub fn describe(node: &Node, boot: &HeaderValue, response: &mut Response) {
    if !response.headers().contains_key(NODE) {
        let derived = response.extensions_mut().remove::<DerivedFrom>();
        add_state(node, boot, derived, response.headers_mut());
    }
}

/// The value of `Raftshare-Boot`.
pub fn boot(node: &Node) -> HeaderValue {
    HeaderValue::try_from(format!("{:016x}", node.boot)).expect("hexadecimal digits are valid in a header")
}

fn add_state(node: &Node, boot: &HeaderValue, derived: Option<DerivedFrom>, out: &mut HeaderMap) {
    // Read once, because every answer pays for it.
    let confirmation = node.leader_confirmation();
    let (applied, staleness) = match derived {
        Some(DerivedFrom { applied, as_of }) => (applied, age_ms(as_of)),
        None => {
            // The applied index is read before the age, so that the age holds for the state named here.
            let applied = node.applied();
            (applied, node.staleness_ms_as(confirmation.as_ref()))
        }
    };
    out.insert(NODE, number(node.config.id));
    out.insert(ROLE, HeaderValue::from_static(node.told_role_as(confirmation.as_ref())));
    out.insert(TERM, number(node.term()));
    out.insert(APPLIED, number(applied));
    out.insert(STALENESS_MS, number(staleness));
    out.insert(BOOT, boot.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_it_was_asked_for_whatever_is_kept() {
        for value in [0, 1, 16, 17, 1, 33, u64::MAX, 0, 16, 16] {
            assert_eq!(number(value), value.to_string());
        }
    }
}
