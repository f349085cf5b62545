//! The peer's server over real HTTP: ranges, conditions, refusals, and bytes that change under it.
#![expect(clippy::disallowed_methods, reason = "a test may wait")]

use raft_store::types::PeerId;
use reqwest::{Client, Response};

use super::*;
use crate::contract::TaskKind;
use crate::peer::install::Placed;
use crate::peer::rules::Order;

struct Served {
    folder: Arc<Folder>,
    dir: tempfile::TempDir,
    url: String,
    _stop: tokio_util::sync::DropGuard,
}

async fn serve() -> Served {
    serve_to(None).await
}

async fn serve_to(guard: Option<Guard>) -> Served {
    let dir = tempfile::tempdir().expect("temp dir");
    let folder = Folder::open(dir.path(), Some(PeerId::parse("p").expect("valid id"))).expect("opens");
    let folder = Arc::new(folder);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let stop = CancellationToken::new();
    tokio::spawn(run(listener, Arc::clone(&folder), guard, stop.clone()));
    Served { folder, dir, url, _stop: stop.drop_guard() }
}

fn name(text: &str) -> FileName {
    FileName::parse(text).expect("valid name")
}

impl Served {
    fn install(&self, file: &str, version: Version, bytes: &[u8]) -> Copy {
        let staged = self.folder.stage_bytes(bytes).expect("stage");
        let order = Order { kind: TaskKind::Update, version, hash: Some(staged.hash), fence: version };
        match self.folder.install(staged, &name(file), order).expect("install") {
            Placed::Ready { copy, .. } => copy,
            Placed::Refused(refusal) => panic!("{refusal}"),
        }
    }

    fn hold(&self, file: &str, version: Version, bytes: &[u8]) {
        let copy = self.install(file, version, bytes);
        self.folder.accept(&name(file), copy).expect("accept");
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Client::new().get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("answers")
    }

    /// Status and code of a refusal.
    async fn refusal(&self, path: &str) -> (u16, ErrorCode) {
        let response = self.get(path, &[]).await;
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON, "{path}");
        let problem: Problem = response.json().await.expect("a problem");
        (problem.status, problem.code)
    }
}

