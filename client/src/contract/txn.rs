//! Conditional updates (K1–K5): `POST /txn`, `GET /txn`.
//!
//! Invariant: a condition or an operation has exactly one kind. What breaks this, or a limit, is refused with its place
//! in the request, such as `if[3]`.

use std::fmt;

use raft_store::catalog;
use raft_store::types::{
    AttributeKey, AttributeValue, Attributes, Comparison, ContentHash, FileName, LeaseToken, PeerId, TxnId, Version,
    limits,
};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::decode::{self, Object};
use super::{Json, endpoint};

endpoint! {
    /// Change attributes of names, depending on conditions.
    ///
    /// If all conditions of `if` hold, the operations of `then` are carried out, otherwise those of `else`: all of
    /// them or, with any refusal, none (K2). Conditions see the state before; an operation sees what those before it
    /// did. An `add` that would leave its bounds, or the range of integers, is `out_of_bounds` with the attribute's
    /// `value`. While a name is leased, its attributes change only with that lease's token (K4). At most 64 conditions,
    /// 64 operations in each branch, and 32 attributes on a name.
    Txn = Post "/txn" as "txn", Logged;
    request: TxnRequest;
    answer: Json<TxnResponse>, "Applied; `branch` tells which operations were carried out.";
    errors: BadName, LeaseRequired, LeaseExpired, OutOfBounds;
}

endpoint! {
    /// Look up what became of a transaction.
    ///
    /// Only transactions with an `Idempotency-Key` are found, for as long as their answer is remembered (K5).
    TxnStatus = Get "/txn" as "txnStatus", Read;
    query: TxnParam;
    answer: Json<TxnResponse>, "The answer that the transaction was given.";
    errors: NotFound;
}

/// Query of `GET /txn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct TxnParam {
    /// The transaction's id, `INDEX.N`.
    pub id: TxnId,
}

/// Body of `POST /txn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TxnRequest {
    /// The peer that acts.
    pub peer_id: PeerId,
    /// Conditions, at most 64; without any, `then` is carried out.
    #[serde(default, rename = "if", deserialize_with = "conditions")]
    pub conditions: Vec<TxnCondition>,
    /// Operations if all conditions hold, at most 64.
    #[serde(deserialize_with = "then")]
    pub then: Vec<TxnOperation>,
    /// Operations if a condition does not hold, at most 64.
    #[serde(default, rename = "else", deserialize_with = "otherwise")]
    pub otherwise: Vec<TxnOperation>,
}

/// A condition on one name (K3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TxnCondition {
    /// Whether the name has a current version or an attribute.
    Exists {
        /// The name.
        name: FileName,
        /// False: it has neither.
        exists: bool,
    },
    /// The current version.
    Version {
        /// The name.
        name: FileName,
        /// The version; a tombstone is none.
        version: Version,
    },
    /// The bytes of the current version.
    Hash {
        /// The name.
        name: FileName,
        /// Their SHA-256.
        hash: ContentHash,
    },
    /// An attribute. A missing one only satisfies `!=`, and an integer and a string have no order.
    Attribute {
        /// The name.
        name: FileName,
        /// The attribute's key.
        attr: AttributeKey,
        /// The comparison.
        is: Comparison,
        /// What the attribute is compared with.
        value: AttributeValue,
    },
    /// The live lease of the name.
    #[serde(rename_all = "camelCase")]
    Lease {
        /// The name.
        name: FileName,
        /// The lease's secret token.
        lease_token: LeaseToken,
    },
}

/// An operation on the attributes of one name (K3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TxnOperation {
    /// Sets an attribute.
    Set(TxnSet),
    /// Adds to an integer; a missing attribute counts from 0.
    Add(TxnAdd),
    /// Removes an attribute; fine if it is missing.
    Unset(TxnUnset),
    /// Removes all attributes: ends a record. A file keeps its versions.
    Delete(TxnDelete),
}

/// Sets an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TxnSet {
    /// The name.
    pub name: FileName,
    /// The attribute's key.
    pub attr: AttributeKey,
    /// Its new value.
    pub value: AttributeValue,
    /// Token of the name's live lease; required while there is one (K4).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
}

/// Adds to an integer attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TxnAdd {
    /// The name.
    pub name: FileName,
    /// The attribute's key.
    pub attr: AttributeKey,
    /// What is added; may be negative.
    pub by: i64,
    /// The least sum that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The greatest sum that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Token of the name's live lease; required while there is one (K4).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
}

