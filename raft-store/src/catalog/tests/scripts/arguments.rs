//! Reads the arguments of a script's command.
//!
//! Invariant: scripts name bytes, tokens and bodies by labels; their values are the hashes of the labels.

use std::error::Error;

use goldenscript::{ArgumentConsumer, Context};
use sha2::{Digest, Sha256};

use super::text::Labels;
use crate::catalog::tests::exercise::read_op;
use crate::catalog::{Command, Holding, KeyTag, Limits};
use crate::types::{ContentHash, FileName, LeaseToken, PeerId};

/// The result of reading a part of a script.
pub(in crate::catalog) type Parsed<T> = Result<T, Box<dyn Error>>;

/// The arguments of a script's command. Each method removes what it reads.
pub(in crate::catalog) struct Arguments<'a> {
    name: &'a str,
    context: &'a Context,
    arguments: ArgumentConsumer<'a>,
    labels: &'a mut Labels,
}

/// The peer of a command: its prefix.
pub(super) fn peer(context: &Context) -> Parsed<PeerId> {
    Ok(PeerId::parse(context.prefix.clone().ok_or("the command needs a peer as its prefix")?)?)
}

/// `100ms`, `15s`, `10m`, `24h` or `30d`, in milliseconds.
pub(super) fn duration(text: &str) -> Parsed<u64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => return Err(format!("no unit of time {unit:?}").into()),
    };
    Ok(digits.parse::<u64>()? * unit)
}

/// The bytes that a label stands for.
pub(in crate::catalog) fn hash_of(label: &str) -> ContentHash {
    ContentHash(Sha256::digest(label).into())
}

impl<'a> Arguments<'a> {
    pub(super) fn new(command: &'a goldenscript::Command, context: &'a Context, labels: &'a mut Labels) -> Self {
        Self { name: &command.name, context, arguments: command.consume_args(), labels }
    }

    /// The name of the command.
    pub(in crate::catalog) fn word(&self) -> &'a str {
        self.name
    }

    /// The peer of the command: its prefix.
    pub(in crate::catalog) fn peer(&self) -> Parsed<PeerId> {
        peer(self.context)
    }

    /// `KEY=TEXT`.
    pub(in crate::catalog) fn text(&mut self, key: &str) -> Option<&'a str> {
        self.arguments.take_key(key)
    }

    /// The next argument without a key.
    pub(in crate::catalog) fn next(&mut self) -> Parsed<&'a str> {
        Ok(self.arguments.next_pos().ok_or("an argument is missing")?)
    }

    /// The next argument without a key, if there is one.
    pub(in crate::catalog) fn next_if_any(&mut self) -> Option<&'a str> {
        self.arguments.next_pos()
    }

    /// The token that a label stands for.
    pub(in crate::catalog) fn token_of(&mut self, label: &str) -> LeaseToken {
        self.labels.token(label)
    }

    pub(in crate::catalog) fn number(&mut self, key: &str) -> Parsed<Option<u64>> {
        Ok(self.arguments.take_key(key).map(str::parse).transpose()?)
    }

    pub(in crate::catalog) fn flag(&mut self, flag: &str) -> Parsed<bool> {
        match self.arguments.next_pos() {
            None => Ok(false),
            Some(word) if word == flag => Ok(true),
            Some(word) => Err(format!("no flag {word}").into()),
        }
    }

    pub(in crate::catalog) fn file(&mut self) -> Parsed<FileName> {
        Ok(FileName::parse(self.next()?)?)
    }

    pub(in crate::catalog) fn token(&mut self) -> Parsed<Option<LeaseToken>> {
        let label = self.arguments.take_key("token");
        Ok(label.map(|label| self.labels.token(label)))
    }

    pub(in crate::catalog) fn own_token(&mut self) -> Parsed<LeaseToken> {
        let own = self.peer()?;
        Ok(self.token()?.unwrap_or_else(|| self.labels.token(own.as_str())))
    }

    pub(in crate::catalog) fn ttl(&mut self) -> Parsed<Option<u64>> {
        self.arguments.take_key("ttl").map(duration).transpose()
    }

    pub(super) fn limits(&mut self) -> Parsed<Limits> {
        let usual = Limits::default();
        Ok(Limits {
            cleanup_items: self.number("cleanup")?.map_or(usual.cleanup_items, |value| value as u32),
            answers: self.number("answers")?.unwrap_or(usual.answers),
            opaque_keys_per_peer: self.number("opaque")?.map_or(usual.opaque_keys_per_peer, |value| value as u32),
            line_length: self.number("line")?.map_or(usual.line_length, |value| value as u32),
            answers_per_peer: self.number("own")?.unwrap_or(usual.answers_per_peer),
        })
    }

    /// The remaining arguments as holdings: `NAME=BYTES[@VERSION][/SIZE]`.
    pub(in crate::catalog) fn holdings(&mut self) -> Parsed<Vec<Holding>> {
        let mut holdings = Vec::new();
        while let Some((name, value)) = self.arguments.next_key() {
            let (value, size) = value.split_once('/').map_or((value, None), |(value, size)| (value, Some(size)));
            let (bytes, version) = value.split_once('@').map_or((value, None), |(bytes, of)| (bytes, Some(of)));
            holdings.push(Holding {
                name: FileName::parse(name)?,
                version: version.map(str::parse).transpose()?,
                size: size.map(str::parse).transpose()?,
                hash: self.labels.bytes(bytes),
            });
        }
        Ok(holdings)
    }

    /// The command that a script gives; `None` if it is a query or a setting of the runner.
    pub(super) fn write(&mut self) -> Parsed<Option<Command>> {
        let key = self.key()?;
        Ok(read_op(self)?.map(|op| Command { key, op }))
    }

    fn key(&mut self) -> Parsed<Option<KeyTag>> {
        let (chunk, floor) = (self.number("chunk")?.unwrap_or(0) as u32, self.number("floor")?);
        let body = self.arguments.take_key("body").unwrap_or(self.name);
        let key = self.arguments.take_key("key").map(str::to_owned);
        Ok(key.map(|key| KeyTag { key, chunk, floor, body: hash_of(body) }))
    }
}
