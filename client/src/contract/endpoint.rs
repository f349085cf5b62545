//! What an endpoint of the HTTP contract is: method, path, kind, request and response types.
//!
//! Invariant: each fact about an endpoint is stated once, in its own file, through [`endpoint!`]. The node's router and
//! metrics, the client's calls, `openapi.json` and the tables of `docs/api.md` are generated from it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ErrorCode;

/// HTTP methods of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `GET`: changes nothing, has no body.
    Get,
    /// `POST`: may change something, has a JSON body.
    Post,
}

impl Method {
    /// The method's name in a request line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Who answers a request, and under which rules. Decides "here or at the leader?" for every endpoint at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Goes through the Raft log at the leader; exactly-once under an `Idempotency-Key` (X1).
    Logged,
    /// Reads the replicated state at one of three consistency levels (R1).
    Read,
    /// Reads or changes what only the leader keeps, outside the log; has no key.
    Leader,
    /// Answered by the asked node from its own state; refused by one whose state is not the cluster's (C3, C6, N3).
    Local,
    /// About the asked node itself, whatever its condition.
    Own,
}

impl Kind {
    /// Errors that every request of this kind may get.
    pub const fn errors(self) -> &'static [ErrorCode] {
        use ErrorCode::*;
        match self {
            Self::Logged => &[
                BadRequest,
                Unauthorized,
                NotLeader,
                Forbidden,
                ReadOnly,
                MethodNotAllowed,
                UnknownPeer,
                KeyExpired,
                TooLarge,
                KeyReused,
                Overloaded,
                NoQuorum,
                OutcomeUnknown,
                NotInitialized,
                StorageFailed,
                Diverged,
                Removed,
            ],
            Self::Read => &[
                BadRequest,
                Unauthorized,
                NotLeader,
                MethodNotAllowed,
                Overloaded,
                NoQuorum,
                TooStale,
                NotInitialized,
                StorageFailed,
                Diverged,
                Removed,
            ],
            Self::Leader => &[
                BadRequest,
                Unauthorized,
                NotLeader,
                Forbidden,
                ReadOnly,
                MethodNotAllowed,
                TooLarge,
                Overloaded,
                NoQuorum,
                OutcomeUnknown,
                NotInitialized,
                StorageFailed,
                Diverged,
                Removed,
            ],
            Self::Local => &[Unauthorized, MethodNotAllowed, NotInitialized, StorageFailed, Diverged, Removed],
            Self::Own => &[MethodNotAllowed],
        }
    }

    /// The kind in a sentence, for the documents.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Logged => "Writes that go through the Raft log; exactly-once under an `Idempotency-Key` (X1).",
            Self::Read => "Reads of the index at one of three consistency levels (R1).",
            Self::Leader => "Answered by the leader outside the log, without an `Idempotency-Key`.",
            Self::Local => {
                "Answered by the asked node from its own state, unless it was removed or its state is wrong."
            }
            Self::Own => "Answered by the asked node about itself, whatever its condition.",
        }
    }

    /// The kind's name in the documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logged => "logged",
            Self::Read => "read",
            Self::Leader => "leader",
            Self::Local => "any node",
            Self::Own => "this node",
        }
    }

    /// The kind's tag in `openapi.json`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Logged => "writes",
            Self::Read => "reads",
            Self::Leader => "leader",
            Self::Local | Self::Own => "node",
        }
    }
}

/// One endpoint. `endpoint!` implements it for an empty type that names the endpoint.
pub trait Endpoint: 'static {
    /// HTTP method.
    const METHOD: Method;
    /// Path, without parameters.
    const PATH: &'static str;
    /// Who answers it.
    const KIND: Kind;
    /// Operation id: the endpoint's name in generated clients.
    const ID: &'static str;
    /// Lines of the endpoint's documentation. The first line is a sentence that stands alone.
    const TEXT: &'static [&'static str];
    /// Description of the successful answer.
    const ANSWERED: &'static str;
    /// Errors in addition to [`Kind::errors`].
    const ERRORS: &'static [ErrorCode];
    /// Query parameters, in addition to those of all endpoints of the kind.
    type Query: Serialize + DeserializeOwned + IntoParams + Send + 'static;
    /// Request body.
    type Request: Serialize + DeserializeOwned + ToSchema + Send + 'static;
    /// Form of the answer.
    type Answer: AnswerForm;
}

/// What a client gets back from an endpoint.
pub type Response<E> = <<E as Endpoint>::Answer as AnswerForm>::Body;

