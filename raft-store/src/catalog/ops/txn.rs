//! `Txn`: changes attributes if conditions hold (K1–K5).
//!
//! Invariant: everything is checked before anything changes, so a refused transaction changes nothing (K2). Conditions
//! see the state before the transaction; an operation sees what the operations before it in its branch did.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Operation;
use crate::catalog::tables::Id;
use crate::catalog::{Catalog, CommandId, Rejection, Reply, TxnOutcome};
use crate::types::{
    AttributeKey, AttributeValue, Comparison, ContentHash, FileName, LeaseToken, PeerId, TxnId, Version,
};

/// Most transactions concern no more names than this.
pub(in crate::catalog) const FEW_NAMES: usize = 4;

/// A conditional update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Who acts.
    pub peer: PeerId,
    /// The names that conditions and operations refer to, each once.
    names: Vec<FileName>,
    conditions: Vec<Condition>,
    then: Vec<Change>,
    otherwise: Vec<Change>,
}

/// What has to hold of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Condition {
    /// Position in the transaction's names.
    pub(in crate::catalog) name: u16,
    pub(in crate::catalog) test: Test,
}

/// What a condition asks (K3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// Whether the name has a current version or an attribute.
    Exists(bool),
    /// Whether this is its current version.
    Version(Version),
    /// Whether these are the bytes of its current version.
    Hash(ContentHash),
    /// How an attribute compares with a value.
    Attribute {
        /// The attribute's key.
        key: AttributeKey,
        /// The comparison.
        is: Comparison,
        /// The value.
        value: AttributeValue,
    },
    /// Whether this is the token of its live lease.
    Lease(LeaseToken),
}

/// One operation on a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Change {
    /// Position in the transaction's names.
    pub(in crate::catalog) name: u16,
    pub(in crate::catalog) action: Action,
    /// The token of the name's live lease (K4).
    pub(in crate::catalog) token: Option<LeaseToken>,
}

/// What an operation does to the attributes of its name (K3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Sets an attribute.
    Set {
        /// The attribute's key.
        key: AttributeKey,
        /// Its new value.
        value: AttributeValue,
    },
    /// Adds to an integer; a missing attribute counts from 0.
    Add {
        /// The attribute's key.
        key: AttributeKey,
        /// What is added.
        by: i64,
        /// The least sum that is accepted.
        min: Option<i64>,
        /// The greatest sum that is accepted.
        max: Option<i64>,
    },
    /// Removes an attribute, if it is there.
    Unset {
        /// The attribute's key.
        key: AttributeKey,
    },
    /// Removes all attributes.
    Delete,
}

impl Txn {
    /// A transaction without conditions and operations.
    pub fn new(peer: PeerId) -> Self {
        Self { peer, names: Vec::new(), conditions: Vec::new(), then: Vec::new(), otherwise: Vec::new() }
    }

    /// Adds a condition.
    pub fn require(&mut self, name: FileName, test: Test) {
        let name = self.place_of(name);
        self.conditions.push(Condition { name, test });
    }

    /// Adds an operation for when all conditions hold.
    pub fn then(&mut self, name: FileName, action: Action, token: Option<LeaseToken>) {
        let name = self.place_of(name);
        self.then.push(Change { name, action, token });
    }

    /// Adds an operation for when a condition does not hold.
    pub fn otherwise(&mut self, name: FileName, action: Action, token: Option<LeaseToken>) {
        let name = self.place_of(name);
        self.otherwise.push(Change { name, action, token });
    }

    /// The names of all conditions and operations, each once.
    pub fn names(&self) -> &[FileName] {
        &self.names
    }

