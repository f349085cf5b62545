//! The HTTP server of a peer: `GET /files` lists its files, `GET /files/NAME` serves a file or one range of it.
//!
//! Invariants: a peer serves only copies that the index knows it to hold. Bytes that have changed on disk are never
//! served as the announced version, and a transfer during which they change is aborted. Neither names nor links reach
//! anything outside the shared part of the folder.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use raft_store::types::{ContentHash, FileName, Version};
use tokio_util::sync::CancellationToken;

use super::error::FolderError;
use super::folder::{Disk, Folder};
use super::guard::{self, Guard};
use super::range::{self, Part};
use super::table::{Copy, Record};
use crate::contract::{ErrorCode, PROBLEM_JSON, Problem, SharedFile};
use crate::files::Stamp;

/// Bytes that are read and sent at a time.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// Header with the version of the bytes.
pub const VERSION_HEADER: &str = "raftshare-version";
/// How long running transfers may continue after the shutdown begins.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Serves the folder until `shutdown`, then gives running transfers two seconds. A guard says whom it is served to.
pub(super) async fn run(
    listener: tokio::net::TcpListener,
    folder: Arc<Folder>,
    guard: Option<Guard>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true); // it only improves latency
    });
    let stop = shutdown.clone();
    let mut router = router(folder);
    if let Some(guard) = guard {
        router = router.layer(axum::middleware::from_fn_with_state(guard, guard::check));
    }
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = std::future::IntoFuture::into_future(server) => result,
        () = drained => Ok(()),
    }
}

/// The router. One handler parses the raw path, because each segment of a name is decoded separately.
pub fn router(folder: Arc<Folder>) -> Router {
    Router::new().fallback(handle).with_state(folder)
}

async fn handle(State(folder): State<Arc<Folder>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path();
    let rest = match path.strip_prefix("/files") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ if path == "/healthz" => return "ok\n".into_response(),
        _ => return refuse(StatusCode::NOT_FOUND, ErrorCode::NotFound, "a peer serves /files and /files/NAME"),
    };
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let refusal =
            refuse(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed, "the files of a peer are read-only");
        return ([(header::ALLOW, "GET, HEAD")], refusal).into_response();
    }
    match rest.strip_prefix('/') {
        None => list(folder).await,
        Some(encoded) => match (parse_name(encoded), parse_version(&parts.uri)) {
            (Err(rule), _) => refuse(StatusCode::BAD_REQUEST, ErrorCode::BadName, &rule),
            (_, Err(rule)) => refuse(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, rule),
            (Ok(name), Ok(version)) => file(folder, name, version, &parts.method, &parts.headers).await,
        },
    }
}

fn parse_name(encoded: &str) -> Result<FileName, String> {
    let name = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| "bad file name: it is not UTF-8 after percent-decoding".to_owned())?;
    FileName::parse(name).map_err(|rule| rule.to_string())
}

fn parse_version(uri: &Uri) -> Result<Option<Version>, &'static str> {
    let pairs = uri.query().unwrap_or("").split('&');
    let Some(text) = pairs.filter_map(|pair| pair.strip_prefix("version=")).next_back() else { return Ok(None) };
    match text.parse() {
        Ok(version) if version >= 1 => Ok(Some(version)),
        _ => Err("bad version: expected a number of at least 1"),
    }
}

async fn list(folder: Arc<Folder>) -> Response {
    let listing = tokio::task::spawn_blocking(move || list_blocking(&folder)).await;
    match listing {
        Ok(Ok(files)) => axum::Json(files).into_response(),
        Ok(Err(error)) => internal(&error),
        Err(error) => internal(&error),
    }
}

fn list_blocking(folder: &Folder) -> Result<Vec<SharedFile>, FolderError> {
    let mut files = Vec::new();
    for record in folder.records()? {
        // A file that cannot be read is not served either; a request for it says why.
        let Ok(Disk::Announced(copy)) = folder.disk_against(&record) else { continue };
        files.push(SharedFile { name: record.name, size: copy.stamp.size, version: copy.version, hash: copy.hash });
    }
    Ok(files)
}

