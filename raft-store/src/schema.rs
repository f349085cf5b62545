//! How the values of [`types`](crate::types) look in the description of an API (JSON Schema, OpenAPI).

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::types::{
    AttributeKey, AttributeValue, Attributes, Comparison, ContentHash, FileName, LeaseToken, PeerId, TxnId, limits,
};

macro_rules! text_schema {
    ($type:ident, $description:literal, $build:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let text: fn(ObjectBuilder) -> ObjectBuilder = $build;
                text(ObjectBuilder::new().schema_type(Type::String).description(Some($description))).into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }
        }
    };
}

text_schema!(
    FileName,
    "A file name (F1): a relative UTF-8 path in NFC, 1 to 1,024 bytes, `/`-separated; no empty, `.` or `..` segment, no \
     NUL, control character or backslash, no leading `/`; not in `.raftshare/`.",
    |text| text.min_length(Some(1)).max_length(Some(limits::FILE_NAME_BYTES_MAX)).examples(["docs/report.pdf"])
);
text_schema!(PeerId, "A peer's id: 1 to 128 bytes without control characters.", |text| {
    text.min_length(Some(1)).max_length(Some(limits::PEER_ID_BYTES_MAX)).examples(["laptop-anna"])
});
text_schema!(ContentHash, "SHA-256 of a file's bytes, lower-case hexadecimal.", |text| {
    text.pattern(Some("^[0-9a-f]{64}$"))
});
text_schema!(
    LeaseToken,
    "The secret of a lease: 32 hexadecimal digits. A text of another form is a wrong token, not a bad request.",
    |text| text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
);
text_schema!(AttributeKey, "The key of an attribute (K1): 1 to 64 letters, digits, `.`, `_` and `-`.", |text| {
    text.pattern(Some("^[A-Za-z0-9._-]{1,64}$")).examples(["stock"])
});
text_schema!(Comparison, "A comparison (K3).", |text| { text.enum_values(Some(["=", "!=", "<", "<=", ">", ">="])) });
text_schema!(TxnId, "Id of an applied transaction (K5): `INDEX.N`.", |text| {
    text.pattern(Some("^[0-9]+\\.[0-9]+$")).examples(["1204.0"])
});

impl PartialSchema for AttributeValue {
    fn schema() -> RefOr<Schema> {
        let integer =
            ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(limits::ATTRIBUTE_TEXT_BYTES_MAX));
        let description = "The value of an attribute (K1): a 64-bit signed integer, or a string of up to 1,024 bytes.";
        OneOfBuilder::new().item(integer).item(text).description(Some(description)).into()
    }
}

impl ToSchema for AttributeValue {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("AttributeValue")
    }
}

impl PartialSchema for Attributes {
    fn schema() -> RefOr<Schema> {
        let values = AdditionalProperties::RefOr(AttributeValue::schema());
        let description = "The attributes of a name by their keys (K1), at most 32.";
        ObjectBuilder::new().additional_properties(Some(values)).description(Some(description)).into()
    }
}

impl ToSchema for Attributes {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Attributes")
    }
}
