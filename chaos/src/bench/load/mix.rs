//! What a load consists of: kinds of operations and their weights.
//!
//! Invariant: a mix has at least one kind with a positive weight; the same seed draws the same kinds in the same order.

use std::fmt;
use std::str::FromStr;

use rand::Rng;

/// Greatest weight of a kind.
const WEIGHT_MAX: u32 = 1_000_000;

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Announces one file.
    Announce,
    /// Registers a peer again with its listing.
    Register,
    /// Announces [`super::peers::BATCH`] files in one request.
    Batch,
    /// Takes a lease and publishes the next version under it.
    Cycle,
    /// Adds to an attribute in a transaction with a condition (K2).
    Txn,
    /// Says that a peer lives.
    Heartbeat,
    /// Searches a name.
    Search,
    /// Asks who holds a file.
    Peers,
    /// Asks for everything about a file.
    File,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Announce,
        Self::Register,
        Self::Batch,
        Self::Cycle,
        Self::Txn,
        Self::Heartbeat,
        Self::Search,
        Self::Peers,
        Self::File,
    ];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Register => "register",
            Self::Batch => "batch",
            Self::Cycle => "cycle",
            Self::Txn => "txn",
            Self::Heartbeat => "heartbeat",
            Self::Search => "search",
            Self::Peers => "peers",
            Self::File => "file",
        }
    }
}

/// Kinds with their weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    text: String,
    parts: Vec<(OperationKind, u32)>,
    total: u32,
}

/// Name of the mix of the original's benchmark.
pub const ORIGINAL: &str = "original";

impl Mix {
    /// A single kind.
    pub fn of(kind: OperationKind) -> Self {
        Self { text: kind.name().to_owned(), parts: vec![(kind, 1)], total: 1 }
    }

    /// The kinds in it.
    pub fn kinds(&self) -> impl Iterator<Item = OperationKind> {
        self.parts.iter().map(|(kind, _)| *kind)
    }

    /// Draws the next kind.
    pub fn draw(&self, rng: &mut impl Rng) -> OperationKind {
        let mut drawn = if self.parts.len() == 1 { 0 } else { rng.random_range(0..self.total) };
        for (kind, weight) in &self.parts {
            if drawn < *weight {
                return *kind;
            }
            drawn -= weight;
        }
        self.parts[0].0
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spelled = if text == ORIGINAL { "register=1,search=1" } else { text };
        let mut parts: Vec<(OperationKind, u32)> = Vec::new();
        for part in spelled.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let names = || OperationKind::ALL.map(OperationKind::name).join(", ");
            let kind = OperationKind::ALL
                .into_iter()
                .find(|kind| kind.name() == name.trim())
                .ok_or_else(|| format!("there is no operation {name:?}; there are {}, and {ORIGINAL}", names()))?;
            let weight = weight
                .trim()
                .parse()
                .ok()
                .filter(|weight| (1..=WEIGHT_MAX).contains(weight))
                .ok_or_else(|| format!("the weight {weight:?} of {name} is not a number from 1 to {WEIGHT_MAX}"))?;
            if parts.iter().any(|(known, _)| *known == kind) {
                return Err(format!("{name} is named twice"));
            }
            parts.push((kind, weight));
        }
        let total = parts.iter().map(|(_, weight)| weight).sum();
        Ok(Self { text: text.to_owned(), parts, total })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn mixes_are_read_and_shown_as_they_were_written() {
        let mix: Mix = "announce=5,search=4,heartbeat".parse().expect("a mix");
        assert_eq!(
            mix.parts,
            [(OperationKind::Announce, 5), (OperationKind::Search, 4), (OperationKind::Heartbeat, 1)]
        );
        assert_eq!(mix.to_string(), "announce=5,search=4,heartbeat");
        assert_eq!("cycle".parse::<Mix>().expect("a mix"), Mix::of(OperationKind::Cycle));
        let original: Mix = ORIGINAL.parse().expect("a mix");
        assert_eq!(original.kinds().collect::<Vec<_>>(), [OperationKind::Register, OperationKind::Search]);
        for kind in OperationKind::ALL {
            assert!(kind.name().parse::<Mix>().is_ok());
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (text, word) in [
            ("speed", "there are announce"),
            ("", "there is no operation"),
            ("announce=0", "weight"),
            ("announce=x", "weight"),
            ("announce,announce=2", "twice"),
            ("announce,", "there is no operation"),
        ] {
            let error = text.parse::<Mix>().expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn kinds_are_drawn_by_weight() {
        let mix: Mix = "announce=3,search=1".parse().expect("a mix");
        let mut rng = StdRng::seed_from_u64(1);
        let announces = (0..4_000).filter(|_| mix.draw(&mut rng) == OperationKind::Announce).count();
        assert!((2_800..3_200).contains(&announces), "{announces}");
    }
}
