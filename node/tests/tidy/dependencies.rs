//! Rules about dependencies that need no tool. `cargo deny` and `cargo shear` check these and more where they are
//! installed.

use std::collections::BTreeMap;

/// Where every package comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A package of `Cargo.lock`.
struct Package<'a> {
    name: &'a str,
    /// None for a member of the workspace.
    source: Option<&'a str>,
    needs: Vec<&'a str>,
}

fn packages(lock: &str) -> Vec<Package<'_>> {
    let value = |block: &'_ str, key: &str| -> Option<(usize, usize)> {
        let start = block.find(&format!("\n{key} = \""))? + key.len() + 5;
        Some((start, start + block[start..].find('"')?))
    };
    let blocks = lock.split("[[package]]").skip(1);
    let package = |block| {
        let text = |key| value(block, key).map(|(start, end)| &block[start..end]);
        let list = block.split_once("dependencies = [").map_or("", |(_, list)| list);
        // Every second part is in quotes; a version may follow the name.
        let needs = list.split('"').skip(1).step_by(2).filter_map(|need| need.split(' ').next());
        Some(Package { name: text("name")?, source: text("source"), needs: needs.collect() })
    };
    blocks.filter_map(package).collect()
}

/// Packages that come from elsewhere than crates.io.
pub(crate) fn foreign_sources(lock: &str) -> Vec<String> {
    let foreign = |package: &&Package<'_>| package.source.is_some_and(|source| source != REGISTRY);
    let packages = packages(lock);
    packages.iter().filter(foreign).map(|package| format!("{} is not from crates.io", package.name)).collect()
}

/// The entries `{ crate = "…", wrappers = […] }` of `deny.toml`: who alone may depend on a crate.
fn wrappers(deny: &str) -> BTreeMap<&str, Vec<&str>> {
    let entries = deny.lines().filter_map(|line| line.split_once("{ crate = \"")?.1.split_once("\", wrappers = ["));
    entries
        .map(|(name, rest)| {
            let list = rest.split(']').next().unwrap_or_default();
            (name, list.split('"').skip(1).step_by(2).collect())
        })
        .collect()
}

/// Packages that depend on a crate which `deny.toml` leaves to others.
pub(crate) fn denied(deny: &str, lock: &str) -> Vec<String> {
    let wrappers = wrappers(deny);
    let wrong = |package: &Package<'_>| {
        let denied = |need: &&&str| wrappers.get(**need).is_some_and(|allowed| !allowed.contains(&package.name));
        package
            .needs
            .iter()
            .filter(denied)
            .map(|need| format!("{} depends on {need}", package.name))
            .collect::<Vec<_>>()
    };
    packages(lock).iter().flat_map(wrong).collect()
}

/// Dependencies of a manifest that none of the crate's sources names.
pub(crate) fn unused<'a>(manifest: &'a str, sources: &[&str]) -> Vec<&'a str> {
    let section = |line: &str| line.starts_with('[').then(|| line.ends_with("dependencies]"));
    let mut inside = false;
    let lines = manifest.lines().filter(move |line| {
        inside = section(line).unwrap_or(inside);
        inside && !line.starts_with('[')
    });
    let names = lines.filter_map(|line| line.split([' ', '.', '=']).next());
    let names = names.filter(|name| !name.is_empty() && !name.starts_with('#'));
    let is_named = |name: &str| {
        let name = name.replace('-', "_");
        sources.iter().any(|source| source.contains(&format!("{name}::")) || source.contains(&format!("use {name}")))
    };
    names.filter(|name| !is_named(name)).collect()
}

#[cfg(test)]
const LOCK: &str = "[[package]]\nname = \"client\"\nversion = \"1\"\ndependencies = [\n \"sled\",\n \"serde 1.0\",\n]\n\n\
    [[package]]\nname = \"sled\"\nversion = \"1\"\nsource = \"git+https://example.org\"\n";

#[test]
fn a_package_from_elsewhere_is_found() {
    assert_eq!(foreign_sources(LOCK), ["sled is not from crates.io"]);
    assert_eq!(foreign_sources(&LOCK.replace("git+https://example.org", REGISTRY)), [""; 0]);
}

#[test]
fn a_dependency_that_is_left_to_others_is_found() {
    let deny = |who| format!("deny = [\n    {{ crate = \"sled\", wrappers = [\"{who}\"], reason = \"storage\" }},\n]");
    assert_eq!(denied(&deny("raft-store"), LOCK), ["client depends on sled"]);
    assert_eq!(denied(&deny("client"), LOCK), [""; 0]);
}

#[test]
fn an_unused_dependency_is_found() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nserde.workspace = true\ntokio-util = { version = \"1\" }\n\
        # why\n[features]\ndefault = []\n";
    assert_eq!(unused(manifest, &["use serde::Serialize;"]), ["tokio-util"]);
    assert_eq!(unused(manifest, &["use serde::Serialize;", "tokio_util::sync::x()"]), [""; 0]);
}