/// Removes an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TxnUnset {
    /// The name.
    pub name: FileName,
    /// The attribute's key.
    pub attr: AttributeKey,
    /// Token of the name's live lease; required while there is one (K4).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
}

/// Removes all attributes of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TxnDelete {
    /// The name.
    pub name: FileName,
    /// Token of the name's live lease; required while there is one (K4).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "decode::any_token_option")]
    pub lease_token: Option<LeaseToken>,
}

/// Answer to `POST /txn` and `GET /txn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TxnResponse {
    /// Always true.
    pub ok: bool,
    /// Which operations were carried out.
    pub branch: TxnBranch,
    /// The transaction's id.
    pub txn: TxnId,
    /// The names in these operations, in the order of their first one.
    pub names: Vec<TxnName>,
}

/// A branch of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TxnBranch {
    /// All conditions held.
    Then,
    /// A condition did not hold.
    Else,
}

/// A name after a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TxnName {
    /// The name.
    pub name: FileName,
    /// Its current version; `null` for a record, and for a name that does not exist.
    #[schema(required)]
    pub version: Option<Version>,
    /// All its attributes.
    pub attributes: Attributes,
}

/// A condition as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyCondition {
    name: FileName,
    exists: Option<bool>,
    version: Option<Version>,
    hash: Option<ContentHash>,
    attr: Option<AttributeKey>,
    is: Option<Comparison>,
    value: Option<AttributeValue>,
    #[serde(default, deserialize_with = "decode::any_token_option")]
    lease_token: Option<LeaseToken>,
}

impl<'de> Deserialize<'de> for TxnCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(any) = Object::<AnyCondition>::deserialize(deserializer)?;
        let AnyCondition { name, exists, version, hash, attr, is, value, lease_token } = any;
        let kinds = [
            ("exists", exists.is_some()),
            ("version", version.is_some()),
            ("hash", hash.is_some()),
            ("attr", attr.is_some()),
            ("leaseToken", lease_token.is_some()),
        ];
        exactly_one("a condition", &kinds)?;
        if attr.is_none() && (is.is_some() || value.is_some()) {
            return Err(D::Error::custom("`is` and `value` belong to a condition with `attr`"));
        }
        match (exists, version, hash, attr, lease_token) {
            (Some(exists), ..) => Ok(Self::Exists { name, exists }),
            (_, Some(0), ..) => Err(D::Error::custom(
                "version must be 1 or greater; `exists` asks whether there is a version or an attribute",
            )),
            (_, Some(version), ..) => Ok(Self::Version { name, version }),
            (_, _, Some(hash), ..) => Ok(Self::Hash { name, hash }),
            (_, _, _, Some(attr), _) => match (is, value) {
                (Some(is), Some(value)) => Ok(Self::Attribute { name, attr, is, value }),
                _ => Err(D::Error::custom("a condition with `attr` also needs `is` and `value`")),
            },
            (_, _, _, _, Some(lease_token)) => Ok(Self::Lease { name, lease_token }),
            _ => Err(D::Error::custom("the condition is empty")),
        }
    }
}

/// An operation as it is written.
#[derive(Deserialize)]
struct AnyOperation {
    #[serde(default, deserialize_with = "decode::object")]
    set: Option<TxnSet>,
    #[serde(default, deserialize_with = "decode::object")]
    add: Option<TxnAdd>,
    #[serde(default, deserialize_with = "decode::object")]
    unset: Option<TxnUnset>,
    #[serde(default, deserialize_with = "decode::object")]
    delete: Option<TxnDelete>,
}

impl<'de> Deserialize<'de> for TxnOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(AnyOperation { set, add, unset, delete }) = Object::deserialize(deserializer)?;
        let kinds =
            [("set", set.is_some()), ("add", add.is_some()), ("unset", unset.is_some()), ("delete", delete.is_some())];
        exactly_one("an operation", &kinds)?;
        if let Some(TxnAdd { min: Some(min), max: Some(max), .. }) = &add
            && min > max
        {
            return Err(D::Error::custom(format_args!("min is {min} and max is {max}; no sum lies between them")));
        }
        let any = set.map(Self::Set).or(add.map(Self::Add)).or(unset.map(Self::Unset)).or(delete.map(Self::Delete));
        any.ok_or_else(|| D::Error::custom("the operation is empty"))
    }
}

