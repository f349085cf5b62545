//! Measures what applying costs: microseconds per command on one thread, with a catalog of a given size.
//!
//! ```text
//! cargo run --release -p raft-store --example apply_cost [FILES] [PEERS]
//! ```
//!
//! Commands have idempotency keys like those of the client library, one or many in an entry. Prints a table. It asserts
//! only that every command succeeds, so that a refusal is never measured as a fast write.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement")]

use std::io;
use std::time::Instant;

use raft_store::catalog::{
    Acquire, Action, Announce, Batch, Catalog, Command, EntryId, Holding, KeyTag, Listing, ListingState, Op, Register,
    Release, Reply, Stamp, Test, Txn,
};
use raft_store::types::{AttributeKey, Comparison, ContentHash, FileName, LeaseToken, PeerId, Version};

/// Commands for each line of the table.
const ROUNDS: u64 = 50_000;
/// Term of all entries.
const TERM: u64 = 1;

struct Bench {
    catalog: Catalog,
    at: u64,
    sequence: u64,
}

impl Bench {
    fn entry(&mut self, ops: impl IntoIterator<Item = Op>) -> Batch {
        self.at += 1;
        let commands = ops.into_iter().map(|op| {
            self.sequence += 1;
            let key = KeyTag {
                key: format!("session:{}", self.sequence),
                chunk: 0,
                floor: Some(self.sequence.saturating_sub(8)),
                body: hash(self.sequence),
            };
            Command { key: Some(key), op }
        });
        let commands = commands.collect();
        Batch { stamp: Some(Stamp { term: TERM, at: self.at }), commands }
    }

    fn apply(&mut self, entry: &Batch) {
        let applied = self.catalog.apply(EntryId { term: TERM, index: self.sequence }, entry);
        assert!(applied.replies.iter().all(|outcome| outcome.result.is_ok()), "refused: {:?}", applied.replies);
    }

    /// Runs the operations that `make` gives for each round, `per_entry` in an entry, and prints what one costs.
    fn measure(&mut self, what: &str, per_entry: usize, make: impl Fn(u64) -> Vec<Op>) {
        let mut ops = (0..ROUNDS).flat_map(make).peekable();
        let mut entries = Vec::new();
        while ops.peek().is_some() {
            entries.push(self.entry(ops.by_ref().take(per_entry)));
        }
        let commands: usize = entries.iter().map(|entry| entry.commands.len()).sum();
        let start = Instant::now();
        entries.iter().for_each(|entry| self.apply(entry));
        let each = start.elapsed().as_secs_f64() / commands as f64;
        println!("{what:<44} {:>8.2} us   {:>9.0} /s", each * 1e6, 1.0 / each);
    }
}

/// Files of the peer whose registrations are measured.
const LISTED: u64 = 100_000;
/// Files in one page: about as many as fit into an entry.
const PAGE: u64 = 100;

impl Bench {
    fn register(&mut self, listing: Listing) -> ListingState {
        let address = "http://10.0.0.2:1".to_owned();
        let peer = PeerId::parse("large").expect("a valid id");
        let register = Register { peer, address, zone: None, capacity_bytes: None, serving: true, listing };
        let command = Command { key: None, op: Op::Register(register) };
        let applied = self
            .catalog
            .apply(EntryId { term: TERM, index: self.sequence }, &Batch { stamp: None, commands: vec![command] });
        match &applied.replies[0].result {
            Ok(Reply::Registered { listing, .. }) => *listing,
            other => panic!("refused: {other:?}"),
        }
    }

    /// Applies the pages of a listing. Prints the longest time of all pages but the last, and that of the last.
    fn list(&mut self, id: &str, files: std::ops::Range<u64>) {
        let page = |from: u64| {
            let one = |n: u64| Holding { name: file(n), version: Some(1), size: Some(1_000), hash: hash(n) };
            (from..files.end.min(from + PAGE)).map(one).collect()
        };
        let mut longest = std::time::Duration::ZERO;
        for from in files.clone().step_by(PAGE as usize) {
            let listing = Listing::Page { id: id.to_owned(), last: false, files: page(from) };
            let start = Instant::now();
            self.register(listing);
            longest = longest.max(start.elapsed());
        }
        println!("{:<44} {:>8.1} ms", "  a page of 100 files, the longest", longest.as_secs_f64() * 1e3);
        timed("  the page that completes it", || {
            self.register(Listing::Page { id: id.to_owned(), last: true, files: Vec::new() })
        });
    }

    /// Measures the registrations of a peer with many files.
    fn measure_listings(&mut self) {
        const NAMES: u64 = 10_000_000;
        let files = NAMES..NAMES + LISTED;
        println!("a peer registers {LISTED} new files");
        self.list("a", files.clone());
        let peer = PeerId::parse("large").expect("a valid id");
        let image = timed("  image of its holdings", || self.catalog.holdings_image(&peer)).expect("no digest yet");
        let digest = timed("  digest, off the apply path", || image.digest());
        self.catalog.keep_digest(&digest);
        drop(image);
        let digest = ContentHash::from(digest);
        let unchanged = Listing::Unchanged { digest, count: Some(LISTED) };
        let answer = timed("  registered again by the digest", || self.register(unchanged));
        assert_eq!(answer, ListingState::Unchanged);
        println!("it registers the same files again, page by page");
        self.list("b", files.clone());
        println!("it registers again with a single file");
        self.list("c", files.start..files.start + 1);
    }
}

