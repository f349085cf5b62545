//! Rules about what documents refer to: links, paths and modules in backticks, checks of invariants.

use super::tree::{Finding, Tree, prose};

/// The crates, and what a module path that begins with one is looked up under.
const CRATES: [&str; 4] = ["raft-store", "client", "node", "chaos"];
/// Endings by which a word in backticks is a file.
const FILES: [&str; 5] = [".rs", ".md", ".toml", ".golden", ".patch"];
/// How the architecture marks a sentence that has to hold.
const INVARIANT: &str = "**Architecture Invariant:**";

/// Notebooks name the files of their time.
pub(crate) fn is_about_today(file: &str) -> bool {
    file.ends_with(".md") && !file.starts_with("docs/history/") && file != "CHANGELOG.md"
}

/// Relative links whose target does not exist.
pub(crate) fn broken_links(tree: &Tree, file: &str, text: &str) -> Vec<Finding> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let broken = |target: &&str| {
        let path = target.split('#').next().unwrap_or_default();
        !target.contains("://") && !path.is_empty() && !tree.paths.contains(&resolve(folder, path))
    };
    let links = prose(text).flat_map(|(index, line)| targets(line).map(move |target| (index, target)));
    let found = links.filter(|(_, target)| broken(target));
    found.map(|(index, target)| Finding::new(index, format!("links to {target}, which does not exist"))).collect()
}

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// A path as seen from a folder, from the root.
fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/") + if path.ends_with('/') { "/" } else { "" }
}

/// Paths and modules in backticks that do not exist.
pub(crate) fn missing(tree: &Tree, text: &str) -> Vec<Finding> {
    let words = prose(text).flat_map(|(index, line)| backticked(line).map(move |word| (index, word)));
    let found = words.filter(|(_, word)| is_missing(tree, word));
    found.map(|(index, word)| Finding::new(index, format!("names `{word}`, which does not exist"))).collect()
}

/// What stands between backticks in a line.
fn backticked(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_missing(tree: &Tree, word: &str) -> bool {
    if let Some(path) = as_path(word) {
        return !tree.has(path);
    }
    as_module(word).is_some_and(|module| !has_module(tree, &module))
}

/// A word that is a path of the tree: it begins with one of its folders, or ends as its files do.
fn as_path(word: &str) -> Option<&str> {
    let plain = word.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
    let first = word.split('/').next()?;
    let in_tree = word.contains('/') && (CRATES.contains(&first) || ["docs", ".ci", ".cargo"].contains(&first));
    let is_file = FILES.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending));
    (plain && (in_tree || is_file) && !word.starts_with(['/', '.']) || word.starts_with(".c") && in_tree)
        .then_some(word)
}

/// The modules of `crate::module::Item`, without the item.
fn as_module(word: &str) -> Option<Vec<&str>> {
    let plain = word.chars().all(|c| c.is_alphanumeric() || "_-:".contains(c));
    let parts: Vec<&str> = word.split("::").collect();
    let is_item = |part: &&str| part.starts_with(char::is_uppercase);
    if !plain || parts.len() < 2 || parts.iter().any(|part| part.is_empty() || part.contains(':')) || is_item(&parts[0])
    {
        return None;
    }
    Some(parts.into_iter().take_while(|part| !is_item(part)).collect())
}

/// Whether the modules are a file or a folder, of the crate that is named first or of any.
fn has_module(tree: &Tree, module: &[&str]) -> bool {
    let path = match module {
        [of, rest @ ..] if CRATES.contains(of) => format!("{of}/src/{}", rest.join("/")),
        module => module.join("/"),
    };
    tree.has(&format!("{path}.rs")) || tree.has(&path)
}

/// Invariants that name no file which checks them.
pub(crate) fn unchecked_invariants(tree: &Tree, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut line = 0;
    for paragraph in text.split("\n\n") {
        let names_check = || backticked(paragraph).filter_map(as_path).any(|path| tree.has(path));
        if paragraph.contains(INVARIANT) && !names_check() {
            found.push(Finding::new(line, "an invariant that names no check: a file in backticks that exists"));
        }
        line += paragraph.lines().count() + 1;
    }
    found
}

