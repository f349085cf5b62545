//! The three floors of this crate, checked by reading its sources.
//!
//! ```text
//!  main, cli, start                 settings, assembling, stopping
//!  http                             the only floor that names axum and `ApiError`
//!  duties                           tasks that use the whole node
//!  node                             the handle
//!  everything else                  knows no node
//! ```
//!
//! Each rule is a function of the sources, and a test shows for each that made-up sources which break it are found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Modules that may name the node: the handle itself, and what stands above it.
const ABOVE: [&str; 6] = ["node", "duties", "http", "start", "cli", "main"];
/// The only file that reads a clock.
const CLOCK: &str = "sys/clock.rs";

/// Production code by file: without comments, strings and tests.
type Sources = BTreeMap<String, String>;

fn sources() -> Sources {
    let mut sources = Sources::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    assert!(sources.len() > 80, "the sources were read: {}", sources.len());
    sources
}

fn read(folder: &Path, at: &str, into: &mut Sources) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        if entry.file_type().expect("a type").is_dir() {
            // Tests may stand where they like.
            if name != "tests" {
                read(&entry.path(), &format!("{at}{name}/"), into);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(entry.path()).expect("text");
            into.insert(format!("{at}{name}"), code(&text));
        }
    }
}

/// What the compiler sees of a file in production.
fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = production.lines().map(|line| line.split("//").next().unwrap_or_default());
    // Every second part is inside of quotes; no string of this crate contains an escaped one and a path as well.
    lines.map(|line| line.split('"').step_by(2).collect::<String>()).collect::<Vec<_>>().join("\n")
}

/// The folder or file at the top that a file belongs to.
fn module(file: &str) -> &str {
    let top = file.split('/').next().unwrap_or(file);
    top.strip_suffix(".rs").unwrap_or(top)
}

/// The words of a piece of code, each with what follows it.
fn words(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c| !is_part(c));
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some((word, after))
    })
}

/// The modules that code names as `crate::module`, or in `crate::{module, …}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (_, after) in words(code).filter(|(word, after)| *word == "crate" && after.starts_with("::")) {
        let after = &after[2..];
        match after.strip_prefix('{') {
            None => named.extend(words(after).next().map(|(word, _)| word.to_owned())),
            Some(list) => {
                named.extend(top_of_list(list).iter().filter_map(|item| Some(words(item).next()?.0.to_owned())))
            }
        }
    }
    named
}

/// The items of a braced list, those of lists within it left where they are.
fn top_of_list(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0;
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ => {}
        }
        if let Some(item) = items.last_mut()
            && c != ','
        {
            item.push(c);
        }
    }
    items
}

/// Files below the node that name it.
fn naming_the_node(sources: &Sources) -> Vec<&str> {
    let below = sources.iter().filter(|(file, _)| !ABOVE.contains(&module(file)));
    let names_it = |code: &str| named_modules(code).contains("node") || words(code).any(|(word, _)| word == "Node");
    // What stands beside the handle in its folder is below it as well.
    let parts = sources.iter().filter(|(file, _)| file.starts_with("node/"));
    below.chain(parts).filter(|(_, code)| names_it(code)).map(|(file, _)| file.as_str()).collect()
}

/// Files outside of `http` that name what only `http` may.
fn naming_http(sources: &Sources) -> Vec<&str> {
    let outside = sources.iter().filter(|(file, _)| module(file) != "http");
    let names_it = |code: &str| words(code).any(|(word, _)| word == "axum" || word == "ApiError");
    outside.filter(|(_, code)| names_it(code)).map(|(file, _)| file.as_str()).collect()
}

/// Files that read a clock and are not the one that may.
fn reading_clocks(sources: &Sources) -> Vec<&str> {
    let reads = |code: &str| {
        words(code).any(|(word, after)| match word {
            "Instant" | "SystemTime" => {
                words(after).next().is_some_and(|(next, _)| next == "now") && after.starts_with("::")
            }
            "clock_gettime" => true,
            _ => false,
        })
    };
    let others = sources.iter().filter(|(file, code)| file.as_str() != CLOCK && reads(code));
    others.map(|(file, _)| file.as_str()).collect()
}

/// Files outside of `propose` that give commands to Raft, or make a stamp.
fn writing_past_propose(sources: &Sources) -> Vec<&str> {
    let outside = sources.iter().filter(|(file, _)| module(file) != "propose");
    let writes = |code: &str| words(code).any(|(word, _)| word == "client_write" || word == "Stamp");
    outside.filter(|(_, code)| writes(code)).map(|(file, _)| file.as_str()).collect()
}