/// An open copy that may be served.
struct Opened {
    file: File,
    copy: Copy,
}

/// What a request asks for.
struct Wanted {
    name: FileName,
    version: Option<Version>,
    /// The `If-Match` header.
    if_match: Option<String>,
}

impl Wanted {
    /// Whether the request names exactly these bytes, which it can only know from the index.
    fn names(&self, hash: ContentHash) -> bool {
        self.if_match.as_deref().is_some_and(|tag| tag.trim() == format!("\"{hash}\""))
    }
}

/// Finds and opens the copy. Blocking.
fn open(folder: &Folder, wanted: &Wanted) -> Result<Opened, Box<Response>> {
    let (name, version) = (&wanted.name, wanted.version);
    let record = folder.record(name).map_err(|error| Box::new(internal(&error)))?;
    let disk = folder.disk_against(&record).map_err(|error| match error {
        FolderError::Outside { .. } => {
            Box::new(refuse(StatusCode::FORBIDDEN, ErrorCode::Forbidden, &error.to_string()))
        }
        other => Box::new(internal(&other)),
    })?;
    let copy = match disk {
        // The index may send other peers here before its response to the announcement arrives.
        Disk::Other { hash, stamp } if wanted.names(hash) && folder.is_being_announced(name, hash) => {
            Copy { version: version.unwrap_or(0), hash, stamp, fence: 0 }
        }
        _ => servable(&record, disk, version)?,
    };
    let opened = || -> Result<(File, Stamp), FolderError> {
        let path = folder.existing_path(name)?.unwrap_or_else(|| folder.path_of(name));
        let file = File::open(&path).map_err(|error| FolderError::io("open", &path, error))?;
        let metadata = file.metadata().map_err(|error| FolderError::io("open", &path, error))?;
        Ok((file, Stamp::of(&metadata)))
    };
    match opened() {
        Ok((file, stamp)) if stamp == copy.stamp => Ok(Opened { file, copy }),
        Ok(_) => Err(changed(name)),
        Err(error) if error.is_not_found() => Err(not_held(name)),
        Err(error) => Err(Box::new(internal(&error))),
    }
}

/// The copy that the request may have.
fn servable(record: &Record, disk: Disk, version: Option<Version>) -> Result<Copy, Box<Response>> {
    let name = &record.name;
    match disk {
        Disk::Announced(copy) if version.is_none_or(|version| version == copy.version) => Ok(copy),
        // A request that names a pending version has it from the index. So the index has accepted it, and only its
        // response to us is still in flight.
        Disk::Pending(copy) if version == Some(copy.version) || (version.is_none() && !record.pending_own) => Ok(copy),
        Disk::Announced(copy) => Err(other_version(name, copy.version)),
        Disk::Pending(copy) if version.is_some() => Err(other_version(name, copy.version)),
        Disk::Pending(_) => Err(changed(name)),
        Disk::Absent => Err(not_held(name)),
        Disk::Other { .. } if record.held.is_none() => Err(not_held(name)),
        Disk::Other { .. } => Err(changed(name)),
    }
}

