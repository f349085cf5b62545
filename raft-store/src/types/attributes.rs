//! Attributes: what a name can carry beside its versions (K1).
//!
//! Invariant: keys and values of these types are valid, and the attributes of a name are sorted by key, each key once.
//! How many a name may carry is checked where they are changed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::{InvalidValue, limits};

/// Bytes of a key that are stored inline: enough for most keys.
const INLINE_KEY_BYTES: usize = 16;

/// The key of an attribute: 1 to 64 bytes of `[A-Za-z0-9._-]` (K1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeKey(SmallVec<[u8; INLINE_KEY_BYTES]>);

impl AttributeKey {
    /// Checks length and characters.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() {
            return Err(InvalidValue::AttributeKey("it is empty"));
        }
        if text.len() > limits::ATTRIBUTE_KEY_BYTES_MAX {
            return Err(InvalidValue::AttributeKey("it is longer than 64 bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return Err(InvalidValue::AttributeKey("it may have only letters, digits, '.', '_' and '-'"));
        }
        Ok(Self(SmallVec::from_slice(text.as_bytes())))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        // Keys are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for AttributeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AttributeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for AttributeKey {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::parse(text)
    }
}

impl Serialize for AttributeKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AttributeKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = AttributeKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute key")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AttributeKey, E> {
                AttributeKey::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Key)
    }
}

/// The value of an attribute (K1). In JSON an integer or a string; other numbers are refused, never rounded.
///
/// Integers come before strings in the order of this type. Conditions do not compare the two (K3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeValue {
    /// A 64-bit signed integer.
    Integer(i64),
    /// A string of up to 1,024 bytes. Clones share the text.
    Text(Arc<str>),
}

impl AttributeValue {
    /// A string value; checks its length.
    pub fn text(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, InvalidValue> {
        if text.as_ref().len() > limits::ATTRIBUTE_TEXT_BYTES_MAX {
            return Err(InvalidValue::AttributeValue("a string has at most 1,024 bytes"));
        }
        Ok(Self::Text(text.into()))
    }

    /// The integer, unless the value is a string.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Text(_) => None,
        }
    }

    /// The string, unless the value is an integer.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Integer(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

/// As JSON shows it: strings in quotes, so that `5` and `"5"` differ.
impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Text(text) => fmt::Debug::fmt(text, f),
        }
    }
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The form in the log and in snapshots (D3).
#[derive(Serialize, Deserialize)]
enum StoredValue<T> {
    Integer(i64),
    Text(T),
}

