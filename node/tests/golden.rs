//! Holds what is written down of the contract against the code: `openapi.json` and the endpoints in `docs/api.md`.
//!
//! `cargo test -p node --test golden -- --bless` writes both anew. A program of its own, because the test harness takes
//! no arguments that it does not know.
#![expect(clippy::print_stdout, reason = "a test program without the harness, which prints its results itself")]

use std::path::Path;
use std::process::ExitCode;

use client::contract::{document, markdown};
use serde_json::Value;

/// What is as short as this, in characters, is written in one line of the description.
const SHORT: usize = 200;
/// What is deeper than this is written in one line however long it is: an answer, or a field of a body.
const DEPTH_MAX: usize = 5;
/// The same for what endpoints share: headers, parameters, errors.
const DEPTH_SHARED_MAX: usize = 3;
fn main() -> ExitCode {
    let bless = std::env::args().any(|argument| argument == "--bless");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let described = format!("{}\n", pretty(&document::openapi(), 0, DEPTH_MAX));
    let outcomes = [
        hold(&root.join("src/http/openapi.json"), bless, |_| described.clone()),
        hold(&root.join("../docs/api.md"), bless, |now| {
            let listed = replaced(now, "routes", &markdown::table());
            replaced(&listed, "endpoints", &markdown::endpoints())
        }),
    ];
    if outcomes.iter().all(|held| *held) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A document with what stands between the marks `<!-- part -->` and `<!-- /part -->` replaced.
fn replaced(text: &str, part: &str, by: &str) -> String {
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- /{part} -->"));
    let (before, rest) = text.split_once(&begin).expect("the document marks where the part begins");
    let (_, after) = rest.split_once(&end).expect("the document marks where the part ends");
    format!("{before}{begin}\n{by}\n{end}{after}")
}

/// Whether a file says what it should; with `bless` it is made to.
fn hold(path: &Path, bless: bool, wanted: impl Fn(&str) -> String) -> bool {
    let now = std::fs::read_to_string(path).unwrap_or_default();
    let wanted = wanted(&now);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if now == wanted {
        println!("test {name} ... ok");
        return true;
    }
    if bless {
        std::fs::write(path, wanted).expect("the file can be written");
        println!("test {name} ... written");
        return true;
    }
    let at = now.lines().zip(wanted.lines()).position(|(now, wanted)| now != wanted).unwrap_or(0);
    println!("test {name} ... FAILED");
    println!("  line {}:\n  - {}\n  + {}", at + 1, line(&now, at), line(&wanted, at));
    println!("  if the change is meant: cargo test -p node --test golden -- --bless");
    false
}

fn line(text: &str, at: usize) -> &str {
    text.lines().nth(at).unwrap_or_default()
}

/// JSON in as few lines as fit.
fn pretty(value: &Value, indent: usize, depth_max: usize) -> String {
    let short = compact(value);
    if short.chars().count() <= SHORT || indent == 2 * depth_max {
        return short;
    }
    let pad = " ".repeat(indent + 2);
    let end = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            let field = |(name, value): (&String, &Value)| {
                let shared = indent == 2 && matches!(name.as_str(), "headers" | "parameters" | "responses");
                let depth_max = if shared { DEPTH_SHARED_MAX } else { depth_max };
                format!("{pad}{}: {}", Value::from(name.as_str()), pretty(value, indent + 2, depth_max))
            };
            format!("{{\n{}\n{end}}}", map.iter().map(field).collect::<Vec<_>>().join(",\n"))
        }
        Value::Array(items) => {
            let items: Vec<_> =
                items.iter().map(|item| format!("{pad}{}", pretty(item, indent + 2, depth_max))).collect();
            format!("[\n{}\n{end}]", items.join(",\n"))
        }
        _ => short,
    }
}

fn compact(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<_> =
                map.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), compact(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(", ")),
        _ => value.to_string(),
    }
}
