//! The endpoints as Markdown, for `docs/api.md`.

use std::fmt::Write;

use serde_json::Value;

use super::document::{Entry, entries, prose, quoted};
use super::{ErrorCode, Kind};

/// Width of the text, in columns.
const WIDTH: usize = 120;
/// Nesting depth to which the shape of a body is shown.
const DEPTH_MAX: usize = 3;
/// Most values of an enumeration that are shown; a longer enumeration is shown without values.
const VALUES_MAX: usize = 6;

/// The table of endpoints: one line each with method, path, kind and summary.
pub fn table() -> String {
    let mut out = String::from("| method | path | kind | what it does |\n| --- | --- | --- | --- |\n");
    for entry in entries().0 {
        let (method, path, kind) = (entry.route.method.name(), entry.route.path, entry.route.kind.name());
        let what = entry.text.first().map_or("", |line| line.trim().trim_end_matches('.'));
        let _ = writeln!(out, "| {method} | `{path}` | {kind} | {what} |");
    }
    out
}

/// The list of endpoints: description, request and answer of each.
pub fn endpoints() -> String {
    let (entries, schemas) = entries();
    let schemas = Value::Object(schemas.into_iter().collect());
    let mut out = String::new();
    for (title, kind) in [
        ("Writes", Kind::Logged),
        ("Reads", Kind::Read),
        ("At the leader", Kind::Leader),
        ("At any node", Kind::Local),
        ("About the node", Kind::Own),
    ] {
        let _ = write!(out, "### {title}\n\n{}\n\n", wrapped(kind.text()));
        let _ = write!(out, "{}\n\n", wrapped(&format!("Errors of all: {}.", quoted(kind.errors()))));
        for entry in entries.iter().filter(|entry| entry.route.kind == kind) {
            describe(&mut out, entry, &schemas);
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn describe(out: &mut String, entry: &Entry, schemas: &Value) {
    let _ = write!(out, "#### `{} {}`\n\n", entry.route.method.name(), entry.route.path);
    let _ = write!(out, "{}\n\n", wrapped(&prose(entry.text.iter().copied())));
    for param in &entry.query {
        let (name, what) = (&param["name"], param["description"].as_str().unwrap_or_default());
        let needed = if param["required"] == true { "" } else { " (optional)" };
        let line = format!("`{}`{needed}: {what}", name.as_str().unwrap_or_default());
        let _ = writeln!(out, "- {}", wrapped(&line).replace('\n', "\n  "));
    }
    if !entry.query.is_empty() {
        out.push('\n');
    }
    if let Some(request) = &entry.request {
        let _ = write!(out, "Request:\n\n{}\n\n", block(&shape(request, schemas, 0)));
    }
    let answered = entry.answered.trim_end_matches('.');
    match entry.media {
        Some("application/json") => {
            let _ = write!(out, "{}: {answered}.\n\n{}\n\n", entry.status, block(&shape(&entry.body, schemas, 0)));
        }
        Some(media) => {
            let _ = write!(out, "{}, `{media}`: {answered}.\n\n", entry.status);
        }
        None => {
            let _ = write!(out, "{}: {answered}.\n\n", entry.status);
        }
    }
    let common = entry.route.kind.errors();
    let own: Vec<ErrorCode> = entry.errors.iter().copied().filter(|code| !common.contains(code)).collect();
    if !own.is_empty() {
        let _ = write!(out, "{}\n\n", wrapped(&format!("Errors: {}.", quoted(&own))));
    }
}

/// The shape of a body in short: field names, with `?` after optional ones.
fn shape(schema: &Value, schemas: &Value, depth: usize) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return shape(&schemas[name], schemas, depth);
    }
    let any = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()).or_else(|| schema["allOf"].as_array());
    if let Some(any) = any {
        let forms: Vec<_> = any
            .iter()
            .filter(|schema| schema["type"] != "null")
            .map(|schema| shape(schema, schemas, depth))
            .filter(|form| !form.is_empty())
            .collect();
        return forms.join(" or ");
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| values.len() <= VALUES_MAX) {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ");
    }
    if let Some(items) = schema.get("items") {
        let inner = shape(items, schemas, depth);
        return if inner.is_empty() { "[…]".to_owned() } else { format!("[{inner}]") };
    }
    let Some(properties) = schema["properties"].as_object() else { return String::new() };
    if depth == DEPTH_MAX {
        return "{…}".to_owned();
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = properties.iter().map(|(name, schema)| {
        let optional = if required.contains(&name.as_str()) { "" } else { "?" };
        match shape(schema, schemas, depth + 1) {
            inner if inner.is_empty() => format!("\"{name}\"{optional}"),
            inner => format!("\"{name}\"{optional}: {inner}"),
        }
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

/// A code block, wrapped after commas.
fn block(form: &str) -> String {
    format!("```text\n{}\n```", fill(form, ", ", ","))
}

fn wrapped(text: &str) -> String {
    fill(text, " ", "")
}

/// Wraps a text between its parts, so that no line is wider than [`WIDTH`].
fn fill(text: &str, between: &str, kept: &str) -> String {
    let mut lines = vec![String::new()];
    for part in text.split(between) {
        let line = lines.last_mut().expect("there is a line");
        if line.is_empty() {
            line.push_str(part);
        } else if line.chars().count() + between.len() + part.chars().count() + kept.len() <= WIDTH - 2 {
            line.push_str(between);
            line.push_str(part);
        } else {
            line.push_str(kept);
            lines.push(part.to_owned());
        }
    }
    lines.join("\n")
}
