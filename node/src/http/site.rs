//! What a node serves besides the index: the OpenAPI document and the console. `/metrics` is in [`super::metrics`].

use client::contract::{Console, Description, Openapi};

use super::error::ApiError;
use super::handle::{Call, Handle, nothing_to_check};
use super::reply::{Reply, json_text};

/// The OpenAPI document; a test compares it with the contract.
const OPENAPI: &str = include_str!("openapi.json");

impl Handle for Openapi {
    nothing_to_check!();

    async fn answer(_call: &Call, (): ()) -> Result<Reply<Description>, ApiError> {
        Ok(Reply::Whole(json_text(OPENAPI)))
    }
}

impl Handle for Console {
    nothing_to_check!();

    async fn answer(_call: &Call, (): ()) -> Result<Reply<&'static str>, ApiError> {
        Ok(Reply::Answer(include_str!("console.html")))
    }
}
