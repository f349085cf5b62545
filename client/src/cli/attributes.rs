//! Conditions, operations and values of attributes as people type them, and the leases that a folder shows with them.
//!
//! ```text
//! exists NAME     absent NAME     version NAME N     hash NAME SHA256     lease NAME [TOKEN]
//! NAME:KEY=VALUE  with one of = != < <= > >=
//!
//! set NAME:KEY VALUE     add NAME:KEY N [min N] [max N]     unset NAME:KEY     delete NAME
//! ```
//!
//! Invariant: a value that looks like a whole number is an integer, and one in double quotes is a text, here and in the
//! filters of `search`. Nothing is rounded or cut.

use std::sync::Arc;

use raft_store::types::{AttributeKey, AttributeValue, Attributes, Comparison, ContentHash, FileName, LeaseToken};

use super::leases::all_kept;
use super::session::Session;
use super::values::file_name;
use crate::cluster::{Read, lease_token_of, name_of};
use crate::contract::{
    ErrorCode, FileResponse, TxnAdd, TxnCondition, TxnDelete, TxnOperation, TxnRequest, TxnSet, TxnUnset,
};
use crate::peer::Folder;
use crate::terminal::Failure;

/// A condition as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedCondition {
    /// Complete.
    Complete(TxnCondition),
    /// The live lease of the name is the one that this folder keeps.
    OwnLease(FileName),
}

/// Parses a condition.
pub(super) fn condition(text: &str) -> Result<TypedCondition, String> {
    let text = text.trim();
    let complete = match text.split_once(char::is_whitespace).map(|(verb, rest)| (verb, rest.trim())) {
        Some(("exists", name)) => TxnCondition::Exists { name: file_name(name)?, exists: true },
        Some(("absent", name)) => TxnCondition::Exists { name: file_name(name)?, exists: false },
        Some(("version", rest)) => {
            let (name, number) = last_word(rest).ok_or("write it as 'version NAME N'")?;
            let version = number.parse().ok().filter(|version| *version > 0);
            let version = version.ok_or_else(|| format!("{number:?} is not a version: a number from 1"))?;
            TxnCondition::Version { name: file_name(name)?, version }
        }
        Some(("hash", rest)) => {
            let (name, hash) = last_word(rest).ok_or("write it as 'hash NAME SHA256'")?;
            let hash = ContentHash::parse(hash).map_err(|error| error.to_string())?;
            TxnCondition::Hash { name: file_name(name)?, hash }
        }
        Some(("lease", rest)) => {
            let with_token = last_word(rest).and_then(|(name, token)| Some((name, LeaseToken::parse(token).ok()?)));
            let Some((name, lease_token)) = with_token else {
                return Ok(TypedCondition::OwnLease(file_name(rest)?));
            };
            TxnCondition::Lease { name: file_name(name)?, lease_token }
        }
        _ => attribute_condition(text)?,
    };
    Ok(TypedCondition::Complete(complete))
}

fn attribute_condition(text: &str) -> Result<TxnCondition, String> {
    let sign = |rest: &str| Comparison::ALL.into_iter().find(|is| rest.trim_start().starts_with(is.sign()));
    let (name, attr, rest) = named_attribute(text, |rest| sign(rest).is_some()).ok_or_else(|| {
        format!("{text:?} is not a condition; examples: 'exists a.txt', 'version a.txt 3', 'market/a:stock>=3'")
    })?;
    let is = sign(rest).unwrap_or(Comparison::Equal);
    let rest = rest.trim_start().strip_prefix(is.sign()).unwrap_or_default();
    // Programmers write `==`.
    let rest = if is == Comparison::Equal { rest.strip_prefix('=').unwrap_or(rest) } else { rest };
    Ok(TxnCondition::Attribute { name: file_name(name)?, attr, is, value: value(rest.trim())? })
}