/// Modules at the top of a crate that the architecture does not name in backticks.
pub(crate) fn modules_without_a_line(tree: &Tree, text: &str) -> Vec<String> {
    let named: Vec<&str> = prose(text).flat_map(|(_, line)| backticked(line)).collect();
    let is_named = |module: &str| named.iter().any(|word| word.split([':', '.', '/']).any(|part| part == module));
    let module = |path: &str| {
        let (_, file) = path.split_once("/src/")?;
        let module = file.strip_suffix(".rs").or_else(|| file.strip_suffix('/'))?;
        (!module.contains('/') && !["lib", "tests"].contains(&module) && !is_named(module)).then(|| path.to_owned())
    };
    tree.paths.iter().filter_map(|path| module(path)).collect()
}

/// Lines by which the harness would judge with the product's own rules: of the product it may know the types.
pub(crate) fn judging_with_the_product(text: &str) -> Vec<Finding> {
    let crates = ["raft_store::", "client::", "node::"];
    let names = |line: &str| crates.iter().any(|name| line.contains(name) && !line.contains("raft_store::types"));
    let lines = text.lines().enumerate().filter(|(_, line)| names(line));
    lines.map(|(index, _)| Finding::new(index, "names the product; a checker shares no code with it")).collect()
}

fn made_up() -> Tree {
    Tree::made_up(&[
        "README.md",
        "docs/",
        "docs/api.md",
        "node/src/sys/clock.rs",
        "node/src/",
        "node/src/sys/",
        "node/src/node.rs",
    ])
}

#[test]
fn a_broken_link_is_found() {
    let links = "[a](../README.md) [b](api.md#one) [c](#two) [d](https://example.org)\n[e](gone.md)\n`[f](gone.md)`";
    let found = broken_links(&made_up(), "docs/api.md", links);
    assert_eq!(found[0], Finding::new(1, "links to gone.md, which does not exist"));
    assert_eq!(broken_links(&made_up(), "README.md", "[a](docs/) [b](docs/api.md)"), []);
}

#[test]
fn a_path_that_does_not_exist_is_found() {
    let text =
        "`node/src/sys/clock.rs`, `clock.rs`, `docs/`, `target/release/x`, `GET /files`, `a / b`, `--config x.toml`";
    assert_eq!(missing(&made_up(), text), []);
    for word in ["node/src/sys/gone.rs", "gone.rs", "docs/gone/", ".ci/gone"] {
        assert_eq!(missing(&made_up(), &format!("see `{word}`")).len(), 1, "{word}");
    }
}

#[test]
fn a_module_that_does_not_exist_is_found() {
    assert_eq!(missing(&made_up(), "`sys::clock::Monotonic`, `node::sys`, `Catalog::apply`, `node::Node`"), []);
    assert_eq!(missing(&made_up(), "`sys::gone`").len(), 1);
}

#[test]
fn a_checker_that_uses_the_product_is_found() {
    assert_eq!(judging_with_the_product("use raft_store::types::PeerId;\nuse crate::model::Model;"), []);
    assert_eq!(judging_with_the_product("use raft_store::catalog::Catalog;")[0].line, 1);
}

#[test]
fn an_invariant_without_a_check_is_found() {
    let checked = format!("# A\n\n{INVARIANT} time is\nread once; `sys/clock.rs` checks it.\n\nMore.");
    assert_eq!(unchecked_invariants(&made_up(), &checked), []);
    let unchecked = format!("# A\n\n{INVARIANT} time is read once, by `gone.rs`.\n\n`sys/clock.rs`");
    assert_eq!(unchecked_invariants(&made_up(), &unchecked)[0].line, 3);
}

#[test]
fn a_module_without_a_line_is_found() {
    assert_eq!(modules_without_a_line(&made_up(), "`node` and `sys::clock`"), [""; 0]);
    assert_eq!(modules_without_a_line(&made_up(), "node and `sys::clock`"), ["node/src/node.rs"]);
}
