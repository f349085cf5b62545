//! Downloads from real HTTP servers: honest, dying, lying, stalling, and unusual ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;

use super::*;
use crate::peer::range::{self, Part};

/// How a test holder behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Right headers, wrong bytes.
    Lying,
    /// Breaks every answer off after 1,000 bytes.
    Dying,
    /// Sends 1,000 bytes and then nothing more.
    Stalling,
    /// Has another version.
    Gone,
    /// Ignores ranges and states no length.
    Plain,
    /// Repeats the bytes for ever, and states no length.
    Endless,
    /// Sends a byte at a time, each within the idle limit.
    Dripping,
    /// A peer of the original: serves ranges, knows no entity tags, and so refuses every `If-Match`.
    Original,
}

struct Holder {
    url: String,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn holder(content: &[u8], manner: Manner) -> Holder {
    let content = Bytes::copy_from_slice(content);
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let app = axum::Router::new().fallback(move |headers: HeaderMap| {
        counter.fetch_add(1, Ordering::Relaxed);
        let content = content.clone();
        async move { answer(&content, manner, &headers) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    Holder { url, requests, task }
}

fn answer(content: &Bytes, manner: Manner, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", files::hash_bytes(content));
    let size = content.len() as u64;
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    match manner {
        Manner::Gone => return StatusCode::GONE.into_response(),
        Manner::Plain => {
            return Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(content.clone())]))
                .into_response();
        }
        Manner::Endless => {
            let content = content.clone();
            let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(content.clone()));
            return Body::from_stream(endless).into_response();
        }
        Manner::Original if headers.contains_key(header::IF_MATCH) => {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        Manner::Original | Manner::Honest | Manner::Lying | Manner::Dying | Manner::Stalling | Manner::Dripping => {}
    }
    let part = range::select(wanted, None, &etag, size);
    let (offset, length) = part.span(size);
    let mut bytes = content.slice(offset as usize..(offset + length) as usize);
    if manner == Manner::Lying {
        bytes = bytes.iter().map(|byte| byte ^ 1).collect();
    }
    let body = match manner {
        Manner::Dripping => Body::from_stream(futures::stream::unfold(bytes, |mut rest| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            (!rest.is_empty()).then(|| (Ok::<_, std::io::Error>(rest.split_to(1)), rest))
        })),
        Manner::Dying | Manner::Stalling => {
            let start = futures::stream::iter([Ok(bytes.slice(..bytes.len().min(1_000)))]);
            let broken = futures::stream::iter([Err(std::io::Error::other("breaks off"))]);
            let end = if manner == Manner::Dying { broken.boxed() } else { futures::stream::pending().boxed() };
            Body::from_stream(start.chain(end))
        }
        _ => Body::from(bytes),
    };
    let mut response = Response::builder().header(header::CONTENT_LENGTH, length);
    if manner != Manner::Original {
        response = response.header(header::ETAG, etag);
    }
    if let Part::Range { first, last } = part {
        response = response.status(206).header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
    }
    response.body(body).expect("a valid answer")
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8 ^ (n / 65_536) as u8).collect()
}

fn request(bytes: &[u8], size: Option<u64>, holders: &[&Holder]) -> FetchRequest {
    FetchRequest {
        name: FileName::parse("dir/ü.bin").expect("valid name"),
        version: 3,
        hash: files::hash_bytes(bytes),
        size,
        sources: holders.iter().map(|holder| holder.url.clone()).collect(),
    }
}

/// Limits that give up on a silent source soon, and are long enough for a busy machine.
fn downloader() -> Downloader {
    let (idle, slow_window) = (Duration::from_millis(1_500), Duration::from_millis(500));
    Downloader::with_limits(None, Limits { idle, slow_window, ..Limits::default() })
}

async fn fetch(request: &FetchRequest) -> (Result<Fetched, DownloadError>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("temp dir");
    (downloader().fetch(request, dir.path(), None).await, dir)
}