/// Parses an operation.
pub(super) fn operation(text: &str) -> Result<TxnOperation, String> {
    let text = text.trim();
    let (verb, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(verb, rest)| (verb, rest.trim()));
    let attribute = |form: &str| {
        let ends = |rest: &str| rest.is_empty() || rest.starts_with(char::is_whitespace);
        let (name, attr, rest) = named_attribute(rest, ends).ok_or_else(|| format!("write it as '{form}'"))?;
        Ok::<_, String>((file_name(name)?, attr, rest.trim()))
    };
    match verb {
        "set" => {
            let (name, attr, rest) = attribute("set NAME:KEY VALUE")?;
            if rest.is_empty() {
                return Err("the value is missing; write \"\" for an empty text".into());
            }
            Ok(TxnOperation::Set(TxnSet { name, attr, value: value(rest)?, lease_token: None }))
        }
        "add" => {
            let (name, attr, rest) = attribute("add NAME:KEY N [min N] [max N]")?;
            let mut add = TxnAdd { name, attr, by: 0, min: None, max: None, lease_token: None };
            let mut words = rest.split_whitespace();
            add.by = integer(words.next().unwrap_or_default())?;
            while let Some(bound) = words.next() {
                let number = integer(words.next().unwrap_or_default())?;
                match bound {
                    "min" => add.min = Some(number),
                    "max" => add.max = Some(number),
                    other => return Err(format!("{other:?} is not a bound; write 'min N' or 'max N'")),
                }
            }
            if add.min.zip(add.max).is_some_and(|(min, max)| min > max) {
                return Err("min is greater than max".into());
            }
            Ok(TxnOperation::Add(add))
        }
        "unset" => {
            let (name, attr, rest) = attribute("unset NAME:KEY")?;
            if !rest.is_empty() {
                return Err(format!("{rest:?} is too much; write 'unset NAME:KEY'"));
            }
            Ok(TxnOperation::Unset(TxnUnset { name, attr, lease_token: None }))
        }
        "delete" => Ok(TxnOperation::Delete(TxnDelete { name: file_name(rest)?, lease_token: None })),
        other => Err(format!(
            "{other:?} is not an operation; examples: 'set a.txt:price 120', 'add a.txt:stock -3 min 0', \
             'unset a.txt:price', 'delete market/a'"
        )),
    }
}

/// The key of an attribute.
pub(super) fn key(text: &str) -> Result<AttributeKey, String> {
    AttributeKey::parse(text).map_err(|error| error.to_string())
}

/// A value: a whole number is an integer, anything else is a text; double quotes make any text a text.
pub(super) fn value(text: &str) -> Result<AttributeValue, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return integer(text).map(AttributeValue::Integer);
    }
    let quoted = text.starts_with('"').then(|| serde_json::from_str::<String>(text));
    let words: Arc<str> = match quoted {
        Some(Ok(words)) => words.into(),
        Some(Err(_)) => return Err(format!("{text} is not a text in double quotes, as in JSON")),
        None => text.into(),
    };
    AttributeValue::text(words).map_err(|error| error.to_string())
}

/// A whole number of 64 bits.
pub(super) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number from {} to {}", i64::MIN, i64::MAX))
}

/// A filter of `search`: `KEY>=5`. The index parses it again; here a mistake costs no request.
pub(super) fn filter(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is not a filter; examples: 'stock>=5', 'unit=kg', 'note!=\"5\"'");
    let end = text.find(['=', '!', '<', '>']).ok_or_else(bad)?;
    key(text[..end].trim()).map_err(|error| format!("{}: {error}", bad()))?;
    let is = Comparison::ALL.into_iter().find(|is| text[end..].starts_with(is.sign())).ok_or_else(bad)?;
    value(text[end + is.sign().len()..].trim())?;
    Ok(text.to_owned())
}

/// Splits `NAME:KEY` and what follows. A name may contain `:` itself, so the first key counts that `follows` fits.
fn named_attribute(text: &str, follows: impl Fn(&str) -> bool) -> Option<(&str, AttributeKey, &str)> {
    text.match_indices(':').find_map(|(colon, _)| {
        let after = &text[colon + 1..];
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let end = after.find(|c| !is_key(c)).unwrap_or(after.len());
        let key = AttributeKey::parse(after.get(..end)?).ok()?;
        follows(&after[end..]).then(|| (text[..colon].trim(), key, &after[end..]))
    })
}

/// Splits the last word off.
fn last_word(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once(char::is_whitespace).map(|(rest, word)| (rest.trim(), word))
}

/// Attributes as `key=value`, for people.
pub(super) fn shown(attributes: &Attributes) -> String {
    let one = |(key, value): (&AttributeKey, &AttributeValue)| format!("{key}={value}");
    if attributes.is_empty() { "-".to_owned() } else { attributes.iter().map(one).collect::<Vec<_>>().join(" ") }
}

/// What the index knows about a file or a record.
pub(super) async fn look_up(session: &Session, name: &FileName) -> Result<Read<FileResponse>, Failure> {
    session.client.file(name).await.map_err(|error| match error.code() {
        Some(ErrorCode::NotFound) => Failure::from(error).hint("find names:  raftshare search --records"),
        _ => error.into(),
    })
}