fn hash(n: u64) -> ContentHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    ContentHash(bytes)
}

fn token(n: u64) -> LeaseToken {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    LeaseToken(bytes)
}

fn file(n: u64) -> FileName {
    // Scattered over the name index, like the names of a real collection.
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    FileName::parse(format!("music/{scattered:016x}/track-{n}.flac")).expect("a valid name")
}

fn peer(n: u64) -> PeerId {
    PeerId::parse(format!("peer-{n}")).expect("a valid id")
}

fn announce(who: PeerId, name: FileName, version: Version, bytes: u64, token: Option<LeaseToken>) -> Op {
    let holding = Holding { name, version: Some(version), size: Some(1_000), hash: hash(bytes) };
    Op::Announce(Announce { peer: who, holding, token, keep_lease: false })
}

fn record(n: u64) -> FileName {
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    FileName::parse(format!("market/{scattered:016x}/product-{n}")).expect("a valid name")
}

/// What a purchase does: a condition and an addition on one name.
fn sell(who: PeerId, name: FileName, by: i64) -> Op {
    let key = |text| AttributeKey::parse(text).expect("a valid key");
    let mut txn = Txn::new(who);
    let test = Test::Attribute { key: key("price"), is: Comparison::NotEqual, value: 7.into() };
    txn.require(name.clone(), test);
    txn.then(name, Action::Add { key: key("stock"), by, min: Some(-1_000), max: None }, None);
    txn.into()
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<44} {:>8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let files = arguments.next().unwrap_or(200_000);
    let peers = arguments.next().unwrap_or(100);
    let mut bench = Bench { catalog: Catalog::default(), at: 0, sequence: 0 };
    for n in 0..peers {
        let register = bench.entry([Op::Register(Register {
            peer: peer(n),
            address: format!("http://10.0.0.1:{n}"),
            zone: None,
            capacity_bytes: None,
            serving: true,
            listing: Listing::Whole(Vec::new()),
        })]);
        bench.apply(&register);
    }
    for n in 0..files {
        for who in [n % peers, (n + 1) % peers] {
            let entry = bench.entry([announce(peer(who), file(n), 1, n, None)]);
            bench.apply(&entry);
        }
    }
    println!("{files} files with 2 holders each, {peers} peers; {ROUNDS} rounds");
    let known = |n: u64| n.wrapping_mul(7_919) % files;
    let first = files;
    bench.measure("announce, a new file", 1, |n| vec![announce(peer(n % peers), file(first + n), 1, first + n, None)]);
    let second = first + ROUNDS;
    bench.measure("the same, 64 in an entry", 64, |n| {
        vec![announce(peer(n % peers), file(second + n), 1, second + n, None)]
    });
    bench.measure("announce, one more holder", 1, |n| {
        vec![announce(peer((n + 1) % peers), file(first + n), 1, first + n, None)]
    });
    bench.measure("acquire and release", 1, |n| {
        let (who, name) = (peer(n % peers), file(known(n)));
        let acquire = Op::Acquire(Acquire {
            peer: who.clone(),
            file: name.clone(),
            ttl_ms: 60_000,
            wait: false,
            token: token(n),
        });
        vec![acquire, Op::Release(Release { peer: who, file: name, token: token(n) })]
    });
    bench.measure("acquire and publish", 1, |n| {
        let (who, name) = (peer(n % peers), file(first + n));
        let acquire = Op::Acquire(Acquire {
            peer: who.clone(),
            file: name.clone(),
            ttl_ms: 60_000,
            wait: false,
            token: token(n),
        });
        vec![acquire, announce(who, name, 2, first + n + 1, Some(token(n)))]
    });
    bench.measure("txn, a new record", 1, |n| vec![sell(peer(n % peers), record(n), 1)]);
    bench.measure("txn, one condition and one addition", 1, |n| vec![sell(peer(n % peers), record(n), -1)]);
    bench.measure("the same, 64 in an entry", 64, |n| vec![sell(peer(n % peers), record(n), -1)]);
    bench.measure("txn, a file's attribute", 1, |n| vec![sell(peer(n % peers), file(known(n)), 1)]);
    let snapshot = timed("image for a snapshot", || bench.catalog.image());
    bench.measure("acquire, snapshot held", 1, |n| {
        let (who, name) = (peer(n % peers), file(known(n)));
        vec![Op::Acquire(Acquire { peer: who, file: name, ttl_ms: 60_000, wait: true, token: token(n) })]
    });
    let encode = |out: &mut dyn io::Write| snapshot.encode_to(out).expect("it encodes");
    timed("encode", || encode(&mut io::sink()));
    let mut bytes = Vec::new();
    encode(&mut bytes);
    timed("let go of the image", || drop(snapshot));
    println!("{:<44} {:>8.1} MB", "encoded", bytes.len() as f64 / 1e6);
    timed("decode", || Catalog::decode(&bytes).expect("what encode wrote"));
    bench.measure_listings();
}
