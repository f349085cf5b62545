//! The contract as `openapi.json`. [`markdown`] writes the list in `docs/api.md` from the same entries.
//!
//! Invariant: both documents come from the types. Nothing about a single endpoint is written here.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, ToSchema};

use super::*;

/// Request and response headers: name, meaning, schema of the value.
const HEADERS: [(&str, &str, &str); 13] = [
    (
        "Idempotency-Key",
        "Makes the write exactly-once: a repeated request of the same peer gets the first outcome again (X1). `session:sequence` or any other string.",
        r#"{"type":"string","minLength":1,"maxLength":128}"#,
    ),
    ("Idempotency-Floor", "The lowest sequence number whose answer the client still waits for (X2).", NUMBER),
    ("Raftshare-Forward", "`never`: answer 403 `not_leader` instead of forwarding (W2).", r#"{"enum":["never"]}"#),
    (
        "Raftshare-Deadline-Ms",
        "How long the caller waits, in milliseconds; 5 s if absent. A write that was not started by then is refused with `applied` = `no` and never carried out later (W6).",
        r#"{"type":"integer","minimum":1,"maximum":300000}"#,
    ),
    ("Raftshare-Node", "Id of the node whose state gave the answer.", NUMBER),
    ("Raftshare-Role", "That node's role.", r#"{"enum":["leader","follower","learner","candidate"]}"#),
    ("Raftshare-Term", "Its term.", NUMBER),
    ("Raftshare-Applied", "That node's applied log index.", NUMBER),
    ("Raftshare-Staleness-Ms", "Age of that node's state in milliseconds (R2).", NUMBER),
    ("Raftshare-Boot", "Random value that changes with each start of the process.", r#"{"type":"string"}"#),
    ("Raftshare-Index", "Log index of the write; pass it as `min_index` to read your own write (R3).", NUMBER),
    ("Raftshare-Total", "Number of hits before the limit.", NUMBER),
    ("Retry-After", "Seconds to wait before trying again.", NUMBER),
];
const NUMBER: &str = r#"{"type":"integer","format":"int64","minimum":0}"#;

/// Position of the first of [`HEADERS`] that every answer carries, and the number of such headers.
const STATE_HEADERS: std::ops::Range<usize> = 4..10;

/// An endpoint with everything that the documents say about it.
pub(super) struct Entry {
    pub(super) route: Route,
    pub(super) id: &'static str,
    pub(super) text: &'static [&'static str],
    pub(super) answered: &'static str,
    pub(super) errors: BTreeSet<ErrorCode>,
    pub(super) query: Vec<Value>,
    pub(super) request: Option<Value>,
    pub(super) status: u16,
    pub(super) media: Option<&'static str>,
    pub(super) body: Value,
}

pub(super) type Schemas = BTreeMap<String, Value>;

/// A reference to a type's schema, which is added to `schemas`; the schema itself if the type has no name of its own.
fn schema_of<T: ToSchema + 'static>(schemas: &mut Schemas) -> Value {
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    T::schemas(&mut found);
    let own = to_value(T::schema());
    let is_named = own.get("properties").is_some() || own.get("oneOf").is_some() || own.get("enum").is_some();
    let reference = if is_named {
        found.push((T::name().into_owned(), T::schema()));
        json!({"$ref": format!("#/components/schemas/{}", T::name())})
    } else {
        own
    };
    schemas.extend(found.into_iter().map(|(name, schema)| (name, to_value(schema))));
    reference
}

/// A schema as JSON, with descriptions in one line and without rustdoc's link syntax.
fn to_value(value: impl serde::Serialize) -> Value {
    fn tidy(value: &mut Value) {
        match value {
            Value::Object(map) => {
                // A number alias has no named schema.
                if map.get("$ref").is_some_and(|name| name == "#/components/schemas/u64") {
                    map.remove("$ref");
                    map.extend(parsed(NUMBER));
                }
                if let Some(Value::String(text)) = map.get_mut("description") {
                    *text = prose(text.lines());
                }
                map.values_mut().for_each(tidy);
            }
            Value::Array(items) => items.iter_mut().for_each(tidy),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    tidy(&mut value);
    value
}

fn parsed(schema: &str) -> Map<String, Value> {
    serde_json::from_str(schema).unwrap_or_default()
}

/// Joins the lines of a doc comment into one paragraph.
pub(super) fn prose<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = lines.into_iter().map(str::trim).filter(|line| !line.is_empty()).collect();
    words.join(" ").replace("[`", "`").replace("`]", "`")
}

fn params<Q: IntoParams>() -> Vec<Value> {
    Q::into_params(|| Some(ParameterIn::Query)).into_iter().map(to_value).collect()
}

fn entry<E: Endpoint>(schemas: &mut Schemas) -> Entry {
    let request = (TypeId::of::<E::Request>() != TypeId::of::<NoBody>()).then(|| schema_of::<E::Request>(schemas));
    let schema = schema_of::<<E::Answer as AnswerForm>::Schema>(schemas);
    let body = if E::Answer::IS_LIST { json!({"type": "array", "items": schema}) } else { schema };
    Entry {
        route: Route::of::<E>(),
        id: E::ID,
        text: E::TEXT,
        answered: E::ANSWERED,
        errors: E::KIND.errors().iter().chain(E::ERRORS).copied().collect(),
        query: params::<E::Query>(),
        request,
        status: E::Answer::STATUS,
        media: E::Answer::MEDIA,
        body,
    }
}

/// All endpoints, and the schemas they refer to.
pub(super) fn entries() -> (Vec<Entry>, Schemas) {
    let mut schemas = Schemas::new();
    schema_of::<Problem>(&mut schemas);
    macro_rules! all {
        ($($(#$mark:ident)? $endpoint:ident),+) => { vec![$(entry::<$endpoint>(&mut schemas)),+] };
    }
    let entries = crate::for_each_endpoint!(all);
    // `unknown` stands for the codes of other versions; no node sends it.
    if let Some(codes) = schemas.get_mut("ErrorCode").and_then(|schema| schema["enum"].as_array_mut()) {
        codes.retain(|code| *code != ErrorCode::Unknown.name());
    }
    schemas.remove("u64");
    (entries, schemas)
}

fn header_refs(names: impl IntoIterator<Item = &'static str>) -> Value {
    let refs = names.into_iter().map(|name| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")})));
    Value::Object(refs.collect())
}

fn state_headers() -> impl Iterator<Item = &'static str> {
    HEADERS[STATE_HEADERS].iter().map(|(name, ..)| *name)
}

/// Name of the shared response that describes the errors of one status.
fn errors_name(status: u16, codes: &[ErrorCode]) -> String {
    let words = codes.iter().flat_map(|code| code.name().split('_').map(capital).collect::<Vec<_>>());
    format!("Error{status}{}", words.collect::<String>())
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

pub(super) fn quoted(codes: &[ErrorCode]) -> String {
    codes.iter().map(|code| format!("`{}`", code.name())).collect::<Vec<_>>().join(", ")
}

/// An endpoint's error codes by status.
fn by_status(errors: &BTreeSet<ErrorCode>) -> BTreeMap<u16, Vec<ErrorCode>> {
    let mut by_status = BTreeMap::<_, Vec<_>>::new();
    for code in errors {
        by_status.entry(code.status()).or_default().push(*code);
    }
    by_status
}

fn error_response(status: u16, codes: &[ErrorCode]) -> Value {
    let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
    let mut headers: Vec<_> = state_headers().collect();
    if matches!(status, 429 | 503) {
        headers.push("Retry-After");
    }
    json!({
        "description": format!("{}.", quoted(codes)),
        "headers": header_refs(headers),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        "x-codes": names,
    })
}

/// Header parameters of the endpoints of a kind.
fn header_params(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Logged => &["Idempotency-Key", "Idempotency-Floor", "Raftshare-Forward", "Raftshare-Deadline-Ms"],
        Kind::Leader => &["Raftshare-Forward", "Raftshare-Deadline-Ms"],
        Kind::Read => &["Raftshare-Forward"],
        Kind::Local | Kind::Own => &[],
    }
}

fn operation(entry: &Entry, errors: &mut BTreeMap<String, Value>) -> Value {
    let kind = entry.route.kind;
    let mut parameters = entry.query.clone();
    let shared = |name: &str| json!({"$ref": format!("#/components/parameters/{name}")});
    if kind == Kind::Read {
        parameters.extend(params::<ReadParams>().iter().filter_map(|param| param["name"].as_str()).map(shared));
    }
    parameters.extend(header_params(kind).iter().map(|name| shared(name)));

    let mut headers: Vec<_> = state_headers().collect();
    match kind {
        Kind::Logged => headers.push("Raftshare-Index"),
        Kind::Read if entry.route.path == Search::PATH => headers.push("Raftshare-Total"),
        _ => {}
    }
    let mut answer = json!({"description": entry.answered, "headers": header_refs(headers)});
    if let Some(media) = entry.media {
        answer["content"] = json!({media: {"schema": entry.body}});
    }
    let mut responses = Map::from_iter([(entry.status.to_string(), answer)]);
    for (status, codes) in by_status(&entry.errors) {
        let name = errors_name(status, &codes);
        responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
        errors.entry(name).or_insert_with(|| error_response(status, &codes));
    }

    let (summary, rest) = entry.text.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let mut operation = json!({
        "operationId": entry.id,
        "tags": [kind.tag()],
        "summary": summary.trim().trim_end_matches('.'),
        "responses": responses,
    });
    let description = prose(rest.iter().copied());
    if !description.is_empty() {
        operation["description"] = description.into();
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = &entry.request {
        operation["requestBody"] = json!({
            "required": true,
            "description": "Unknown fields are ignored; `Content-Type` is not required.",
            "content": {"application/json": {"schema": schema}},
        });
    }
    operation
}

/// The OpenAPI 3.1 description of an index node.
pub fn openapi() -> Value {
    let (entries, schemas) = entries();
    let mut paths = Map::new();
    let mut errors = BTreeMap::new();
    for entry in &entries {
        let path = paths.entry(entry.route.path).or_insert_with(|| json!({}));
        path[entry.route.method.name().to_lowercase()] = operation(entry, &mut errors);
    }
    let refused = errors_name(403, &[ErrorCode::Forbidden]);
    errors.entry(refused.clone()).or_insert_with(|| error_response(403, &[ErrorCode::Forbidden]));
    // Not an endpoint: what speaks HTTP to the path of the nodes' own protocol.
    paths.insert(
        "/raft/{path}".to_owned(),
        json!({"post": {
            "operationId": "raft",
            "tags": [Kind::Own.tag()],
            "summary": "Node to node only: always refused",
            "parameters": [{"name": "path", "in": "path", "required": true, "schema": {"type": "string"}}],
            "responses": {"403": {"$ref": format!("#/components/responses/{refused}")}},
        }}),
    );
    let (sent, answered) = HEADERS.split_at(STATE_HEADERS.start);
    let mut parameters: Map<_, _> = sent
        .iter()
        .map(|(name, description, schema)| {
            let schema = parsed(schema);
            (
                (*name).to_owned(),
                json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema}),
            )
        })
        .collect();
    for param in params::<ReadParams>() {
        parameters.insert(param["name"].as_str().unwrap_or_default().to_owned(), param);
    }
    let headers: Map<_, _> = answered
        .iter()
        .map(|(name, description, schema)| {
            ((*name).to_owned(), json!({"description": description, "schema": parsed(schema)}))
        })
        .collect();
    let tags: Vec<_> = [Kind::Logged, Kind::Read, Kind::Leader, Kind::Own]
        .map(|kind| json!({"name": kind.tag(), "description": kind.text()}))
        .into();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "raftshare index node",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A replicated index of shared files, with leases and a replication planner.",
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Every node answers every request: writes and strong reads are forwarded to the leader, one \
                hop at most. Rule numbers such as L5 refer to `docs/consistency.md`.\n\nChecks run in this order: path, \
                method, size, JSON, types and names, peer, state. No answer is a redirect. `Raftshare-Node`, `-Role`, \
                `-Applied` and `-Staleness-Ms` describe the node whose state gave the answer; a forwarded answer keeps \
                the leader's.",
        },
        "servers": [{"url": "/", "description": "The node that serves this page."}],
        "tags": tags,
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description":
                "In `token` mode: a join token or peer secret for peers, an admin token for changes of the cluster. In \
                 `open` mode nothing is needed."}},
            "parameters": parameters,
            "headers": headers,
            "responses": errors,
            "schemas": schemas,
        },
    })
}