async fn file(
    folder: Arc<Folder>,
    name: FileName,
    version: Option<Version>,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wanted = Wanted { name, version, if_match: text(header::IF_MATCH).map(str::to_owned) };
    let opened = match tokio::task::spawn_blocking(move || open(&folder, &wanted)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(refusal)) => return *refusal,
        Err(error) => return internal(&error),
    };
    let (size, etag) = (opened.copy.stamp.size, format!("\"{}\"", opened.copy.hash));
    if !range::is_wanted(text(header::IF_MATCH), &etag) {
        let detail = "this peer has different bytes for that name";
        return refuse(StatusCode::PRECONDITION_FAILED, ErrorCode::HashConflict, detail);
    }
    let response = Response::builder()
        .header(header::ETAG, &etag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(VERSION_HEADER, opened.copy.version);
    if range::is_cached(text(header::IF_NONE_MATCH), &etag) {
        return finish(response.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    let part = range::select(text(header::RANGE), text(header::IF_RANGE), &etag, size);
    let (offset, length) = part.span(size);
    let response = match part {
        Part::Whole => response.status(StatusCode::OK),
        Part::Range { first, last } => response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
        Part::Unsatisfiable => {
            let refusal =
                refuse(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BadRequest, "the range is outside the file");
            return ([(header::CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response();
        }
    };
    let response = response.header(header::CONTENT_LENGTH, length);
    let body = if method == Method::HEAD { Body::empty() } else { body(opened, offset, length).await };
    finish(response, body)
}

/// A small body is read in one step, which takes only one switch to a blocking thread.
async fn body(opened: Opened, offset: u64, length: u64) -> Body {
    let opened = Arc::new(opened);
    if length <= CHUNK_BYTES {
        return match read(opened, offset, length).await {
            Ok(bytes) => Body::from(bytes),
            Err(error) => Body::from_stream(futures::stream::iter([Err::<Bytes, _>(error)])),
        };
    }
    let chunks = futures::stream::try_unfold((opened, offset, length), |(opened, offset, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let count = left.min(CHUNK_BYTES);
        let bytes = read(Arc::clone(&opened), offset, count).await?;
        Ok(Some((bytes, (opened, offset + count, left - count))))
    });
    Body::from_stream(chunks)
}

/// Reads one chunk. Fails, and so aborts the transfer, if the file was changed in place.
async fn read(opened: Arc<Opened>, offset: u64, count: u64) -> std::io::Result<Bytes> {
    let read = move || {
        let mut buffer = vec![0; usize::try_from(count).unwrap_or(0)];
        opened.file.read_exact_at(&mut buffer, offset)?;
        let now = Stamp::of(&opened.file.metadata()?);
        if now != opened.copy.stamp {
            return Err(std::io::Error::other("the file changed on disk while it was being sent"));
        }
        Ok(Bytes::from(buffer))
    };
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
}

fn finish(response: axum::http::response::Builder, body: Body) -> Response {
    response.body(body).unwrap_or_else(|error| internal(&error))
}

fn not_held(name: &FileName) -> Box<Response> {
    Box::new(refuse(StatusCode::NOT_FOUND, ErrorCode::NotFound, &format!("this peer shares no copy of {name}")))
}

fn changed(name: &FileName) -> Box<Response> {
    let detail = format!("{name} has changed on this peer's disk since it was announced; fetch it from another holder");
    Box::new(refuse(StatusCode::CONFLICT, ErrorCode::HashConflict, &detail))
}

fn other_version(name: &FileName, has: Version) -> Box<Response> {
    let detail = format!("this peer has version {has} of {name}; ask the index who holds the version you want");
    let problem = Problem { current_version: Some(has), ..problem(StatusCode::GONE, ErrorCode::Compacted, &detail) };
    Box::new(answer(StatusCode::GONE, &problem))
}

fn internal(error: &dyn std::error::Error) -> Response {
    tracing::warn!(%error, "a request could not be served");
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::StorageFailed,
        "this peer cannot read its folder at the moment; try another peer",
    )
}

pub(super) fn refuse(status: StatusCode, code: ErrorCode, detail: &str) -> Response {
    answer(status, &problem(status, code, detail))
}

fn problem(status: StatusCode, code: ErrorCode, detail: &str) -> Problem {
    Problem::new(status.as_u16(), code, status.canonical_reason().unwrap_or(""), detail)
}

fn answer(status: StatusCode, problem: &Problem) -> Response {
    let body = serde_json::to_vec(problem).expect("a problem is plain data");
    (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
