//! Successful answers, and the headers that every answer carries (R2).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use client::api::headers;
use serde::Serialize;

use crate::node::Node;

/// 200 with a JSON body; writes name their log index.
pub fn ok_json<T: Serialize>(value: &T, log_index: Option<u64>) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match log_index {
        Some(log_index) => with_index(response, log_index),
        None => response,
    }
}

/// 204 for a write.
pub fn no_content(log_index: u64) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    with_index(response, log_index)
}

/// Adds `Raftshare-Index`.
pub fn with_index(mut response: Response, log_index: u64) -> Response {
    response.headers_mut().insert(HeaderName::from_static(headers::INDEX), HeaderValue::from(log_index));
    response
}

/// Says whose state answered. A forwarded answer keeps the leader's headers.
pub fn describe(node: &Node, response: &mut Response) {
    if !response.headers().contains_key(headers::NODE) {
        add_state(node, response.headers_mut());
    }
}

fn add_state(node: &Node, out: &mut HeaderMap) {
    // The applied index is read before the age: the age must hold for the state named here.
    let (applied, staleness) = (node.applied(), node.staleness_ms());
    let mut put = |name, value| {
        out.insert(HeaderName::from_static(name), value);
    };
    put(headers::NODE, HeaderValue::from(node.config.id));
    put(headers::ROLE, HeaderValue::from_static(node.role()));
    put(headers::TERM, HeaderValue::from(node.term()));
    put(headers::APPLIED, HeaderValue::from(applied));
    put(headers::STALENESS_MS, HeaderValue::from(staleness));
    if let Ok(boot) = HeaderValue::from_str(&format!("{:016x}", node.boot)) {
        put(headers::BOOT, boot);
    }
}
