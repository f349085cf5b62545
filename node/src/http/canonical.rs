//! Decides whether two bodies are "the same" (X1): equal JSON on the same path, regardless of field order and white
//! space.
//!
//! Invariant: the hashed bytes are those that `serde_json` writes for the body read as a `Value`: fields sorted by
//! name, the last one of duplicates. They are produced here without a `Value`, which would allocate for each name and
//! string of every keyed write.

use std::borrow::Cow;
use std::fmt;

use raft_store::types::ContentHash;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Capacity reserved for the fields of an object; most objects have no more.
const FIELDS: usize = 8;

/// Hashes a path and a body in canonical form; a body that is not JSON is hashed as it is.
pub fn canonical_hash(path: &str, body: &[u8]) -> ContentHash {
    let mut hasher = Sha256::new();
    hasher.update(path.as_bytes());
    hasher.update([0]);
    match canonical_form(body) {
        Some(bytes) => hasher.update(bytes),
        None => hasher.update(body),
    }
    ContentHash(hasher.finalize().into())
}

fn canonical_form(body: &[u8]) -> Option<Vec<u8>> {
    let json: Json<'_> = serde_json::from_slice(body).ok()?;
    let mut form = Vec::with_capacity(body.len());
    // A value that was read can always be written.
    serde_json::to_writer(&mut form, &json).ok()?;
    Some(form)
}

/// A JSON value that borrows its strings from the input.
enum Json<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    /// Sorted by name, without duplicates.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// A string that is borrowed where possible; serde never borrows into a plain `Cow`.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        // No allocation for an empty object: a large body may consist of them.
        let mut fields = Vec::new();
        while let Some((Name(name), value)) = access.next_entry()? {
            if fields.is_empty() {
                fields.reserve(FIELDS);
            }
            fields.push((name, value));
        }
        // The sort is stable: among equal names the one read last stays last, and is the one that is kept.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields.dedup_by(|later, earlier| {
            let is_again = later.0 == earlier.0;
            if is_again {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            is_again
        });
        Ok(Json::Object(fields))
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn equal_json_is_the_same_body() {
        let hash = |body: &str| canonical_hash("/lease", body.as_bytes());
        assert_eq!(hash(r#"{"a":1,"b":{"d":2,"c":3}}"#), hash(r#" { "b": {"c":3, "d":2}, "a": 1 } "#));
        assert_eq!(hash(r#"{"a":0,"b":1,"a":2}"#), hash(r#"{"a":2,"b":1}"#), "the last of equal names counts");
        assert_ne!(hash(r#"{"a":1}"#), hash(r#"{"a":2}"#));
        assert_ne!(hash("{}"), canonical_hash("/delete", b"{}"));
        assert_ne!(hash("no JSON"), hash("no json"));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map("[a-c\"\u{e9}]{0,2}", inner, 0..6).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_form_is_that_of_a_value(fields in proptest::collection::vec(("[a-c\"\\\\\u{e9}]{0,2}", json()), 0..8)) {
            // Written by hand, because names may repeat and come in any order.
            let field = |(name, value): &(String, Value)| format!("{} : {value}", Value::from(name.as_str()));
            let text = format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(" , "));
            let value: Value = serde_json::from_str(&text).expect("it is JSON");
            let expected = serde_json::to_vec(&value).expect("it can be written");
            prop_assert_eq!(canonical_form(text.as_bytes()), Some(expected));
        }
    }
}
