//! The proxy over real sockets: this process stands for node 1, which dials node 2 through node 2's proxy.

use std::time::Duration;

use super::super::link::Rule;
use super::super::owner::Pids;
use super::*;

const FORTH: (NodeId, NodeId) = (1, 2);
const BACK: (NodeId, NodeId) = (2, 1);

struct Bench {
    links: Links,
    near: TcpStream,
    proxy: SocketAddr,
    target: TcpListener,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn bench() -> Bench {
    let pids = Pids::default();
    pids.set(1, std::process::id());
    let owners = Owners::new(pids);
    let links = Links::default();
    let (front, target) = (local().await, local().await);
    let proxy = front.local_addr().expect("bound");
    let server = tokio::spawn(serve(front, 2, target.local_addr().expect("bound"), links.clone(), owners, 1));
    let near = TcpStream::connect(proxy).await.expect("connects");
    Bench { links, near, proxy, target, server }
}

async fn local() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("listens")
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("sends");
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.expect("receives");
    assert_eq!(read, bytes);
}

/// Waits until a counter of a direction has grown so far.
async fn counted(links: &Links, direction: (NodeId, NodeId), held: u64) {
    while Counters::get(&links.get(direction).counters.held) < held {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cut_holds_and_healing_delivers_everything_in_order() {
    let mut bench = bench().await;
    send(&mut bench.near, b"before ").await;
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    expect(&mut far, b"before ").await;
    bench.links.set(FORTH, Rule::CUT);
    let parts: Vec<String> = (0..500).map(|number| format!("part {number} ")).collect();
    for part in &parts {
        send(&mut bench.near, part.as_bytes()).await;
    }
    let whole = parts.concat();
    counted(&bench.links, FORTH, whole.len() as u64).await;
    assert_eq!(Counters::get(&bench.links.get(FORTH).counters.passed), 7, "nothing passed the cut");
    // The other direction is not cut.
    send(&mut far, b"answer").await;
    expect(&mut bench.near, b"answer").await;
    assert_eq!(bench.links.heal(false), [FORTH]);
    expect(&mut far, whole.as_bytes()).await;
    drop(bench.near.shutdown().await);
    assert_eq!(far.read(&mut [0; 9]).await.expect("the end"), 0);
}

#[tokio::test]
async fn a_cut_of_the_answers_lets_requests_pass() {
    let mut bench = bench().await;
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    bench.links.set(BACK, Rule::CUT);
    send(&mut bench.near, b"request").await;
    expect(&mut far, b"request").await;
    send(&mut far, b"answer").await;
    counted(&bench.links, BACK, 6).await;
    assert_eq!(Counters::get(&bench.links.get(BACK).counters.passed), 0);
    bench.links.heal(false);
    expect(&mut bench.near, b"answer").await;
}

#[tokio::test]
async fn healing_may_reset_what_was_cut() {
    let mut bench = bench().await;
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    bench.links.set(FORTH, Rule::CUT);
    send(&mut bench.near, b"held").await;
    counted(&bench.links, FORTH, 4).await;
    bench.links.heal(true);
    let error = bench.near.read(&mut [0; 9]).await.expect_err("reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(far.read(&mut [0; 9]).await.is_err(), "the other side is reset too, and gets nothing");
}

#[tokio::test]
async fn a_connection_made_during_a_cut_arrives_only_if_its_maker_waits() {
    let bench = bench().await;
    let _first = bench.target.accept().await.expect("accepts");
    bench.links.set(BACK, Rule::CUT);
    let mut impatient = TcpStream::connect(bench.proxy).await.expect("connects");
    send(&mut impatient, b"impatient").await;
    let mut patient = TcpStream::connect(bench.proxy).await.expect("connects");
    send(&mut patient, b"patient").await;
    impatient.shutdown().await.expect("ends");
    // The proxy closes what it has forgotten.
    assert_eq!(impatient.read(&mut [0; 9]).await.unwrap_or(0), 0);
    bench.links.heal(false);
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    expect(&mut far, b"patient").await;
}

#[tokio::test]
async fn a_refusing_link_resets_old_and_new_connections() {
    let mut bench = bench().await;
    let _far = bench.target.accept().await.expect("accepts");
    bench.links.set(FORTH, Rule { refuse: true, ..Rule::default() });
    assert!(bench.near.read(&mut [0; 9]).await.is_err());
    let mut new = TcpStream::connect(bench.proxy).await.expect("the proxy itself listens");
    assert!(new.read(&mut [0; 9]).await.is_err());
    bench.links.heal(false);
    let mut healed = TcpStream::connect(bench.proxy).await.expect("connects");
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    send(&mut healed, b"hello").await;
    expect(&mut far, b"hello").await;
}

#[tokio::test]
async fn late_and_lost_chunks_arrive_in_order() {
    let mut bench = bench().await;
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    let delay = Duration::from_millis(20);
    bench.links.set(FORTH, Rule { delay, jitter: delay, loss: 0.1, ..Rule::default() });
    let sent = std::time::Instant::now();
    let mut whole = Vec::new();
    for number in 0..50_u8 {
        send(&mut bench.near, &[number]).await;
        whole.push(number);
    }
    expect(&mut far, &whole).await;
    assert!(sent.elapsed() >= delay, "a delay is never shorter than asked");
    assert!(Counters::get(&bench.links.get(FORTH).counters.late) > 0);
}

#[tokio::test]
async fn outsiders_pass_whatever_the_rules() {
    let bench = bench().await;
    let _first = bench.target.accept().await.expect("accepts");
    let links = Links::default();
    links.set(FORTH, Rule::CUT);
    let (front, target) = (local().await, local().await);
    let proxy = front.local_addr().expect("bound");
    let server = tokio::spawn(serve(front, 2, target.local_addr().expect("bound"), links, Owners::default(), 1));
    let mut outsider = TcpStream::connect(proxy).await.expect("connects");
    let (mut far, _) = target.accept().await.expect("accepts");
    send(&mut outsider, b"hello").await;
    expect(&mut far, b"hello").await;
    server.abort();
}

#[tokio::test]
async fn bits_flip_in_raft_traffic_after_its_first_bytes_and_in_nothing_else() {
    let mut bench = bench().await;
    bench.links.set(FORTH, Rule { flip: 1.0, ..Rule::default() });
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    send(&mut bench.near, b"GET /healthz").await;
    expect(&mut far, b"GET /healthz").await;
    send(&mut bench.near, b"more").await;
    expect(&mut far, b"more").await;
    let mut raft = TcpStream::connect(bench.proxy).await.expect("connects");
    let (mut far, _) = bench.target.accept().await.expect("accepts");
    send(&mut raft, RAFT).await;
    expect(&mut far, RAFT).await;
    send(&mut raft, &[0; 32]).await;
    let mut read = [0; 32];
    far.read_exact(&mut read).await.expect("receives");
    assert!(read.iter().any(|byte| *byte != 0));
    assert!(Counters::get(&bench.links.get(FORTH).counters.flips) > 0);
}
