//! Splits a line of the shell into words, and completes the word being typed.
//!
//! Invariant: a number means a row of the last search only where a file name is expected.

use std::any::TypeId;

use raft_store::types::FileName;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::cli::session::Session;

/// Splits a line into words. Quotes keep spaces, and a backslash keeps the next character.
///
/// Crates that split as a POSIX shell does (shlex, shell-words) drop everything after a `#`, so the text of
/// `append notes.md # heading` would be lost. They cannot say what is wrong with a line either.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None | Some('"'), '\\') => {
                let kept = characters.next().ok_or("the line ends with a backslash")?;
                word.get_or_insert_default().push(kept);
            }
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a quote ({open}) is not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// Replaces numbers with names from the last search, where the typed command expects file names.
pub(super) fn resolve_rows(
    shell: &clap::Command,
    mut words: Vec<String>,
    row: impl Fn(usize) -> Option<FileName>,
) -> Vec<String> {
    let (mut command, mut first) = (shell, 0);
    while let Some(inner) = words.get(first).and_then(|word| command.find_subcommand(word)) {
        (command, first) = (inner, first + 1);
    }
    let mut last = None;
    let mut arguments = command.get_positionals();
    for position in first..words.len() {
        // The last argument takes all remaining words if it takes several.
        last = arguments.next().or(last.filter(|argument: &&clap::Arg| is_list(argument)));
        let value_of_option = position > 0 && words[position - 1].starts_with('-');
        let number = words[position].parse().ok().filter(|_| !value_of_option && last.is_some_and(is_file_name));
        if let Some(name) = number.and_then(&row) {
            words[position] = name.to_string();
        }
    }
    words
}

fn is_list(argument: &clap::Arg) -> bool {
    matches!(argument.get_action(), clap::ArgAction::Append)
}

fn is_file_name(argument: &clap::Arg) -> bool {
    argument.get_value_parser().type_id() == TypeId::of::<FileName>()
}

/// Completes commands, and names from the last search.
pub(super) struct LineHelper {
    session: Session,
    commands: Vec<String>,
}

impl LineHelper {
    pub(super) fn new(session: Session, shell: &clap::Command) -> Self {
        Self { session, commands: shell.get_subcommands().map(|command| command.get_name().to_owned()).collect() }
    }
}

impl Completer for LineHelper {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or(line);
        let start = typed.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let prefix = &typed[start..];
        let candidates: Vec<String> = if typed[..start].trim().is_empty() {
            self.commands.iter().filter(|command| command.starts_with(prefix)).cloned().collect()
        } else {
            let rows = (1..).map_while(|number| self.session.row(number)).map(|name| name.to_string());
            rows.filter(|name| name.starts_with(prefix)).map(|name| name.replace(' ', "\\ ")).collect()
        };
        Ok((start, candidates))
    }
}

impl Hinter for LineHelper {
    type Hint = String;
}
impl Highlighter for LineHelper {}
impl Validator for LineHelper {}
impl Helper for LineHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_a_shell_would() {
        for (line, expected) in [
            ("", &[][..]),
            ("  get  a.txt ", &["get", "a.txt"]),
            ("get 'a b' \"c d\"", &["get", "a b", "c d"]),
            (r"get a\ b", &["get", "a b"]),
            (r#"append x "say \"hi\"" ''"#, &["append", "x", "say \"hi\"", ""]),
            ("get a'b c'd", &["get", "ab cd"]),
        ] {
            assert_eq!(split(line).expect(line), expected, "{line}");
        }
        assert!(split("get 'a").is_err());
        assert!(split("get a\\").is_err());
    }

    #[test]
    fn numbers_are_rows_only_where_names_are_expected() {
        let row = |number: usize| (number <= 2).then(|| FileName::parse(format!("row{number}")).expect("valid"));
        for (line, expected) in [
            ("get 1 2 3", "get row1 row2 3"),
            ("get 1 -O 2", "get row1 -O 2"),
            ("update 2", "update row2"),
            ("append 1 2", "append row1 2"),
            ("lease acquire 1", "lease acquire row1"),
            ("search 1", "search 1"),
            ("why x", "why x"),
            ("peers", "peers"),
            ("lease", "lease"),
        ] {
            assert_eq!(resolve_rows(&crate::cli::shell::command(), split(line).expect(line), row).join(" "), expected);
        }
    }
}