impl Serialize for AttributeValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, serializer.is_human_readable()) {
            (Self::Integer(value), true) => serializer.serialize_i64(*value),
            (Self::Text(text), true) => serializer.serialize_str(text),
            (Self::Integer(value), false) => StoredValue::<&str>::Integer(*value).serialize(serializer),
            (Self::Text(text), false) => StoredValue::Text(&**text).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl Visitor<'_> for Value {
            type Value = AttributeValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 64 bits or a string")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<AttributeValue, E> {
                Ok(AttributeValue::Integer(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<AttributeValue, E> {
                let range = InvalidValue::AttributeValue("an integer is between -2^63 and 2^63 - 1");
                i64::try_from(value).map(AttributeValue::Integer).map_err(|_| E::custom(range))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AttributeValue, E> {
                AttributeValue::text(text).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(Value);
        }
        match StoredValue::<Arc<str>>::deserialize(deserializer)? {
            StoredValue::Integer(value) => Ok(Self::Integer(value)),
            StoredValue::Text(text) => Self::text(text).map_err(serde::de::Error::custom),
        }
    }
}

/// How a condition compares an attribute with a value (K3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// The same kind and value.
    #[serde(rename = "=")]
    Equal,
    /// Another value or kind, or no attribute.
    #[serde(rename = "!=")]
    NotEqual,
    /// Less: integers by size, strings by bytes.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

impl Comparison {
    /// All of them; each comes before those that begin with its sign alone.
    pub const ALL: [Self; 6] =
        [Self::NotEqual, Self::LessOrEqual, Self::GreaterOrEqual, Self::Equal, Self::Less, Self::Greater];

    /// The sign, as in requests.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether an attribute compares so with a value. A missing attribute only satisfies `!=`, and an integer and a
    /// string have no order (K3).
    pub fn holds(self, attribute: Option<&AttributeValue>, value: &AttributeValue) -> bool {
        use AttributeValue::{Integer, Text};
        let order = match (attribute, value) {
            (Some(Integer(one)), Integer(other)) => Some(one.cmp(other)),
            (Some(Text(one)), Text(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
            _ => None,
        };
        match self {
            Self::Equal => order.is_some_and(|order| order.is_eq()),
            Self::NotEqual => order.is_none_or(|order| order.is_ne()),
            Self::Less => order.is_some_and(|order| order.is_lt()),
            Self::LessOrEqual => order.is_some_and(|order| order.is_le()),
            Self::Greater => order.is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sign())
    }
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its key.
    pub key: AttributeKey,
    /// Its value.
    pub value: AttributeValue,
}

/// The attributes of a name, sorted by key. In JSON an object; most names have none, which takes one pointer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(ThinVec<Attribute>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&AttributeKey, &AttributeValue)> {
        self.0.iter().map(|attribute| (&attribute.key, &attribute.value))
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.place(key).ok().map(|place| &self.0[place].value)
    }

    /// Sets a value, whatever it was before. Returns the value before.
    pub fn set(&mut self, key: AttributeKey, value: AttributeValue) -> Option<AttributeValue> {
        match self.place(key.as_str()) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].value, value)),
            Err(place) => {
                self.0.insert(place, Attribute { key, value });
                None
            }
        }
    }

    /// Removes a value. Returns what it was.
    pub fn remove(&mut self, key: &str) -> Option<AttributeValue> {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).value)
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether the keys ascend, each once. Decoded bytes may say otherwise.
    pub(crate) fn is_sorted(&self) -> bool {
        self.0.is_sorted_by(|one, other| one.key < other.key)
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|attribute| attribute.key.as_str().cmp(key))
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(AttributeKey, AttributeValue)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (AttributeKey, AttributeValue)>>(items: T) -> Self {
        let mut attributes = Self::new();
        items.into_iter().for_each(|(key, value)| drop(attributes.set(key, value)));
        attributes
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_map(self.iter());
        }
        let mut sequence = serializer.serialize_seq(Some(self.len()))?;
        self.0.iter().try_for_each(|attribute| sequence.serialize_element(attribute))?;
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("attributes by their keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Attributes, A::Error> {
                let mut attributes = Attributes::new();
                while let Some((key, value)) = access.next_entry()? {
                    attributes.set(key, value);
                }
                Ok(attributes)
            }

            /// Takes what is stored as it is, whatever its order: see [`Attributes::is_sorted`]. Reserves nothing for
            /// what a damaged length claims.
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Attributes, A::Error> {
                let mut attributes = ThinVec::new();
                while let Some(attribute) = access.next_element()? {
                    attributes.push(attribute);
                }
                Ok(Attributes(attributes))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_map(Object)
        } else {
            deserializer.deserialize_seq(Object)
        }
    }
}

/// Identity of an applied transaction: the log index of its entry and its position in it, from 0 (K5). In JSON and as
/// text `INDEX.N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId {
    /// The log index of the entry.
    pub index: u64,
    /// The position of the command in the entry.
    pub position: u32,
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.position)
    }
}

impl FromStr for TxnId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let parts = text.split_once('.').filter(|(index, position)| is_number(index) && is_number(position));
        let parsed = parts
            .and_then(|(index, position)| Some(Self { index: index.parse().ok()?, position: position.parse().ok()? }));
        parsed.ok_or(InvalidValue::TxnId)
    }
}

impl Serialize for TxnId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.index, self.position).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for TxnId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom);
        }
        let (index, position) = Deserialize::deserialize(deserializer)?;
        Ok(Self { index, position })
    }
}
