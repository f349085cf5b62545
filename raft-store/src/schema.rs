//! How the values of [`types`](crate::types) look in the description of an API (JSON Schema, OpenAPI).

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::types::{ContentHash, FileName, LeaseToken, PeerId, limits};

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