fn head<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[tokio::test]
async fn whole_files_ranges_and_conditions() {
    let served = serve().await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    served.hold("sub dir/ü#1.bin", 3, &bytes);
    let path = "/files/sub%20dir/%C3%BC%231.bin";
    let etag = format!("\"{}\"", crate::files::hash_bytes(&bytes));

    let whole = served.get(path, &[]).await;
    assert_eq!(
        (whole.status().as_u16(), head(&whole, "etag"), head(&whole, "content-length")),
        (200, &*etag, "3000000")
    );
    assert_eq!((head(&whole, "accept-ranges"), head(&whole, VERSION_HEADER)), ("bytes", "3"));
    assert_eq!(whole.bytes().await.expect("body"), bytes);

    for (range, expected, span) in [
        ("bytes=0-0", "bytes 0-0/3000000", 0..1),
        ("bytes=1048570-2097160", "bytes 1048570-2097160/3000000", 1_048_570..2_097_161),
        ("bytes=-5", "bytes 2999995-2999999/3000000", 2_999_995..3_000_000),
    ] {
        let part = served.get(path, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!((part.status().as_u16(), head(&part, "content-range")), (206, expected));
        assert_eq!(head(&part, "content-length"), span.len().to_string());
        assert_eq!(part.bytes().await.expect("body"), bytes[span]);
    }
    let outside = served.get(path, &[("range", "bytes=3000000-")]).await;
    assert_eq!((outside.status().as_u16(), head(&outside, "content-range")), (416, "bytes */3000000"));
    let other = served.get(path, &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!(other.status().as_u16(), 200);
    let cached = served.get(path, &[("if-none-match", &etag)]).await;
    assert_eq!((cached.status().as_u16(), cached.bytes().await.expect("body").len()), (304, 0));
    let head_only = Client::new().head(format!("{}{path}", served.url)).send().await.expect("answers");
    assert_eq!((head_only.status().as_u16(), head(&head_only, "content-length")), (200, "3000000"));
}

#[tokio::test]
async fn only_held_versions_are_served() {
    let served = serve().await;
    served.hold("f", 2, b"two");
    served.hold("empty", 1, b"");
    std::fs::write(served.dir.path().join("mine"), "unannounced").expect("write");
    assert_eq!(served.get("/files/f?version=2", &[]).await.status().as_u16(), 200);
    assert_eq!(served.refusal("/files/f?version=1").await, (410, ErrorCode::Compacted));
    assert_eq!(served.refusal("/files/f?version=x").await, (400, ErrorCode::BadRequest));
    assert_eq!(served.refusal("/files/f?version=0").await, (400, ErrorCode::BadRequest));
    assert_eq!(served.refusal("/files/mine").await, (404, ErrorCode::NotFound));
    assert_eq!(served.refusal("/files/nothing").await, (404, ErrorCode::NotFound));
    assert_eq!(served.refusal("/other").await, (404, ErrorCode::NotFound));
    assert_eq!(served.get("/files/empty", &[]).await.bytes().await.expect("body").len(), 0);
    let listed: Vec<SharedFile> = served.get("/files", &[]).await.json().await.expect("a list");
    assert_eq!(
        listed.iter().map(|file| (file.name.as_str(), file.version)).collect::<Vec<_>>(),
        [("empty", 1), ("f", 2)]
    );
    let posted = Client::new().post(format!("{}/files/f", served.url)).send().await.expect("answers");
    assert_eq!((posted.status().as_u16(), head(&posted, "allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn names_that_break_the_rules_are_refused() {
    let served = serve().await;
    for path in [
        "/files/",
        "/files/a%2F..%2F..%2Fetc%2Fpasswd",
        "/files/%2Fetc/passwd",
        "/files/.raftshare/identity.json",
        "/files/a%00b",
        "/files/a%5Cb",
        "/files/a//b",
        "/files/%FF",
        "/files/e%CC%81",
    ] {
        assert_eq!(served.refusal(path).await, (400, ErrorCode::BadName), "{path}");
    }
}

#[tokio::test]
async fn changed_bytes_are_not_served_as_the_announced_version() {
    let served = serve().await;
    served.hold("f", 1, b"announced");
    let path = served.dir.path().join("f");
    std::fs::write(&path, "announced").expect("the same bytes again");
    assert_eq!(served.get("/files/f", &[]).await.text().await.expect("body"), "announced");
    std::fs::write(&path, "edited").expect("write");
    assert_eq!(served.refusal("/files/f").await, (409, ErrorCode::HashConflict));
    assert_eq!(served.refusal("/files/f?version=1").await, (409, ErrorCode::HashConflict));
    let listed: Vec<SharedFile> = served.get("/files", &[]).await.json().await.expect("a list");
    assert!(listed.is_empty());
    let secret = tempfile::tempdir().expect("temp dir");
    std::fs::write(secret.path().join("announced"), "announced").expect("write");
    std::fs::remove_file(&path).expect("remove");
    std::os::unix::fs::symlink(secret.path().join("announced"), &path).expect("link");
    assert_eq!(served.refusal("/files/f").await, (403, ErrorCode::Forbidden));
}

#[tokio::test]
async fn a_version_is_served_by_number_before_its_acceptance_is_noted() {
    let served = serve().await;
    served.hold("f", 1, b"one");
    let staged = served.folder.stage_bytes(b"two").expect("stage");
    let publishing = served.folder.begin_publish(staged, &name("f"), 2, 9).expect("begin");
    assert_eq!(served.get("/files/f?version=2", &[]).await.text().await.expect("body"), "two");
    assert_eq!(served.refusal("/files/f?version=1").await, (410, ErrorCode::Compacted));
    assert_eq!(served.refusal("/files/f").await, (409, ErrorCode::HashConflict));
    served.folder.complete_publish(publishing, 2, None).expect("complete");
    assert_eq!(served.get("/files/f", &[]).await.text().await.expect("body"), "two");
}

#[tokio::test]
async fn a_file_that_is_being_announced_is_served_to_whoever_names_its_bytes() {
    let served = serve().await;
    std::fs::write(served.dir.path().join("f"), "new").expect("write");
    let hash = crate::files::hash_bytes(b"new");
    let tag = format!("\"{hash}\"");
    let named = [("if-match", tag.as_str())];
    assert_eq!(served.get("/files/f?version=1", &named).await.status().as_u16(), 404);
    let file = name("f");
    let announcing = served.folder.announcing([(&file, hash)]);
    assert_eq!(served.get("/files/f?version=1", &named).await.text().await.expect("body"), "new");
    assert_eq!(served.get("/files/f?version=1", &[]).await.status().as_u16(), 404);
    drop(announcing);
    assert_eq!(served.get("/files/f?version=1", &named).await.status().as_u16(), 404);
    served.hold("f", 1, b"new");
    assert_eq!(served.get("/files/f", &[("if-match", "\"other\"")]).await.status().as_u16(), 412);
}

/// A guard whose list names these, with an index that nobody answers for.
async fn guarded(list: &str) -> Served {
    let client = crate::cluster::IndexClient::connect("http://127.0.0.1:9").expect("an address");
    let guard = Guard::new(Arc::new(list.parse().expect("a list")), &client);
    serve_to(Some(guard)).await
}

#[tokio::test]
async fn only_the_machines_of_an_allow_list_get_anything() {
    for (list, status) in [
        ("127.0.0.1", 200),
        ("127.0.0.1:9001,10.9.9.9", 200),
        ("localhost:1", 200),
        ("10.9.9.9,[::1]:7", 403),
        // The index, which knows where the peer is, does not answer.
        ("laptop", 403),
    ] {
        let served = guarded(list).await;
        served.hold("a", 1, b"x");
        for path in ["/files", "/files/a", "/healthz"] {
            let response = served.get(path, &[]).await;
            assert_eq!(response.status(), status, "{list}: {path}");
        }
        if status == 403 {
            assert_eq!(served.refusal("/files/a").await, (403, ErrorCode::Forbidden));
        }
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_is_416_and_names_the_size() {
    let served = serve().await;
    served.hold("a", 1, b"0123456789");
    for range in ["bytes=10-", "bytes=11-20", "bytes=99999999999999999999-", "bytes=-0"] {
        let response = served.get("/files/a", &[("range", range)]).await;
        assert_eq!(response.status(), 416, "{range}");
        assert_eq!(response.headers()["content-range"], "bytes */10", "{range}");
    }
    let last = served.get("/files/a", &[("range", "bytes=9-20")]).await;
    assert_eq!((last.status().as_u16(), last.text().await.expect("a body").as_str()), (206, "9"));
}