/// The form of a successful answer: its status and its body.
pub trait AnswerForm: 'static {
    /// The HTTP status.
    const STATUS: u16;
    /// Media type of the body, if there is a body.
    const MEDIA: Option<&'static str>;
    /// What the body holds.
    type Body: Send + 'static;
    /// The type whose schema describes the body, or each item of a list.
    type Schema: ToSchema + 'static;
    /// Whether the body is a list.
    const IS_LIST: bool = false;
}

/// A JSON body.
pub struct Json<T>(std::marker::PhantomData<T>);
/// A JSON list.
pub struct JsonList<T>(std::marker::PhantomData<T>);
/// No body.
pub struct NoContent;
/// Plain text.
pub struct Text;
/// The text format of Prometheus.
pub struct MetricsText;
/// An HTML page.
pub struct Html;
/// A file download.
pub struct Octets;
/// Server-sent events, each with data of this type.
pub struct EventStream<T>(std::marker::PhantomData<T>);

/// Implements [`AnswerForm`].
macro_rules! answer_form {
    ($type:ty $(where $param:ident)?, $status:literal, $media:expr, $body:ty) => {
        impl$(<$param: ToSchema + Send + 'static>)? AnswerForm for $type {
            const STATUS: u16 = $status;
            const MEDIA: Option<&'static str> = $media;
            type Body = $body;
            type Schema = $body;
        }
    };
}
answer_form!(Json<T> where T, 200, Some("application/json"), T);
impl<T: ToSchema + Send + 'static> AnswerForm for JsonList<T> {
    const STATUS: u16 = 200;
    const MEDIA: Option<&'static str> = Some("application/json");
    type Body = Vec<T>;
    type Schema = T;
    const IS_LIST: bool = true;
}
answer_form!(NoContent, 204, None, ());
answer_form!(Text, 200, Some("text/plain; charset=utf-8"), String);
answer_form!(MetricsText, 200, Some("text/plain; version=0.0.4"), String);
answer_form!(Html, 200, Some("text/html; charset=utf-8"), String);
answer_form!(Octets, 200, Some("application/octet-stream"), String);
answer_form!(EventStream<T> where T, 200, Some("text/event-stream"), T);

/// No query parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
pub struct NoQuery {}

/// No body, or `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoBody {}

/// Method, path and kind of an endpoint: what the router and the metrics need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
    /// Who answers.
    pub kind: Kind,
}

impl Route {
    /// The first route with this path.
    pub fn at(path: &str) -> Option<&'static Self> {
        Self::place_of(path).and_then(|place| super::ROUTES.get(place))
    }

    /// The position of that route in [`ROUTES`](super::ROUTES).
    pub fn place_of(path: &str) -> Option<usize> {
        super::ROUTES.iter().position(|route| route.path == path)
    }

    /// The route of an endpoint.
    pub const fn of<E: Endpoint>() -> Self {
        Self { method: E::METHOD, path: E::PATH, kind: E::KIND }
    }
}

/// Declares an endpoint: its documentation, `Name = METHOD "path" as "id", Kind;`, its request and its answer.
macro_rules! endpoint {
    (
        $(#[doc = $doc:literal])+
        $name:ident = $method:ident $path:literal as $id:literal, $kind:ident;
        $(query: $query:ty;)?
        $(request: $request:ty;)?
        answer: $answer:ty, $answered:literal;
        $(errors: $($error:ident),+;)?
    ) => {
        $(#[doc = $doc])+
        #[doc = ""]
        #[doc = concat!("`", stringify!($method), " ", $path, "`")]
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl $crate::contract::Endpoint for $name {
            const METHOD: $crate::contract::Method = $crate::contract::Method::$method;
            const PATH: &'static str = $path;
            const KIND: $crate::contract::Kind = $crate::contract::Kind::$kind;
            const ID: &'static str = $id;
            const TEXT: &'static [&'static str] = &[$($doc),+];
            const ANSWERED: &'static str = $answered;
            const ERRORS: &'static [$crate::contract::ErrorCode] = &[$($($crate::contract::ErrorCode::$error),+)?];
            type Query = endpoint!(@or $crate::contract::NoQuery $(, $query)?);
            type Request = endpoint!(@or $crate::contract::NoBody $(, $request)?);
            type Answer = $answer;
        }
    };
    (@or $default:ty) => { $default };
    (@or $default:ty, $given:ty) => { $given };
}
pub(crate) use endpoint;
