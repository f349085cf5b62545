//! Conditional updates as a history words them (K2, K3).
//!
//! Invariant: a lease's secret token is not written down; its fencing token stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The attributes of a name.
pub type Attributes = BTreeMap<String, AttributeValue>;

/// The value of an attribute (K1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// A 64-bit signed integer.
    Integer(i64),
    /// A string.
    Text(String),
}

impl AttributeValue {
    /// The integer, unless it is a string.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Text(_) => None,
        }
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(out, "{value}"),
            Self::Text(text) => write!(out, "{text:?}"),
        }
    }
}

/// A transaction: conditions, and what is done if they hold or do not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Txn {
    /// Who.
    pub peer: String,
    /// All of them must hold.
    #[serde(rename = "if")]
    pub conditions: Vec<Condition>,
    /// Done if they hold.
    pub then: Vec<Change>,
    /// Done otherwise.
    #[serde(rename = "else")]
    pub otherwise: Vec<Change>,
}

impl Txn {
    /// What a branch does.
    pub fn changes(&self, branch: Branch) -> &[Change] {
        match branch {
            Branch::Then => &self.then,
            Branch::Else => &self.otherwise,
        }
    }

    /// Every name that it asks about or may change.
    pub fn names(&self) -> BTreeSet<&str> {
        let conditions = self.conditions.iter().map(Condition::name);
        let changes = self.then.iter().chain(&self.otherwise);
        conditions.chain(changes.map(|change| change.name.as_str())).collect()
    }

    /// The fencing tokens whose leases it shows.
    pub fn fences(&self) -> BTreeSet<u64> {
        let conditions = self.conditions.iter().filter_map(|condition| match condition {
            Condition::Lease { fence, .. } => Some(*fence),
            _ => None,
        });
        conditions.chain(self.then.iter().chain(&self.otherwise).filter_map(|change| change.fence)).collect()
    }
}

/// A condition (K3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Condition {
    /// The name has a version or an attribute, or neither.
    Exists {
        /// Which name.
        name: String,
        /// Whether it has.
        exists: bool,
    },
    /// The name has this version.
    Version {
        /// Which name.
        name: String,
        /// The version.
        version: u64,
    },
    /// An attribute compares so with a value.
    Attribute {
        /// Which name.
        name: String,
        /// Which attribute.
        attr: String,
        /// How.
        is: Comparison,
        /// With what.
        value: AttributeValue,
    },
    /// The lease with this fencing token is the name's live one.
    Lease {
        /// Which name.
        name: String,
        /// The token.
        fence: u64,
    },
}

impl Condition {
    /// The name that it asks about.
    pub fn name(&self) -> &str {
        match self {
            Self::Exists { name, .. }
            | Self::Version { name, .. }
            | Self::Attribute { name, .. }
            | Self::Lease { name, .. } => name,
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Another value, or none.
    #[serde(rename = "!=")]
    NotEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
}

impl Comparison {
    /// Its sign.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// An operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// On which name.
    pub name: String,
    /// What.
    #[serde(flatten)]
    pub action: Action,
    /// Fencing token of the lease whose token goes with it (K4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Sets an attribute.
    Set {
        /// Which.
        attr: String,
        /// To what.
        value: AttributeValue,
    },
    /// Adds to an attribute.
    Add {
        /// To which.
        attr: String,
        /// How much.
        by: i64,
        /// The least sum that is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<i64>,
        /// The greatest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<i64>,
    },
    /// Removes an attribute.
    Unset {
        /// Which.
        attr: String,
    },
    /// Removes all attributes.
    Delete,
}

/// Which operations of a transaction were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// Its conditions held.
    Then,
    /// One did not.
    Else,
}

/// A name after a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// Which name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<u64>,
    /// All its attributes.
    pub attributes: Attributes,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transaction_is_written_and_read_as_the_same_words() {
        let change = |action| Change { name: "n".into(), action, fence: None };
        let txn = Txn {
            peer: "p".into(),
            conditions: vec![
                Condition::Exists { name: "n".into(), exists: false },
                Condition::Attribute {
                    name: "n".into(),
                    attr: "a".into(),
                    is: Comparison::AtLeast,
                    value: AttributeValue::Integer(1),
                },
            ],
            then: vec![change(Action::Add { attr: "a".into(), by: -1, min: Some(0), max: None })],
            otherwise: vec![Change { fence: Some(7), ..change(Action::Delete) }],
        };
        let words = json!({
            "peer": "p",
            "if": [{"kind": "exists", "name": "n", "exists": false},
                {"kind": "attribute", "name": "n", "attr": "a", "is": ">=", "value": 1}],
            "then": [{"name": "n", "kind": "add", "attr": "a", "by": -1, "min": 0}],
            "else": [{"name": "n", "kind": "delete", "fence": 7}],
        });
        assert_eq!(serde_json::to_value(&txn).expect("JSON"), words);
        assert_eq!(serde_json::from_value::<Txn>(words).expect("a transaction"), txn);
        assert_eq!((txn.names(), txn.fences()), (BTreeSet::from(["n"]), BTreeSet::from([7])));
    }
}