/// Refuses what has no kind, or more than one.
fn exactly_one<E: Error>(what: &str, kinds: &[(&str, bool)]) -> Result<(), E> {
    let list = |names: Vec<&str>, word: &str| {
        let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let (last, rest) = quoted.split_last().map_or((String::new(), &[][..]), |(last, rest)| (last.clone(), rest));
        if rest.is_empty() { last } else { format!("{} {word} {last}", rest.join(", ")) }
    };
    let found: Vec<_> = kinds.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    if found.len() == 1 {
        return Ok(());
    }
    let all = list(kinds.iter().map(|(name, _)| *name).collect(), "or");
    let has = if found.is_empty() { "none".to_owned() } else { list(found, "and") };
    Err(E::custom(format_args!("{what} needs exactly one of {all}; it has {has}")))
}

fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TxnCondition>, D::Error> {
    deserializer.deserialize_seq(Located::new("if", limits::TXN_CONDITIONS_MAX))
}

fn then<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TxnOperation>, D::Error> {
    deserializer.deserialize_seq(Located::new("then", limits::TXN_OPERATIONS_MAX))
}

fn otherwise<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TxnOperation>, D::Error> {
    deserializer.deserialize_seq(Located::new("else", limits::TXN_OPERATIONS_MAX))
}

/// A bounded list whose errors name the item.
struct Located<T> {
    field: &'static str,
    max: usize,
    items: Vec<T>,
}

impl<T> Located<T> {
    fn new(field: &'static str, max: usize) -> Self {
        Self { field, max, items: Vec::new() }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Located<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for `{}`", self.field)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Vec<T>, A::Error> {
        loop {
            let (field, place) = (self.field, self.items.len());
            let item = access.next_element().map_err(|error| {
                let text = error.to_string();
                // JSON errors end in their line and column, which the outer error repeats.
                let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
                A::Error::custom(format_args!("{field}[{place}]: {reason}"))
            })?;
            let Some(item) = item else { return Ok(self.items) };
            if place == self.max {
                return Err(A::Error::custom(format_args!("`{field}` has more than {} items", self.max)));
            }
            self.items.push(item);
        }
    }
}

impl From<TxnRequest> for catalog::Txn {
    fn from(request: TxnRequest) -> Self {
        let mut txn = Self::new(request.peer_id);
        for condition in request.conditions {
            let (name, test) = match condition {
                TxnCondition::Exists { name, exists } => (name, catalog::Test::Exists(exists)),
                TxnCondition::Version { name, version } => (name, catalog::Test::Version(version)),
                TxnCondition::Hash { name, hash } => (name, catalog::Test::Hash(hash)),
                TxnCondition::Attribute { name, attr, is, value } => {
                    (name, catalog::Test::Attribute { key: attr, is, value })
                }
                TxnCondition::Lease { name, lease_token } => (name, catalog::Test::Lease(lease_token)),
            };
            txn.require(name, test);
        }
        for operation in request.then {
            let (name, action, token) = parts(operation);
            txn.then(name, action, token);
        }
        for operation in request.otherwise {
            let (name, action, token) = parts(operation);
            txn.otherwise(name, action, token);
        }
        txn
    }
}

fn parts(operation: TxnOperation) -> (FileName, catalog::Action, Option<LeaseToken>) {
    use catalog::Action;
    match operation {
        TxnOperation::Set(set) => (set.name, Action::Set { key: set.attr, value: set.value }, set.lease_token),
        TxnOperation::Add(add) => {
            let TxnAdd { name, attr, by, min, max, lease_token } = add;
            (name, Action::Add { key: attr, by, min, max }, lease_token)
        }
        TxnOperation::Unset(unset) => (unset.name, Action::Unset { key: unset.attr }, unset.lease_token),
        TxnOperation::Delete(delete) => (delete.name, Action::Delete, delete.lease_token),
    }
}

impl From<catalog::TxnOutcome> for TxnResponse {
    fn from(outcome: catalog::TxnOutcome) -> Self {
        let names = outcome.names.into_iter();
        Self {
            ok: true,
            branch: if outcome.held { TxnBranch::Then } else { TxnBranch::Else },
            txn: outcome.txn,
            names: names
                .map(|catalog::TxnName { name, version, attributes }| TxnName { name, version, attributes })
                .collect(),
        }
    }
}
