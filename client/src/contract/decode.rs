//! Deserialization rules of request bodies: structs must be JSON objects, and any string is accepted as a lease token.

use raft_store::types::LeaseToken;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A struct that only a JSON object deserializes to. Derived implementations also accept an array of the field values,
/// which the contract does not allow.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData)).map(Object)
    }
}

pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

pub(super) fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|object| object.0).collect()))
}

/// Stands for a string that is not a well-formed token: the catalog refuses it like any wrong token (F5, L2).
const WRONG_TOKEN: LeaseToken = LeaseToken([0; 16]);

pub(super) fn any_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LeaseToken, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(LeaseToken::parse(&text).unwrap_or(WRONG_TOKEN))
}

pub(super) fn any_token_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LeaseToken>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| LeaseToken::parse(&text).unwrap_or(WRONG_TOKEN)))
}
