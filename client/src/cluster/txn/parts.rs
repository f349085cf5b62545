//! The conditions and operations of a transaction, as callers write them (K3).
//!
//! Invariant: a part with a key or value that breaks K1 is kept as the error that says so, and the transaction that
//! contains it is not sent.

use std::sync::Arc;

use raft_store::types::{
    AttributeKey, AttributeValue, Comparison, ContentHash, FileName, InvalidValue, LeaseToken, Version,
};

use crate::contract::{TxnAdd, TxnCondition, TxnDelete, TxnOperation, TxnSet, TxnUnset};

/// A condition of a transaction.
#[derive(Debug, Clone)]
pub struct Check(pub(super) Result<TxnCondition, InvalidValue>);

/// An operation of a transaction.
#[derive(Debug, Clone)]
pub struct Change(pub(super) Result<TxnOperation, InvalidValue>);

/// What can be the value of an attribute: an integer or a text.
pub trait IntoAttribute {
    /// The value, if it is valid (K1).
    fn into_attribute(self) -> Result<AttributeValue, InvalidValue>;
}

impl IntoAttribute for i64 {
    fn into_attribute(self) -> Result<AttributeValue, InvalidValue> {
        Ok(AttributeValue::Integer(self))
    }
}

impl IntoAttribute for &str {
    fn into_attribute(self) -> Result<AttributeValue, InvalidValue> {
        AttributeValue::text(Arc::from(self))
    }
}

impl IntoAttribute for AttributeValue {
    fn into_attribute(self) -> Result<AttributeValue, InvalidValue> {
        Ok(self)
    }
}

impl Check {
    /// The name has a current version or an attribute (K1).
    pub fn exists(name: &FileName) -> Self {
        Self(Ok(TxnCondition::Exists { name: name.clone(), exists: true }))
    }

    /// The name has neither a current version nor an attribute (K1).
    pub fn absent(name: &FileName) -> Self {
        Self(Ok(TxnCondition::Exists { name: name.clone(), exists: false }))
    }

    /// The name has this current version.
    pub fn version(name: &FileName, version: Version) -> Self {
        Self(Ok(TxnCondition::Version { name: name.clone(), version }))
    }

    /// The name's current version has this hash.
    pub fn hash(name: &FileName, hash: ContentHash) -> Self {
        Self(Ok(TxnCondition::Hash { name: name.clone(), hash }))
    }

    /// An attribute compares so with a value. A missing attribute satisfies only `!=`.
    pub fn attr(name: &FileName, key: &str, is: Comparison, value: impl IntoAttribute) -> Self {
        let part = AttributeKey::parse(key).and_then(|attr| {
            let value = value.into_attribute()?;
            Ok(TxnCondition::Attribute { name: name.clone(), attr, is, value })
        });
        Self(part)
    }

    /// The live lease of the name has this token.
    pub fn lease(name: &FileName, token: LeaseToken) -> Self {
        Self(Ok(TxnCondition::Lease { name: name.clone(), lease_token: token }))
    }
}

impl Change {
    /// Sets an attribute, whatever it was before.
    pub fn set(name: &FileName, key: &str, value: impl IntoAttribute) -> Self {
        let part = AttributeKey::parse(key).and_then(|attr| {
            let value = value.into_attribute()?;
            Ok(TxnOperation::Set(TxnSet { name: name.clone(), attr, value, lease_token: None }))
        });
        Self(part)
    }

    /// Adds to an attribute; a missing one counts from 0.
    pub fn add(name: &FileName, key: &str, by: i64) -> Self {
        let part = AttributeKey::parse(key).map(|attr| {
            let add = TxnAdd { name: name.clone(), attr, by, min: None, max: None, lease_token: None };
            TxnOperation::Add(add)
        });
        Self(part)
    }

    /// Removes an attribute. A record ends with its last one.
    pub fn unset(name: &FileName, key: &str) -> Self {
        let part = AttributeKey::parse(key)
            .map(|attr| TxnOperation::Unset(TxnUnset { name: name.clone(), attr, lease_token: None }));
        Self(part)
    }

    /// Removes all attributes: ends a record. A file keeps its versions.
    pub fn delete(name: &FileName) -> Self {
        Self(Ok(TxnOperation::Delete(TxnDelete { name: name.clone(), lease_token: None })))
    }

    /// Refuses the transaction if the sum of an addition would be less. Means nothing for other operations.
    pub fn min(mut self, least: i64) -> Self {
        if let Ok(TxnOperation::Add(add)) = &mut self.0 {
            add.min = Some(least);
        }
        self
    }

    /// Refuses the transaction if the sum of an addition would be greater. Means nothing for other operations.
    pub fn max(mut self, most: i64) -> Self {
        if let Ok(TxnOperation::Add(add)) = &mut self.0 {
            add.max = Some(most);
        }
        self
    }

    /// Shows the token of the name's lease, which is needed while the name is leased (K4).
    pub fn under(mut self, token: LeaseToken) -> Self {
        if let Ok(operation) = &mut self.0 {
            *lease_token_of(operation) = Some(token);
        }
        self
    }
}

/// The name that an operation changes.
pub fn name_of(operation: &TxnOperation) -> &FileName {
    match operation {
        TxnOperation::Set(set) => &set.name,
        TxnOperation::Add(add) => &add.name,
        TxnOperation::Unset(unset) => &unset.name,
        TxnOperation::Delete(delete) => &delete.name,
    }
}

/// The lease token that an operation shows.
pub fn lease_token_of(operation: &mut TxnOperation) -> &mut Option<LeaseToken> {
    match operation {
        TxnOperation::Set(set) => &mut set.lease_token,
        TxnOperation::Add(add) => &mut add.lease_token,
        TxnOperation::Unset(unset) => &mut unset.lease_token,
        TxnOperation::Delete(delete) => &mut delete.lease_token,
    }
}

impl From<TxnCondition> for Check {
    fn from(condition: TxnCondition) -> Self {
        Self(Ok(condition))
    }
}

impl From<TxnOperation> for Change {
    fn from(operation: TxnOperation) -> Self {
        Self(Ok(operation))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name() -> FileName {
        FileName::parse("market/a").expect("a name")
    }

    #[test]
    fn parts_are_those_of_the_contract() {
        let token = LeaseToken([7; 16]);
        let shown = |change: Change| serde_json::to_value(change.0.expect("valid")).expect("JSON");
        assert_eq!(
            shown(Change::add(&name(), "stock", -3).min(0).max(9).under(token)),
            json!({"add": {"name": "market/a", "attr": "stock", "by": -3, "min": 0, "max": 9, "leaseToken": token}})
        );
        assert_eq!(
            shown(Change::set(&name(), "unit", "kg").min(0)),
            json!({"set": {"name": "market/a", "attr": "unit", "value": "kg"}})
        );
        let condition = Check::attr(&name(), "price", Comparison::LessOrEqual, 120).0.expect("valid");
        assert_eq!(
            serde_json::to_value(condition).expect("JSON"),
            json!({"name": "market/a", "attr": "price", "is": "<=", "value": 120})
        );
    }

    #[test]
    fn what_breaks_a_rule_is_kept_as_the_error() {
        assert!(Check::attr(&name(), "a key", Comparison::Equal, 1).0.is_err());
        assert!(Change::set(&name(), "k", "x".repeat(1_025).as_str()).0.is_err());
        assert!(Change::unset(&name(), "").under(LeaseToken([0; 16])).0.is_err());
    }
}
