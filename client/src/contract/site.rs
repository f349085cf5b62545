//! What a node serves besides the index: metrics, the OpenAPI document and the console.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Html, Json, MetricsText, endpoint};

endpoint! {
    /// Get the node's Prometheus metrics.
    Metrics = Get "/metrics" as "metrics", Own;
    answer: MetricsText, "Prometheus text format.";
    errors: Unauthorized;
}

endpoint! {
    /// Get this OpenAPI document.
    Openapi = Get "/openapi.json" as "openapi", Own;
    answer: Json<Description>, "The OpenAPI 3.1 document.";
}

endpoint! {
    /// Open the web console.
    Console = Get "/" as "console", Own;
    answer: Html, "The console, a single page.";
}

/// An OpenAPI document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct Description(pub serde_json::Value);