fn assert_bytes(fetched: &Fetched, expected: &[u8]) {
    assert_eq!(fetched.staged.size, expected.len() as u64);
    assert_eq!(fetched.staged.hash, files::hash_bytes(expected));
    assert_eq!(std::fs::read(fetched.staged.part.path()).expect("readable"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_from_nothing_to_many_chunks_known_or_not() {
    for size in [0, 1, 300_000, 1_048_576, 1_048_577, 3_000_001] {
        let bytes = content(size);
        let (a, b) = (holder(&bytes, Manner::Honest).await, holder(&bytes, Manner::Honest).await);
        // Unknown and right sizes, and too large ones, all end with the right bytes.
        for stated in [None, Some(size as u64), Some(5_000_000)] {
            let (fetched, _dir) = fetch(&request(&bytes, stated, &[&a, &b])).await;
            assert_bytes(&fetched.unwrap_or_else(|error| panic!("{size} stated {stated:?}: {error}")), &bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_costs_one_request() {
    let bytes = content(100_000);
    let (a, b) = (holder(&bytes, Manner::Honest).await, holder(&bytes, Manner::Honest).await);
    let (fetched, dir) = fetch(&request(&bytes, Some(100_000), &[&a, &b])).await;
    let fetched = fetched.expect("fetched");
    assert_eq!(a.requests.load(Ordering::Relaxed) + b.requests.load(Ordering::Relaxed), 1);
    let target = dir.path().join("final");
    fetched.move_to(&target).expect("moved");
    assert_eq!(std::fs::read(&target).expect("readable"), bytes);
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_share_the_work_and_progress_is_told() {
    let bytes = content(6_000_000);
    let holders = [holder(&bytes, Manner::Honest).await, holder(&bytes, Manner::Honest).await];
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let dir = tempfile::tempdir().expect("temp dir");
    let request = request(&bytes, Some(6_000_000), &[&holders[0], &holders[1]]);
    let progress: ProgressFn = Arc::new(move |progress| sink.lock().push(progress.bytes));
    let fetched = downloader().fetch(&request, dir.path(), Some(progress)).await.expect("fetched");
    assert_bytes(&fetched, &bytes);
    assert_eq!(fetched.sources.len(), 2, "{:?}", fetched.sources);
    assert_eq!(fetched.sources.iter().map(|share| share.bytes).sum::<u64>(), 6_000_000);
    assert!(told.lock().is_sorted() && !told.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_honest_source_among_bad_ones_is_enough() {
    for size in [200_000, 4_000_000] {
        let bytes = content(size);
        let honest = holder(&bytes, Manner::Honest).await;
        for manner in [Manner::Dying, Manner::Stalling, Manner::Gone, Manner::Lying, Manner::Plain] {
            let bad = holder(&bytes, manner).await;
            let (fetched, _dir) = fetch(&request(&bytes, Some(size as u64), &[&bad, &honest])).await;
            assert_bytes(&fetched.expect("the honest one has it"), &bytes);
        }
        let unreachable = holder(&bytes, Manner::Honest).await;
        let url = unreachable.url.clone();
        drop(unreachable);
        let mut request = request(&bytes, Some(size as u64), &[&honest]);
        request.sources.extend([url, "not a url".to_owned()]);
        let (fetched, _dir) = fetch(&request).await;
        assert_bytes(&fetched.expect("the honest one has it"), &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_ranges_and_lengths_will_do() {
    let bytes = content(3_000_000);
    let plain = holder(&bytes, Manner::Plain).await;
    for stated in [None, Some(3_000_000)] {
        let (fetched, _dir) = fetch(&request(&bytes, stated, &[&plain])).await;
        assert_bytes(&fetched.expect("fetched whole"), &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_the_original_are_sources_like_others() {
    for size in [0, 5_000, 3_000_000] {
        let bytes = content(size);
        let (original, honest) = (holder(&bytes, Manner::Original).await, holder(&bytes, Manner::Honest).await);
        for holders in [&[&original][..], &[&original, &honest]] {
            let (fetched, _dir) = fetch(&request(&bytes, Some(size as u64), holders)).await;
            assert_bytes(&fetched.expect("fetched"), &bytes);
        }
    }
    let bytes = content(5_000);
    let wrong = holder(&content(5_000)[1..], Manner::Original).await;
    let (failed, _dir) = fetch(&request(&bytes, Some(5_000), &[&wrong])).await;
    assert!(matches!(failed, Err(DownloadError::Mismatch { .. })), "the hash of the whole decides: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_source_is_named_and_its_bytes_are_not_kept() {
    for size in [200_000, 4_000_000] {
        let bytes = content(size);
        let (honest, liar) = (holder(&bytes, Manner::Honest).await, holder(&bytes, Manner::Lying).await);
        let (alone, dir) = fetch(&request(&bytes, Some(size as u64), &[&liar])).await;
        match alone.expect_err("nobody honest") {
            DownloadError::Mismatch { suspects, .. } => assert_eq!(suspects, std::slice::from_ref(&liar.url)),
            other => panic!("{other}"),
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left behind");
        let (fetched, _dir) = fetch(&request(&bytes, Some(size as u64), &[&liar, &honest])).await;
        let suspects = fetched.expect("the honest one has it").suspects;
        assert!(!suspects.contains(&honest.url), "{suspects:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_explained() {
    let bytes = content(2_000_000);
    let (gone, dying) = (holder(&bytes, Manner::Gone).await, holder(&bytes, Manner::Dying).await);
    let (failed, dir) = fetch(&request(&bytes, Some(2_000_000), &[&gone, &dying])).await;
    let error = failed.expect_err("nobody has it");
    assert_eq!(error.code(), "unreachable");
    let text = error.to_string();
    assert!(text.contains(&gone.url) && text.contains("HTTP 410") && text.contains(&dying.url), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left behind");
    let (nobody, _dir) = fetch(&request(&bytes, None, &[])).await;
    assert!(matches!(nobody, Err(DownloadError::NoSources { .. })));
    let (huge, _dir) = fetch(&request(&bytes, Some(1 << 60), &[&gone])).await;
    assert_eq!(huge.expect_err("no such disk").code(), "disk_full");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_download_leaves_nothing_behind() {
    let bytes = content(2_000_000);
    let stalling = holder(&bytes, Manner::Stalling).await;
    let dir = tempfile::tempdir().expect("temp dir");
    let request = request(&bytes, Some(2_000_000), &[&stalling]);
    let downloader = downloader();
    {
        let fetch = downloader.fetch(&request, dir.path(), None);
        tokio::pin!(fetch);
        while stalling.requests.load(Ordering::Relaxed) == 0 {
            let poll = tokio::time::timeout(Duration::from_millis(5), &mut fetch).await;
            assert!(poll.is_err(), "it cannot end");
        }
    }
    // The writer thread owns the part file; it ends as soon as it sees the queue closed.
    let gone = || std::fs::read_dir(dir.path()).expect("list").count() == 0;
    for _ in 0..1_000 {
        if gone() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(gone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_never_ends_gets_no_more_room_than_the_index_says() {
    for size in [1_000, 200_000, 3_000_000] {
        let bytes = content(size);
        let endless = holder(&bytes, Manner::Endless).await;
        let (failed, dir) = fetch(&request(&bytes, Some(size as u64), &[&endless])).await;
        match failed.expect_err("it never ends") {
            DownloadError::AllFailed { reasons, .. } => {
                assert_eq!(reasons, [(endless.url.clone(), SourceError::TooMuch(size as u64))]);
            }
            other => panic!("{other}"),
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left behind");
        let honest = holder(&bytes, Manner::Honest).await;
        let (fetched, _dir) = fetch(&request(&bytes, Some(size as u64), &[&endless, &honest])).await;
        assert_bytes(&fetched.expect("the honest one has it"), &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_file_than_the_index_says_is_not_fetched() {
    for size in [900, 2_000_000] {
        let bytes = content(size);
        let honest = holder(&bytes, Manner::Honest).await;
        let (failed, _dir) = fetch(&request(&bytes, Some(700), &[&honest])).await;
        match failed.expect_err("the index says 700 bytes") {
            DownloadError::AllFailed { reasons, .. } => {
                assert_eq!(reasons, [(honest.url.clone(), SourceError::OtherSize(size as u64))]);
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_drips_is_given_up() {
    for size in [1_000, 3_000_000] {
        let bytes = content(size);
        let dripping = holder(&bytes, Manner::Dripping).await;
        let (failed, dir) = fetch(&request(&bytes, Some(size as u64), &[&dripping])).await;
        match failed.expect_err("nobody else has it") {
            DownloadError::AllFailed { reasons, .. } => assert!(
                matches!(reasons.as_slice(), [(source, SourceError::Slow(_))] if *source == dripping.url),
                "{reasons:?}"
            ),
            other => panic!("{other}"),
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left behind");
        let honest = holder(&bytes, Manner::Honest).await;
        let (fetched, _dir) = fetch(&request(&bytes, Some(size as u64), &[&dripping, &honest])).await;
        assert_bytes(&fetched.expect("the honest one has it"), &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_in_time_whatever_its_sources_do() {
    let bytes = content(1_000);
    let dripping = [holder(&bytes, Manner::Dripping).await, holder(&bytes, Manner::Dripping).await];
    let limits = Limits { grace: Duration::from_millis(300), least_bytes_per_second: 1 << 20, ..Limits::default() };
    let dir = tempfile::tempdir().expect("temp dir");
    let request = request(&bytes, Some(1_000), &[&dripping[0], &dripping[1]]);
    let failed = Downloader::with_limits(None, limits).fetch(&request, dir.path(), None).await;
    assert_eq!(failed.expect_err("it takes 50 s").code(), "too_slow");
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left behind");
}
