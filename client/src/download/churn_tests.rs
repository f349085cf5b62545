//! Downloads from hosts that come and go: at any moment all but one fail, whatever is asked of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use raft_store::types::FileName;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::holders::{Holders, Lookup};
use super::*;
use crate::peer::range::{self, Part};

/// Longest wait without any source in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Decides for each request whether its host is up, and how it fails otherwise.
type Fate = Arc<dyn Fn(usize) -> Answer + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Honest,
    /// HTTP 503.
    Busy,
    /// Right headers, and then the connection breaks.
    CutOff,
    /// The connection breaks before anything is answered.
    Gone,
}

struct Host {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn host(content: &[u8], number: usize, fate: &Fate) -> Host {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    host_at(listener, content, number, fate)
}

fn host_at(listener: tokio::net::TcpListener, content: &[u8], number: usize, fate: &Fate) -> Host {
    let (content, fate) = (Bytes::copy_from_slice(content), Arc::clone(fate));
    let app = axum::Router::new().fallback(move |method: Method, headers: HeaderMap| {
        let answer = respond(&content, fate(number), &method, &headers);
        async move { answer }
    });
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    Host { url, task }
}

fn respond(content: &Bytes, answer: Answer, method: &Method, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", files::hash_bytes(content));
    let size = content.len() as u64;
    let part = range::select(headers.get(header::RANGE).and_then(|value| value.to_str().ok()), None, &etag, size);
    let (offset, length) = part.span(size);
    let bytes = content.slice(offset as usize..(offset + length) as usize);
    let broken = |sent: usize| {
        let start = futures::stream::iter([Ok(bytes.slice(..bytes.len().min(sent)))]);
        Body::from_stream(start.chain(futures::stream::iter([Err(std::io::Error::other("breaks off"))])))
    };
    let body = match answer {
        Answer::Busy => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ if method == Method::HEAD => Body::empty(),
        Answer::Honest => Body::from(bytes.clone()),
        Answer::CutOff => broken(1_000),
        Answer::Gone => broken(0),
    };
    let mut response = Response::builder().header(header::ETAG, etag).header(header::CONTENT_LENGTH, length);
    match part {
        Part::Range { first, last } => {
            response = response.status(206).header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
        }
        Part::Unsatisfiable => return StatusCode::RANGE_NOT_SATISFIABLE.into_response(),
        Part::Whole => {}
    }
    response.body(body).expect("a valid answer")
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 241) as u8 ^ (n / 65_536) as u8).collect()
}

fn request(bytes: &[u8], sources: Vec<String>) -> FetchRequest {
    let name = FileName::parse("dir/x.bin").expect("valid name");
    FetchRequest { name, version: 3, hash: files::hash_bytes(bytes), size: Some(bytes.len() as u64), sources }
}

/// A lookup that always finds these.
fn always(found: Holders, patience: Duration) -> Lookup {
    Lookup::new(
        move || {
            let found = found.clone();
            Box::pin(async move { Some(found) })
        },
        patience,
    )
}

fn live(sources: Vec<String>) -> Holders {
    Holders { sources, ..Holders::default() }
}

async fn fetch(request: &FetchRequest, lookup: Lookup) -> Result<Vec<u8>, DownloadError> {
    let dir = tempfile::tempdir().expect("temp dir");
    let fetched = Downloader::new(None).fetch_finding(request, dir.path(), None, Some(lookup)).await?;
    Ok(std::fs::read(fetched.staged.part.path()).expect("readable"))
}