/// Modules that name each other in a circle, each with those it names; empty if there is none.
fn circle(sources: &Sources) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<&str> = sources.keys().map(|file| module(file)).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in sources {
        let own = module(file);
        let named = named_modules(code).into_iter().filter(|named| named != own && modules.contains(named.as_str()));
        graph.entry(own.to_owned()).or_default().extend(named);
    }
    // What names nothing that is left is in no circle.
    loop {
        let left: BTreeSet<String> = graph.keys().cloned().collect();
        graph.values_mut().for_each(|named| named.retain(|name| left.contains(name)));
        let before = graph.len();
        graph.retain(|_, named| !named.is_empty());
        if graph.len() == before {
            return graph;
        }
    }
}

fn made_up(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(file, text)| ((*file).to_owned(), code(text))).collect()
}

#[test]
fn nothing_below_the_node_names_it() {
    assert_eq!(naming_the_node(&sources()), [""; 0]);
}

#[test]
fn only_http_names_axum_and_its_errors() {
    assert_eq!(naming_http(&sources()), [""; 0]);
}

#[test]
fn only_one_file_reads_clocks() {
    assert_eq!(reading_clocks(&sources()), [""; 0]);
}

#[test]
fn only_propose_gives_commands_to_raft_and_stamps_them() {
    assert_eq!(writing_past_propose(&sources()), [""; 0]);
}

#[test]
fn no_modules_stand_in_a_circle() {
    let circle = circle(&sources());
    assert!(circle.is_empty(), "{circle:#?}");
}

#[test]
fn a_module_that_names_the_node_is_found() {
    let sources = made_up(&[
        ("transport/server.rs", "use crate::node::Node;"),
        ("events.rs", "fn f(node: &crate::node::KnownLeader) {}"),
        ("node/failover.rs", "use super::Node;"),
        ("propose/queue.rs", "use crate::{config, node::Node};"),
        ("search/names.rs", "// crate::node::Node\nuse crate::node_id;\nlet text = \"crate::node::Node\";"),
        ("leader/mod.rs", "struct NodeId;\n#[cfg(test)]\nmod tests {\n    use crate::node::Node;\n}"),
        ("duties/digests.rs", "use crate::node::Node;"),
        ("node.rs", "pub struct Node;"),
    ]);
    assert_eq!(naming_the_node(&sources), ["events.rs", "propose/queue.rs", "transport/server.rs", "node/failover.rs"]);
}

#[test]
fn a_module_that_speaks_http_is_found() {
    let sources = made_up(&[
        ("duties/membership/mod.rs", "fn f() -> Result<(), ApiError> {}"),
        ("sys/net.rs", "use axum::body::Bytes;"),
        ("sys/clock.rs", "/// Not `axum`.\nfn f() {}"),
        ("http/error.rs", "use axum::http; pub enum ApiError {}"),
    ]);
    assert_eq!(naming_http(&sources), ["duties/membership/mod.rs", "sys/net.rs"]);
}

#[test]
fn a_module_that_reads_a_clock_is_found() {
    let sources = made_up(&[
        ("http/leases.rs", "let until = tokio::time::Instant::now();"),
        ("events.rs", "let at = SystemTime::now();"),
        ("sys/memory.rs", "libc::clock_gettime(0, &mut time);"),
        ("sys/clock.rs", "Instant::now()"),
        ("freshness.rs", "let at: Instant = clock::now(); let later = Instant::from_std(at);"),
    ]);
    assert_eq!(reading_clocks(&sources), ["events.rs", "http/leases.rs", "sys/memory.rs"]);
}

#[test]
fn a_module_that_writes_past_propose_is_found() {
    let sources = made_up(&[
        ("duties/leading.rs", "node.raft.client_write(proposal)"),
        ("http/leases.rs", "Stamp { term, at }"),
        ("propose/mod.rs", "raft.client_write(proposal)"),
        ("events.rs", "let timestamp = 1;"),
    ]);
    assert_eq!(writing_past_propose(&sources), ["duties/leading.rs", "http/leases.rs"]);
}

#[test]
fn a_circle_is_found_without_what_only_leads_to_it() {
    let line = [("a.rs", "use crate::b::B;"), ("b/mod.rs", "use crate::c;"), ("c.rs", "")];
    assert!(circle(&made_up(&line)).is_empty());
    let within = [("a/one.rs", "use crate::a::two::Two;"), ("a/two.rs", "use crate::a::one::One;")];
    assert!(circle(&made_up(&within)).is_empty(), "inside one folder modules may name each other");
    let round = [
        ("a.rs", "use crate::b::B;"),
        ("b/mod.rs", "use crate::{c, d::{e, f}};"),
        ("c.rs", "crate::a::f()"),
        ("d.rs", ""),
    ];
    let found = circle(&made_up(&round));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(found["b"], BTreeSet::from(["c".to_owned()]));
}