    fn place_of(&mut self, name: FileName) -> u16 {
        let place = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        // The limits of a request allow for a few hundred names.
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// The most bytes that its encoding takes.
    pub fn bytes(&self) -> usize {
        /// The most bytes that an item takes besides keys and texts: numbers, a hash or a token.
        const ITEM_BYTES: usize = 64;
        let key_and_text = |key: &AttributeKey, value: Option<&AttributeValue>| {
            key.as_str().len() + value.and_then(AttributeValue::as_text).map_or(0, str::len)
        };
        let tested = |condition: &Condition| match &condition.test {
            Test::Attribute { key, value, .. } => key_and_text(key, Some(value)),
            Test::Exists(_) | Test::Version(_) | Test::Hash(_) | Test::Lease(_) => 0,
        };
        let changed = |change: &Change| match &change.action {
            Action::Set { key, value } => key_and_text(key, Some(value)),
            Action::Add { key, .. } | Action::Unset { key } => key_and_text(key, None),
            Action::Delete => 0,
        };
        let names = self.names.iter().map(|name| name.as_str().len());
        let texts = self.conditions.iter().map(tested);
        let changes = self.then.iter().chain(&self.otherwise).map(changed);
        let items = names.chain(texts).chain(changes).map(|bytes| bytes + ITEM_BYTES);
        ITEM_BYTES + self.peer.as_str().len() + items.sum::<usize>()
    }
}

impl Operation for Txn {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, at: CommandId) -> Result<Reply, Rejection> {
        catalog.known(&self.peer)?;
        let files: SmallVec<[Option<Id>; FEW_NAMES]> = self.names.iter().map(|name| catalog.settled(name)).collect();
        let file = |name: u16| files.get(usize::from(name)).copied().flatten();
        let held = self.conditions.iter().all(|condition| catalog.satisfies(file(condition.name), &condition.test));
        let changes = if held { &self.then } else { &self.otherwise };
        let drafts = catalog.draft(&self.names, &files, changes)?;
        let txn = TxnId { index: at.entry.index, position: at.position };
        let names = drafts.into_iter().map(|draft| catalog.carry_out(draft, &self.peer, txn)).collect();
        Ok(Reply::Txn(TxnOutcome { txn, held, names }))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;
    use crate::types::Comparison;

    fn key(text: &str) -> Parsed<AttributeKey> {
        Ok(AttributeKey::parse(text)?)
    }

    /// A number, or a text.
    fn value(text: &str) -> Parsed<AttributeValue> {
        Ok(text.parse().map(AttributeValue::Integer).or_else(|_| AttributeValue::text(text))?)
    }

    fn split_comparison(text: &str) -> Parsed<(&str, Comparison, &str)> {
        let at = text.find(['!', '=', '<', '>']).ok_or("a condition compares with one of = != < <= > >=")?;
        let (key, rest) = text.split_at(at);
        let is = Comparison::ALL.into_iter().find(|is| rest.starts_with(is.sign())).ok_or("no such comparison")?;
        Ok((key, is, &rest[is.sign().len()..]))
    }

    /// `P: txn if "doc stock>=5" then "add doc stock -1 min=0" else "unset doc stock token=t"`
    ///
    /// Conditions: `NAME exists`, `NAME missing`, `NAME @VERSION`, `NAME bytes=LABEL`, `NAME token=LABEL`,
    /// `NAME KEY>=VALUE`. Operations: `set NAME KEY VALUE`, `add NAME KEY BY min= max=`, `unset NAME KEY`,
    /// `delete NAME`, each with `token=`.
    impl Exercised for Txn {
        const WORDS: &[&str] = &["txn"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let mut txn = Txn::new(arguments.peer()?);
            let mut part = "then";
            while let Some(text) = arguments.next_if_any() {
                match text {
                    "if" | "then" | "else" => part = text,
                    condition if part == "if" => {
                        let (name, test) = condition.split_once(' ').ok_or("a condition names what it asks for")?;
                        let test = read_test(arguments, test)?;
                        txn.require(FileName::parse(name)?, test);
                    }
                    operation => {
                        let (name, action, token) = read_action(arguments, operation)?;
                        if part == "then" {
                            txn.then(name, action, token);
                        } else {
                            txn.otherwise(name, action, token);
                        }
                    }
                }
            }
            Ok(txn)
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let condition = (any_name(), any_test());
            let change = || (any_name(), any_action(), option::weighted(0.3, any_token()));
            let parts = (any_peer(), vec(condition, 0..3), vec(change(), 0..4), vec(change(), 0..2));
            let txn = |(peer, conditions, then, otherwise): (_, Vec<_>, Vec<_>, Vec<_>)| {
                let mut txn = Txn::new(peer);
                conditions.into_iter().for_each(|(name, test)| txn.require(name, test));
                then.into_iter().for_each(|(name, action, token)| txn.then(name, action, token));
                otherwise.into_iter().for_each(|(name, action, token)| txn.otherwise(name, action, token));
                txn
            };
            (5, parts.prop_map(txn).boxed())
        }