/// At any moment one host is up. Whenever it has sent a few answers, another one is up instead, drawn from the seed.
fn one_is_up(hosts: usize, seed: u64) -> Fate {
    struct World {
        rng: StdRng,
        up: usize,
        left: u32,
    }
    let rng = StdRng::seed_from_u64(seed);
    let world = Mutex::new(World { rng, up: 0, left: 1 });
    Arc::new(move |host| {
        let mut world = world.lock();
        if host != world.up {
            return [Answer::Busy, Answer::CutOff, Answer::Gone][world.rng.random_range(0..3)];
        }
        world.left -= 1;
        if world.left == 0 {
            world.up = world.rng.random_range(0..hosts);
            world.left = world.rng.random_range(1..6);
        }
        Answer::Honest
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_but_one_of_the_hosts_may_fail_at_any_moment_also_during_repeated_requests() {
    for (seed, hosts) in [(1, 2), (2, 3), (3, 5), (4, 8)] {
        for size in [100_000, 4_000_000] {
            let (bytes, fate) = (content(size), one_is_up(hosts, seed));
            let mut all = Vec::new();
            for number in 0..hosts {
                all.push(host(&bytes, number, &fate).await);
            }
            let urls: Vec<_> = all.iter().map(|host| host.url.clone()).collect();
            let lookup = always(live(urls.clone()), PATIENCE);
            let fetched = fetch(&request(&bytes, urls), lookup).await;
            assert!(fetched.is_ok_and(|fetched| fetched == bytes), "{hosts} hosts, {size} bytes, seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_appears_during_the_download_takes_over() {
    let bytes = content(3_000_000);
    // The first one dies after two answers, and only then does the index know of another one.
    let answers = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answers);
    let dying: Fate = Arc::new(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::Honest,
        _ => Answer::Gone,
    });
    let first = host(&bytes, 0, &dying).await;
    let second = host(&bytes, 1, &(Arc::new(|_| Answer::Honest) as Fate)).await;
    let (known, late) = (first.url.clone(), second.url.clone());
    let lookup = Lookup::new(
        move || {
            let dead = answers.load(Ordering::SeqCst) > 2;
            let found = live(if dead { vec![known.clone(), late.clone()] } else { vec![known.clone()] });
            Box::pin(async move { Some(found) })
        },
        PATIENCE,
    );
    assert!(fetch(&request(&bytes, vec![first.url.clone()]), lookup).await.expect("the second has it") == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_back_at_its_address_is_asked_again() {
    for size in [200_000, 3_000_000] {
        let bytes = content(size);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener); // nobody is there at first
        let url = format!("http://{address}");
        let lookups = Arc::new(AtomicUsize::new(0));
        let (counter, found) = (Arc::clone(&lookups), live(vec![url.clone()]));
        let lookup = Lookup::new(
            move || {
                counter.fetch_add(1, Ordering::SeqCst);
                let found = found.clone();
                Box::pin(async move { Some(found) })
            },
            PATIENCE,
        );
        let wanted = request(&bytes, vec![url]);
        let fetching = tokio::spawn(async move { fetch(&wanted, lookup).await });
        while lookups.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free again");
        let _host = host_at(listener, &bytes, 0, &(Arc::new(|_| Answer::Honest) as Fate));
        assert!(fetching.await.expect("ends").expect("it is back") == bytes, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_host_the_download_ends_and_says_why() {
    let patience = Duration::from_millis(300);
    for size in [200_000, 3_000_000] {
        let bytes = content(size);
        let gone = host(&bytes, 0, &(Arc::new(|_| Answer::Gone) as Fate)).await;
        let wanted = request(&bytes, vec![gone.url.clone()]);
        let failed = async |found: Holders| fetch(&wanted, always(found, patience)).await.expect_err("nobody has it");
        let all = failed(live(vec![gone.url.clone()])).await;
        assert!(matches!(&all, DownloadError::AllFailed { reasons, .. } if reasons[0].0 == gone.url), "{all}");
        let left_out = vec!["desk at http://10.0.0.9:1".to_owned()];
        let not_allowed = failed(Holders { left_out, ..Holders::default() }).await;
        assert_eq!(not_allowed.code(), "not_allowed");
        let text = not_allowed.to_string();
        assert!(text.contains("desk at http://10.0.0.9:1") && text.contains("--allow-peers"), "{text}");
        let superseded = failed(Holders { superseded: true, ..Holders::default() }).await;
        assert!(superseded.to_string().contains("newer version"), "{superseded}");
    }
    let nobody = fetch(&request(b"x", Vec::new()), always(Holders::default(), patience)).await;
    assert!(matches!(nobody, Err(DownloadError::NoSources { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_end_is_an_error_that_names_the_size() {
    let bytes = content(5_000);
    let (gone, honest) = (host(&bytes, 0, &(Arc::new(|_| Answer::Gone) as Fate)).await, Arc::new(|_| Answer::Honest));
    let there = host(&bytes, 1, &(honest as Fate)).await;
    let wanted = request(&bytes, vec![gone.url.clone(), there.url.clone()]);
    let downloader = Downloader::new(None);
    for (position, length, expected) in
        [(0, 10, 0..10), (4_990, 10, 4_990..5_000), (4_999, 100, 4_999..5_000), (17, 0, 17..17)]
    {
        let read = downloader.read_at(&wanted, position, length).await.expect("it is within the file");
        assert_eq!((read.bytes.as_slice(), read.size), (&bytes[expected], 5_000), "{length} at {position}");
    }
    for position in [5_000, 5_001, u64::MAX] {
        match downloader.read_at(&wanted, position, 1).await {
            Err(DownloadError::BeyondEnd { position: told, size, .. }) => assert_eq!((told, size), (position, 5_000)),
            other => panic!("{position}: {other:?}"),
        }
    }
    let empty = host(b"", 0, &(Arc::new(|_| Answer::Honest) as Fate)).await;
    let nothing = downloader.read_at(&request(b"", vec![empty.url.clone()]), 0, 1).await;
    assert!(matches!(nothing, Err(DownloadError::BeyondEnd { size: 0, .. })), "{nothing:?}");
    assert_eq!(downloader.ask(&wanted, &there.url).await, Ok(5_000));
    let other = request(b"other bytes", Vec::new());
    assert_eq!(downloader.ask(&other, &there.url).await, Err(SourceError::OtherBytes));
    assert!(downloader.ask(&wanted, "http://127.0.0.1:9").await.is_err());
}
