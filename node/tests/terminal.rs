//! What the program's own streams and signals do to it (N4): nothing, unless it is told to stop. Runs the real binary.
#![expect(clippy::disallowed_methods, reason = "a test without a runtime, which measures")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take for one step before the test fails.
const STEP_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(20);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftshare-node"));
    command.stdin(Stdio::null()).env_remove("RAFTSHARE_LOG").env_remove("RAFTSHARE_SERVER");
    command
}

/// A node that is killed with the test.
struct Running {
    child: Child,
    _data: tempfile::TempDir,
}

impl Running {
    fn start(arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut command = program();
        command.args(["start", "--id", "1", "--listen", "127.0.0.1:0", "--data"]).arg(data.path().join("n1"));
        let child = command.args(arguments).stdout(stdout).stderr(stderr).spawn().expect("the program starts");
        Self { child, _data: data }
    }

    /// The address in the line that a node prints once it serves.
    fn address(&mut self) -> String {
        let stdout = self.child.stdout.take().expect("the standard output is a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        line.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("an address").to_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(started.elapsed() < STEP_DEADLINE, "the process goes on");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request by hand, so that nothing between hides what the node answers.
fn request(address: &str, head: &str, body: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("the node listens");
    let length = body.len();
    let text =
        format!("{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    std::io::Write::write_all(&mut stream, text.as_bytes()).expect("the node reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the node answers");
    answer
}

/// Founds a cluster of one and waits until it is ready: the node must have logged several lines by then.
fn found(address: &str) {
    let answer = request(address, "POST /cluster/init", "{}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let started = Instant::now();
    while !request(address, "GET /readyz", "").starts_with("HTTP/1.1 200") {
        assert!(started.elapsed() < STEP_DEADLINE, "the node is not ready");
        std::thread::sleep(POLL);
    }
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("the system has /dev/full").into()
}

/// A pipe whose reader is gone.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn n4_a_log_that_cannot_be_written_never_ends_a_node() {
    // A pipe that nobody reads: the reader lives, so writes would wait for ever.
    let (unread, stuck) = std::io::pipe().expect("a pipe");
    let mut filler = stuck.try_clone().expect("another handle");
    fill(&mut filler);
    for (name, stderr) in [("a full disk", full()), ("a closed pipe", closed_pipe()), ("a stuck pipe", stuck.into())] {
        let mut node = Running::start(&[], Stdio::piped(), stderr);
        let address = node.address();
        found(&address);
        if name != "a stuck pipe" {
            let metrics = request(&address, "GET /metrics", "");
            let dropped = metrics.lines().find_map(|line| line.strip_prefix("raftshare_log_lines_dropped_total "));
            assert!(dropped.is_some_and(|count| count != "0"), "{name}: {dropped:?}");
        }
        node.signal("-TERM");
        assert!(node.ended().success(), "{name}");
    }
    drop(unread);
}

/// Fills a pipe to the last byte.
fn fill(pipe: &mut std::io::PipeWriter) {
    use std::os::fd::AsRawFd;
    let descriptor = pipe.as_raw_fd();
    #[allow(unsafe_code, reason = "fcntl(2) on a descriptor of this test")]
    let set = |flags: libc::c_int| unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags) };
    assert_eq!(set(libc::O_NONBLOCK), 0);
    while std::io::Write::write(pipe, &[b'x'; 512]).is_ok() {}
    while std::io::Write::write(pipe, b"x").is_ok() {}
    assert_eq!(set(0), 0);
}

#[test]
fn n4_a_standard_output_that_cannot_be_written_does_not_end_a_node() {
    for stdout in [full(), closed_pipe()] {
        let mut node = Running::start(&["--log-format", "json"], stdout, Stdio::piped());
        let mut log = BufReader::new(node.child.stderr.take().expect("the standard error is a pipe"));
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).expect("a line"), 0, "the node ended");
            let line: serde_json::Value = serde_json::from_str(&line).expect("each log line is JSON");
            if let Some(address) = line["address"].as_str() {
                break address.to_owned();
            }
        };
        found(&address);
        node.signal("-TERM");
        let mut rest = String::new();
        log.read_to_string(&mut rest).expect("text");
        assert!(rest.contains("\"stopping\""), "the last lines are written: {rest}");
        assert!(node.ended().success());
    }
}

#[test]
fn a_hang_up_stops_a_node_in_order() {
    let mut node = Running::start(&[], Stdio::piped(), Stdio::piped());
    found(&node.address());
    node.signal("-HUP");
    let mut log = String::new();
    node.child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("text");
    assert!(node.ended().success(), "{log}");
    assert!(log.contains("stopping"), "{log}");
}

fn run(arguments: &[&str], stdout: Stdio) -> Output {
    program().args(arguments).stdout(stdout).stderr(Stdio::piped()).output().expect("the program starts")
}

#[test]
fn results_onto_a_closed_pipe_end_quietly_and_onto_a_full_disk_with_an_error() {
    let mut node = Running::start(&[], Stdio::piped(), Stdio::null());
    let address = node.address();
    found(&address);
    for arguments in [
        &["status", "--node", &address][..],
        &["members", "-o", "json", "--node", &address],
        &["verify", "--node", &address],
        &["--help"],
    ] {
        let closed = run(arguments, closed_pipe());
        assert!(closed.status.success(), "{arguments:?}: {closed:?}");
        assert_eq!(String::from_utf8_lossy(&closed.stderr), "", "{arguments:?}");
        let full = run(arguments, full());
        assert_eq!(full.status.code(), Some(client::terminal::Exit::Disk as i32), "{arguments:?}: {full:?}");
        assert!(String::from_utf8_lossy(&full.stderr).contains("standard output"), "{arguments:?}: {full:?}");
    }
}

#[test]
fn variables_of_the_original_are_taken_with_a_notice_or_explained() {
    let data = tempfile::tempdir().expect("a directory");
    let port = node::testbed::free_ports(1).expect("a free port")[0];
    let mut command = program();
    command.args(["start", "--id", "1", "--data"]).arg(data.path().join("n1")).env_remove("RAFTSHARE_HTTP");
    command.env("NAPSTER_SERVER_ADDR", format!(":{port}")).env("NAPSTER_SHADOW_ADDR", "http://localhost:8081");
    let log = data.path().join("log");
    command.stdout(Stdio::piped()).stderr(File::create(&log).expect("a file"));
    let child = command.spawn().expect("the program starts");
    let mut node = Running { child, _data: data };
    assert_eq!(node.address(), format!("127.0.0.1:{port}"), "this machine only, without --insecure");
    let told = std::fs::read_to_string(&log).expect("text");
    assert!(told.contains(&format!("NAPSTER_SERVER_ADDR=:{port} is taken as --listen 127.0.0.1:{port}")), "{told}");
    assert!(told.contains("there is no shadow any more") && told.contains("--server http://a:8080"), "{told}");

    // The original's server had no arguments at all.
    let alone = program().env("NAPSTER_SERVER_ADDR", ":8081").output().expect("it runs");
    let told = String::from_utf8_lossy(&alone.stderr);
    assert_eq!(alone.status.code(), Some(2), "{told}");
    assert!(told.contains("raftshare-node start --id 1 --data n1 --listen 127.0.0.1:8081"), "{told}");
}
