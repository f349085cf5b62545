//! Runs the scripts in `testscripts/`: a scenario goes in, replies and events come out and are reviewed as text.
//!
//! Invariant: every command of a script is applied to the catalog and to a copy decoded from its bytes. Both must give
//! the same results and end in the same state, and the invariants must hold. So each scenario also tests determinism
//! and the encoding.
//!
//! ```text
//! limits cleanup=1 answers=10 own=5 opaque=2 line=1     an empty catalog with other limits
//! term 2                                                the term of the next entries
//! tick 15s | stamp 15s term=3                           an entry that moves the clock by 15 s, or to 15 s
//! P: holdings | place doc                               queries about peer P
//! txn_of 7.0                                            what became of a transaction
//! file doc | files | lease doc | leases | peers | counts | now | needs_ticks
//! ```
//!
//! The words of the operations stand in their files, with `Exercised`. Every operation takes `key=`, `body=`, `chunk=`
//! and `floor=`.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

mod arguments;
mod text;

use std::error::Error;
use std::fmt::Write as _;

use crate::catalog::*;
use crate::types::FileName;
use arguments::duration;
pub(in crate::catalog) use arguments::{Arguments, Parsed, hash_of};
pub(in crate::catalog) use text::{Labels, joined, or_none};

test_each_file::test_each_path! { in "./raft-store/src/catalog/tests/testscripts" as scripts => run }

fn run(path: &std::path::Path) {
    goldenscript::run(&mut Runner::default(), path).unwrap();
}

struct Runner {
    catalog: Catalog,
    term: u64,
    /// Entries so far; each has the next log index.
    entries: u64,
    labels: Labels,
}

impl Default for Runner {
    fn default() -> Self {
        Self { catalog: Catalog::default(), term: 1, entries: 0, labels: Labels::default() }
    }
}

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let mut arguments = Arguments::new(command, context, &mut self.labels);
        if let Some(command) = arguments.write()? {
            return self.apply(None, vec![command]);
        }
        match command.name.as_str() {
            "limits" => self.catalog = Catalog::with_limits(arguments.limits()?),
            "term" => self.term = arguments.next()?.parse()?,
            "tick" => {
                let stamp = Stamp { term: self.term, at: self.catalog.now() + duration(arguments.next()?)? };
                return self.apply(Some(stamp), Vec::new());
            }
            "stamp" => {
                let stamp =
                    Stamp { at: duration(arguments.next()?)?, term: arguments.number("term")?.unwrap_or(self.term) };
                return self.apply(Some(stamp), Vec::new());
            }
            query => return self.query(query, command, context),
        }
        Ok(String::new())
    }
}

impl Runner {
    /// Applies one entry to the catalog and to its decoded copy.
    fn apply(&mut self, stamp: Option<Stamp>, commands: Vec<Command>) -> Result<String, Box<dyn Error>> {
        let batch = Batch { stamp, commands };
        let mut twin = Catalog::decode(&self.catalog.encode())?;
        self.entries += 1;
        let entry = EntryId { term: self.term, index: self.entries };
        let applied = self.catalog.apply(entry, &batch);
        assert_eq!(twin.apply(entry, &batch), applied, "a decoded catalog gives the same results");
        assert_eq!(twin.digest(), self.catalog.digest(), "a decoded catalog ends in the same state");
        check(&self.catalog)?;
        let mut output = String::new();
        for reply in &applied.replies {
            writeln!(output, "{}", self.labels.outcome(reply))?;
        }
        for event in &applied.events {
            writeln!(output, "  {}", event.text(&self.labels))?;
        }
        Ok(output)
    }

    fn query(
        &self,
        query: &str,
        command: &goldenscript::Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let mut names = command.args.iter().filter_map(|argument| match argument {
            goldenscript::Argument::Positional(text) => Some(FileName::parse(text.as_str())),
            _ => None,
        });
        let mut name = || names.next().ok_or("a file name is missing")?.map_err(Box::<dyn Error>::from);
        let catalog = &self.catalog;
        let lines: Vec<String> = match query {
            "now" => vec![format!("{} ms", catalog.now())],
            "needs_ticks" => vec![catalog.needs_ticks().to_string()],
            "counts" => vec![format!("{:?}", catalog.counts())],
            "file" => vec![self.labels.file(catalog.file(&name()?))],
            "files" => {
                let after = name().ok();
                let files = catalog.files().filter(|file| after.as_ref().is_none_or(|after| file.name > *after));
                files.map(|file| self.labels.file(Some(file))).collect()
            }
            "lease" => vec![text::lease(catalog.lease(&name()?))],
            "txn_of" => {
                let id = command.consume_args().next_pos().ok_or("an id is missing")?.parse()?;
                vec![catalog.txn(id).map_or("unknown".into(), |outcome| Reply::Txn(outcome).text(&self.labels))]
            }
            "leases" => catalog.leases().map(|lease| text::lease(Some(lease))).collect(),
            "peers" => catalog.peers().map(|peer| text::peer(&peer)).collect(),
            "place" => vec![format!("{:?}", catalog.place(&name()?, &arguments::peer(context)?))],
            "holdings" => {
                let holdings = catalog.holdings(&arguments::peer(context)?);
                holdings.map(|(name, holder)| format!("{name} {}", self.labels.holder(&holder))).collect()
            }
            unknown => return Err(format!("no command {unknown}").into()),
        };
        Ok(if lines.is_empty() { "nothing\n".into() } else { lines.join("\n") })
    }
}
