//! What a node serves besides the index: metrics, its description, the console.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Html, Json, MetricsText, endpoint};

endpoint! {
    /// Prometheus metrics.
    Metrics = Get "/metrics" as "metrics", Own;
    answer: MetricsText, "Prometheus text format.";
    errors: Unauthorized;
}

endpoint! {
    /// This description.
    Openapi = Get "/openapi.json" as "openapi", Own;
    answer: Json<Description>, "OpenAPI 3.1.";
}

endpoint! {
    /// The web console.
    Console = Get "/" as "console", Own;
    answer: Html, "One page.";
}

/// An OpenAPI document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct Description(pub serde_json::Value);
