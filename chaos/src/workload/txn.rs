//! Transactions and reads of attributes: as the contract sends them, and what their answers say.
//!
//! Invariant: the body of a request follows from its transaction and the token of one lease, so what is checked is what
//! was sent.

use serde_json::{Map, Value, json};

use super::write::{Lease, Write};
use crate::history::{Action, After, Answer, Attributes, Branch, Change, Condition, Op, Txn};

impl Write {
    /// A transaction. What it shows as a fencing token goes as the token of `lease`.
    pub(crate) fn txn(txn: Txn, lease: Option<&Lease>) -> Self {
        let token = lease.map_or(Value::Null, |lease| lease.token.clone());
        let conditions: Vec<Value> = txn.conditions.iter().map(|one| condition(one, &token)).collect();
        let list = |changes: &[Change]| changes.iter().map(|one| operation(one, &token)).collect::<Vec<_>>();
        let (then, otherwise) = (list(&txn.then), list(&txn.otherwise));
        let body = json!({"peerId": txn.peer, "if": conditions, "then": then, "else": otherwise});
        Self { op: Op::Txn(txn), path: "/txn", body }
    }
}

fn condition(condition: &Condition, token: &Value) -> Value {
    match condition {
        Condition::Exists { name, exists } => json!({"name": name, "exists": exists}),
        Condition::Version { name, version } => json!({"name": name, "version": version}),
        Condition::Attribute { name, attr, is, value } => {
            json!({"name": name, "attr": attr, "is": is, "value": value})
        }
        Condition::Lease { name, .. } => json!({"name": name, "leaseToken": token}),
    }
}

fn operation(Change { name, action, fence }: &Change, token: &Value) -> Value {
    let (kind, mut fields) = match action {
        Action::Set { attr, value } => ("set", json!({"attr": attr, "value": value})),
        Action::Add { attr, by, min, max } => {
            let mut fields = json!({"attr": attr, "by": by});
            for (bound, value) in [("min", min), ("max", max)] {
                if let Some(value) = value {
                    fields[bound] = json!(value);
                }
            }
            ("add", fields)
        }
        Action::Unset { attr } => ("unset", json!({"attr": attr})),
        Action::Delete => ("delete", json!({})),
    };
    fields["name"] = json!(name);
    if fence.is_some() {
        fields["leaseToken"] = token.clone();
    }
    Value::Object(Map::from_iter([(kind.to_owned(), fields)]))
}

/// The answer to a transaction, or to a question after one.
pub(crate) fn applied_answer(value: &Value) -> Option<Answer> {
    let branch = match value.get("branch")?.as_str()? {
        "then" => Branch::Then,
        "else" => Branch::Else,
        _ => return None,
    };
    let names: Option<Vec<After>> = value.get("names")?.as_array()?.iter().map(after).collect();
    Some(Answer::Applied { branch, txn: value.get("txn")?.as_str()?.to_owned(), names: names? })
}

fn after(value: &Value) -> Option<After> {
    let name = value.get("name")?.as_str()?.to_owned();
    Some(After { name, version: version(value)?, attributes: attributes(value)? })
}

/// The attributes in an answer of `GET /file`.
pub(crate) fn attributes_answer(value: &Value) -> Option<Answer> {
    Some(Answer::Attributes { version: version(value)?, attributes: attributes(value)? })
}

fn version(value: &Value) -> Option<Option<u64>> {
    let version = value.get("version")?;
    if version.is_null() { Some(None) } else { version.as_u64().map(Some) }
}

fn attributes(value: &Value) -> Option<Attributes> {
    serde_json::from_value(value.get("attributes")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{AttributeValue, Comparison};

    #[test]
    fn a_transaction_is_sent_as_the_contract_words_it() {
        let write = Write::acquire("p", "n", 9, false);
        let granted = Answer::Granted { fence: 7, ttl_ms: 9, version: 0, sent: None };
        let lease = Lease::granted(&write, &granted, &json!({"leaseToken": "secret"})).expect("a lease");
        let (name, attr) = ("n".to_owned(), "a".to_owned());
        let change = |action| Change { name: name.clone(), action, fence: None };
        let txn = Txn {
            peer: "p".into(),
            conditions: vec![
                Condition::Lease { name: name.clone(), fence: 7 },
                Condition::Attribute {
                    name: name.clone(),
                    attr: attr.clone(),
                    is: Comparison::NotEqual,
                    value: AttributeValue::Text("x".into()),
                },
            ],
            then: vec![Change {
                fence: Some(7),
                ..change(Action::Add { attr: attr.clone(), by: -2, min: Some(0), max: None })
            }],
            otherwise: vec![change(Action::Unset { attr }), change(Action::Delete)],
        };
        let wanted = json!({
            "peerId": "p",
            "if": [{"name": "n", "leaseToken": "secret"}, {"name": "n", "attr": "a", "is": "!=", "value": "x"}],
            "then": [{"add": {"name": "n", "attr": "a", "by": -2, "min": 0, "leaseToken": "secret"}}],
            "else": [{"unset": {"name": "n", "attr": "a"}}, {"delete": {"name": "n"}}],
        });
        let sent = Write::txn(txn, Some(&lease));
        assert_eq!((sent.path, sent.body), ("/txn", wanted));
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_not() {
        let value = json!({"ok": true, "branch": "else", "txn": "12.3",
            "names": [{"name": "n", "version": null, "attributes": {"a": -1, "b": "x"}}]});
        let attributes = Attributes::from([
            ("a".into(), AttributeValue::Integer(-1)),
            ("b".into(), AttributeValue::Text("x".into())),
        ]);
        let names = vec![After { name: "n".into(), version: None, attributes }];
        assert_eq!(applied_answer(&value), Some(Answer::Applied { branch: Branch::Else, txn: "12.3".into(), names }));
        assert_eq!(applied_answer(&json!({"branch": "then", "txn": "1.0"})), None);
        assert_eq!(attributes_answer(&json!({"version": 3, "attributes": {"a": 1.5}})), None);
    }
}
