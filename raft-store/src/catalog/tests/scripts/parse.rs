//! Turns a script's command into the catalog's.
//!
//! Invariant: labels stand for bytes, tokens and bodies by their hashes, so that a script shows no digits.

use std::error::Error;

use goldenscript::{ArgumentConsumer, Context};
use sha2::{Digest, Sha256};

use super::text::Labels;
use crate::catalog::{Announce, Command, Holding, KeyTag, Limits, Listing, Op, Register};
use crate::types::{ContentHash, FileName, LeaseToken, PeerId, limits};

type Parsed<T> = Result<T, Box<dyn Error>>;

pub(super) struct Arguments<'a> {
    name: &'a str,
    context: &'a Context,
    arguments: ArgumentConsumer<'a>,
    labels: &'a mut Labels,
}

/// The peer a command is for: its prefix.
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

pub(super) fn hash_of(label: &str) -> ContentHash {
    ContentHash(Sha256::digest(label).into())
}

impl<'a> Arguments<'a> {
    pub(super) fn new(command: &'a goldenscript::Command, context: &'a Context, labels: &'a mut Labels) -> Self {
        Self { name: &command.name, context, arguments: command.consume_args(), labels }
    }

    pub(super) fn next(&mut self) -> Parsed<&'a str> {
        Ok(self.arguments.next_pos().ok_or("an argument is missing")?)
    }

    pub(super) fn number(&mut self, key: &str) -> Parsed<Option<u64>> {
        Ok(self.arguments.take_key(key).map(str::parse).transpose()?)
    }

    fn flag(&mut self, flag: &str) -> Parsed<bool> {
        match self.arguments.next_pos() {
            None => Ok(false),
            Some(word) if word == flag => Ok(true),
            Some(word) => Err(format!("no flag {word}").into()),
        }
    }

    fn file(&mut self) -> Parsed<FileName> {
        Ok(FileName::parse(self.next()?)?)
    }

    fn token(&mut self) -> Parsed<Option<LeaseToken>> {
        let label = self.arguments.take_key("token");
        Ok(label.map(|label| self.labels.token(label)))
    }

    fn own_token(&mut self) -> Parsed<LeaseToken> {
        let own = peer(self.context)?;
        Ok(self.token()?.unwrap_or_else(|| self.labels.token(own.as_str())))
    }

    fn ttl(&mut self) -> Parsed<Option<u64>> {
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

    /// The rest of the arguments as holdings: `NAME=BYTES[@VERSION][/SIZE]`.
    fn holdings(&mut self) -> Parsed<Vec<Holding>> {
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

    /// The write a script's command stands for; `None` if it is none.
    pub(super) fn write(&mut self) -> Parsed<Option<Command>> {
        let key = self.key()?;
        Ok(self.op()?.map(|op| Command { key, op }))
    }

    fn key(&mut self) -> Parsed<Option<KeyTag>> {
        let (chunk, floor) = (self.number("chunk")?.unwrap_or(0) as u32, self.number("floor")?);
        let body = self.arguments.take_key("body").unwrap_or(self.name);
        let key = self.arguments.take_key("key").map(str::to_owned);
        Ok(key.map(|key| KeyTag { key, chunk, floor, body: hash_of(body) }))
    }

    fn op(&mut self) -> Parsed<Option<Op>> {
        let context = self.context;
        let who = || peer(context);
        Ok(Some(match self.name {
            "register" | "page" | "unchanged" => self.register()?,
            "announce" => {
                let (token, keep_lease) = (self.token()?, self.flag("keep")?);
                let holding = self.holdings()?.into_iter().next().ok_or("what does it announce?")?;
                Op::Announce(Announce { peer: who()?, holding, token, keep_lease })
            }
            "announce_many" => Op::AnnounceMany { peer: who()?, files: self.holdings()? },
            "acquire" => Op::Acquire {
                peer: who()?,
                file: self.file()?,
                ttl_ms: self.ttl()?.unwrap_or(limits::LEASE_TTL_MS_DEFAULT),
                wait: self.flag("wait")?,
                token: self.own_token()?,
            },
            "renew" => Op::Renew { peer: who()?, file: self.file()?, token: self.own_token()?, ttl_ms: self.ttl()? },
            "release" => Op::Release { peer: who()?, file: self.file()?, token: self.own_token()? },
            "leave" => Op::Leave { peer: who()?, file: self.file()? },
            "delete" => {
                let (file, everywhere) = (self.file()?, self.flag("everywhere")?);
                Op::Delete { peer: who()?, file, everywhere, token: self.token()? }
            }
            "expire" => {
                let incarnation = self.number("incarnation")?.ok_or("which incarnation?")?;
                Op::ExpirePeer { peer: who()?, incarnation, term: self.number("term")?.unwrap_or(1) }
            }
            "drop" => {
                let (file, ticket) = (self.file()?, self.number("ticket")?.ok_or("which ticket?")?);
                Op::DropWaiter { peer: who()?, file, ticket, term: self.number("term")?.unwrap_or(1) }
            }
            "replicas" => Op::SetReplicas { replicas: self.next()?.parse()? },
            _ => return Ok(None),
        }))
    }

    fn register(&mut self) -> Parsed<Op> {
        let peer = peer(self.context)?;
        let address = self.arguments.take_key("address").map_or(format!("http://{peer}"), str::to_owned);
        let zone = self.arguments.take_key("zone").map(str::to_owned);
        let capacity_bytes = self.number("capacity")?;
        let serving = self.arguments.take_key("serving") != Some("false");
        let listing = match self.name {
            "register" => Listing::Whole(self.holdings()?),
            "page" => {
                let (id, last) = (self.next()?.to_owned(), self.flag("last")?);
                Listing::Page { id, last, files: self.holdings()? }
            }
            _ => {
                let count = self.number("count")?;
                Listing::Unchanged { digest: digest(self.holdings()?), count }
            }
        };
        Ok(Op::Register(Register { peer, address, zone, capacity_bytes, serving, listing }))
    }
}

/// P2's digest, computed from what the script states; independent of the catalog's own.
fn digest(mut holdings: Vec<Holding>) -> ContentHash {
    holdings.sort_by(|a, b| a.name.as_str().as_bytes().cmp(b.name.as_str().as_bytes()));
    let lines: String = holdings.iter().map(|holding| format!("{}\0{}\n", holding.name, holding.hash)).collect();
    hash_of(&lines)
}