/// Shows the tokens of the leases that the folder keeps with each operation on a leased name (K4).
pub(super) async fn show_leases(folder: &Arc<Folder>, request: &mut TxnRequest) -> Result<(), Failure> {
    let kept = all_kept(folder).await?;
    for operation in request.then.iter_mut().chain(&mut request.otherwise) {
        let token = kept.get(name_of(operation)).map(|lease| lease.token);
        let shown = lease_token_of(operation);
        *shown = shown.or(token);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const TOKEN: &str = "00112233445566778899aabbccddeeff";

    fn condition_json(text: &str) -> Value {
        match condition(text).expect(text) {
            TypedCondition::Complete(condition) => serde_json::to_value(condition).expect("JSON"),
            TypedCondition::OwnLease(name) => json!({"own": name}),
        }
    }

    #[test]
    fn conditions_are_read_as_they_are_documented() {
        let attr = |name: &str, key: &str, is: &str, value: Value| json!({"name": name, "attr": key, "is": is, "value": value});
        for (text, expected) in [
            ("exists market/a", json!({"name": "market/a", "exists": true})),
            ("absent my notes.txt", json!({"name": "my notes.txt", "exists": false})),
            ("version my notes.txt 3", json!({"name": "my notes.txt", "version": 3})),
            (&format!("hash a.txt {HASH}"), json!({"name": "a.txt", "hash": HASH})),
            (&format!("lease a.txt {TOKEN}"), json!({"name": "a.txt", "leaseToken": TOKEN})),
            ("lease my notes.txt", json!({"own": "my notes.txt"})),
            ("market/a:stock>=3", attr("market/a", "stock", ">=", json!(3))),
            ("a:stock >= -3", attr("a", "stock", ">=", json!(-3))),
            ("a:b:stock!=x y", attr("a:b", "stock", "!=", json!("x y"))),
            ("a:unit=\"5\"", attr("a", "unit", "=", json!("5"))),
            ("a:unit==kg", attr("a", "unit", "=", json!("kg"))),
            ("exists:x<1", attr("exists", "x", "<", json!(1))),
            ("a:n=", attr("a", "n", "=", json!(""))),
        ] {
            assert_eq!(condition_json(text), expected, "{text}");
        }
    }

    #[test]
    fn operations_are_read_as_they_are_documented() {
        let read = |text: &str| serde_json::to_value(operation(text).expect(text)).expect("JSON");
        for (text, expected) in [
            ("set a:price 120", json!({"set": {"name": "a", "attr": "price", "value": 120}})),
            ("set my file:unit two words", json!({"set": {"name": "my file", "attr": "unit", "value": "two words"}})),
            ("set a:code \"007\"", json!({"set": {"name": "a", "attr": "code", "value": "007"}})),
            ("add a:stock -3 min 0", json!({"add": {"name": "a", "attr": "stock", "by": -3, "min": 0}})),
            ("add a:b:n 1 max 9 min -9", json!({"add": {"name": "a:b", "attr": "n", "by": 1, "min": -9, "max": 9}})),
            ("unset a:price", json!({"unset": {"name": "a", "attr": "price"}})),
            ("delete market/a", json!({"delete": {"name": "market/a"}})),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, expected) in [
            ("", "is not a condition"),
            ("a>=3", "market/a:stock>=3"),
            ("version a.txt", "version NAME N"),
            ("version a.txt 0", "a number from 1"),
            ("hash a.txt abc", "64 lower-case"),
            ("exists ../a", "'.' or '..' segment"),
            ("a:n=99999999999999999999", "whole number"),
            ("a:n=\"x", "double quotes"),
        ] {
            let error = condition(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, expected) in [
            ("", "is not an operation"),
            ("put a:n 3", "is not an operation"),
            ("set a 3", "set NAME:KEY VALUE"),
            ("set a:n", "the value is missing"),
            ("add a:n", "whole number"),
            ("add a:n 1.5", "whole number"),
            ("add a:n 1 least 3", "min N"),
            ("add a:n 1 min", "whole number"),
            ("add a:n 1 min 3 max 2", "greater than"),
            ("unset a:n 3", "too much"),
            ("delete", "it is empty"),
        ] {
            let error = operation(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn filters_are_checked_before_they_are_sent() {
        for text in ["stock>=5", "unit=kg", "unit != \"5\"", "a.b-c<-1"] {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        for text in ["", "stock", ">=5", "a key=1", "n!5", "n=99999999999999999999"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
