//! The files of the workspace, and the parts of a text that rules are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders that are not sources: what is built, and what programs leave behind. Hidden ones are not either, but these.
const SKIPPED: [&str; 3] = ["target", "chaos-report", "node_modules"];
const HIDDEN: [&str; 2] = [".ci", ".cargo"];
/// What is read; of other files only the path is known.
const READ: [&str; 7] = [".rs", ".md", ".toml", ".golden", "Cargo.lock", "/run", "/generate"];

/// Every file of the workspace, by its path from the root.
pub(crate) struct Tree {
    /// Paths of files, and of folders with a `/` at the end.
    pub(crate) paths: BTreeSet<String>,
    pub(crate) texts: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let mut tree = Self { paths: BTreeSet::new(), texts: BTreeMap::new() };
        tree.walk(root, "");
        tree
    }

    /// A tree of files with these paths and no text.
    pub(crate) fn made_up(paths: &[&str]) -> Self {
        Self { paths: paths.iter().map(|&path| path.to_owned()).collect(), texts: BTreeMap::new() }
    }

    /// Whether a file or folder has this path, or one that ends with it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_start_matches("./");
        let folder = format!("{}/", path.trim_end_matches('/'));
        let ends = |known: &str, wanted: &str| {
            known.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        self.paths.iter().any(|known| ends(known, path) || ends(known, &folder))
    }

    fn walk(&mut self, folder: &Path, at: &str) {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let path = format!("{at}{name}");
            if entry.file_type().expect("a type").is_dir() {
                let hidden = name.starts_with('.') && !HIDDEN.contains(&name.as_str());
                if hidden || SKIPPED.contains(&name.as_str()) {
                    continue;
                }
                self.walk(&entry.path(), &format!("{path}/"));
                self.paths.insert(format!("{path}/"));
                continue;
            }
            if READ.iter().any(|ending| path.ends_with(ending)) {
                self.texts.insert(path.clone(), std::fs::read_to_string(entry.path()).expect("text"));
            }
            self.paths.insert(path);
        }
    }
}

/// What a rule found in a line of a text.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(index: usize, what: impl Into<String>) -> Self {
        Self { line: index + 1, what: what.into() }
    }

    pub(crate) fn in_file(&self, file: &str) -> String {
        format!("{file}:{}: {}", self.line, self.what)
    }
}

/// The lines of a Markdown document outside of code blocks, each with its index.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Rust code without what stands in quotes: strings are what users see, and have rules of their own.
pub(crate) fn without_strings(code: &str) -> String {
    let outside = |line: &str| match line.trim_start().starts_with("//") {
        true => line.to_owned(),
        false => line.split('"').step_by(2).collect::<String>(),
    };
    code.lines().map(outside).collect::<Vec<_>>().join("\n")
}

#[test]
fn prose_leaves_code_blocks_out() {
    let lines: Vec<_> = prose("one\n```sh\ntwo\n```\nthree").collect();
    assert_eq!(lines, [(0, "one"), (4, "three")]);
}

#[test]
fn strings_are_left_out_and_comments_stay() {
    assert_eq!(without_strings("let a = \"b\"; c\n// \"d\""), "let a = ; c\n// \"d\"");
}

#[test]
fn a_path_is_found_by_its_end() {
    let tree = Tree::made_up(&["node/src/", "node/src/cli/why.rs", "README.md"]);
    assert!(["README.md", "why.rs", "cli/why.rs", "node/src", "node/src/"].iter().all(|path| tree.has(path)));
    assert!(!["y.rs", "why", "cli/", "docs/README.md"].iter().any(|path| tree.has(path)));
}