        fn samples() -> Vec<Self> {
            let key = |text| AttributeKey::parse(text).expect("a valid key");
            let text = |text: &str| AttributeValue::text(text).expect("a valid text");
            let mut one = Txn::new(peer(1));
            one.then(name(5), Action::Set { key: key("unit"), value: text("kg") }, None);
            one.then(name(6), Action::Set { key: key("stock"), value: (-7).into() }, None);
            let mut other = Txn::new(peer(2));
            other.require(name(1), Test::Exists(true));
            other.require(name(2), Test::Version(1));
            other.require(name(2), Test::Hash(hash(2)));
            let is = Comparison::GreaterOrEqual;
            other.require(name(1), Test::Attribute { key: key("stock"), is, value: 300.into() });
            other.require(name(1), Test::Lease(token(1)));
            let add = Action::Add { key: key("stock"), by: -1, min: Some(0), max: None };
            other.then(name(5), add, Some(token(1)));
            other.otherwise(name(6), Action::Add { key: key("stock"), by: 300, min: None, max: Some(i64::MAX) }, None);
            other.otherwise(name(5), Action::Unset { key: key("unit") }, None);
            other.otherwise(name(7), Action::Delete, None);
            vec![one, other]
        }
    }

    fn read_test(arguments: &mut Arguments<'_>, text: &str) -> Parsed<Test> {
        Ok(match text {
            "exists" => Test::Exists(true),
            "missing" => Test::Exists(false),
            text => {
                if let Some(version) = text.strip_prefix('@') {
                    Test::Version(version.parse()?)
                } else if let Some(label) = text.strip_prefix("bytes=") {
                    Test::Hash(hash_of(label))
                } else if let Some(label) = text.strip_prefix("token=") {
                    Test::Lease(arguments.token_of(label))
                } else {
                    let (attribute, is, wanted) = split_comparison(text)?;
                    Test::Attribute { key: key(attribute)?, is, value: value(wanted)? }
                }
            }
        })
    }

    fn read_action(arguments: &mut Arguments<'_>, text: &str) -> Parsed<(FileName, Action, Option<LeaseToken>)> {
        let (mut token, mut min, mut max) = (None, None, None);
        let mut words = Vec::new();
        for word in text.split(' ') {
            match word.split_once('=') {
                Some(("token", label)) => token = Some(arguments.token_of(label)),
                Some(("min", number)) => min = Some(number.parse()?),
                Some(("max", number)) => max = Some(number.parse()?),
                _ => words.push(word),
            }
        }
        let (name, action) = match words[..] {
            ["set", name, attribute, to] => (name, Action::Set { key: key(attribute)?, value: value(to)? }),
            ["add", name, attribute, by] => (name, Action::Add { key: key(attribute)?, by: by.parse()?, min, max }),
            ["unset", name, attribute] => (name, Action::Unset { key: key(attribute)? }),
            ["delete", name] => (name, Action::Delete),
            _ => return Err(format!("no operation {text:?}").into()),
        };
        Ok((FileName::parse(name)?, action, token))
    }
}
