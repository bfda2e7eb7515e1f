//! Memory and file descriptors that silent peers can use up, with 10,000 of them. The server runs in a copy of
//! this program, so that nothing else is measured.
#![forbid(unsafe_code)]
// unwrap in a test is the assertion itself, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};

use nightlatch_core::event::Refusal;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::ServerTls;
use nightlatch_server::limits::ConnectionLimits;
use nightlatch_server::listen::{self, ListenOptions};
use nightlatch_server::session::{
    Deadlines, Gatekeeper, LifeAnswer, LifeReport, Permit, SecretRequest, Sessions, WaitNotifier,
    serve,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of silent peers.
const PEERS: u64 = 10_000;

/// Number of them that send the first line, so that the server waits for their part of the handshake.
const HANDSHAKES: usize = 1_000;

/// Descriptors that both processes need for other things.
const SPARE: u64 = 100;

/// Most bytes of the server's memory for a silent peer. About 1.5 kB were measured; the rest is room for
/// another allocator.
const CEILING: u64 = 4 * 1024;

/// Most bytes of the server's memory for a peer that was sent a ClientHello: the keys offered in it, and the
/// buffers. About 16 kB were measured.
const CEILING_HANDSHAKE: u64 = 64 * 1024;

/// Descriptors for a server that has to run out of them.
const FEW: u64 = 40;

/// Tells the copy of this program that it is the server, and how many descriptors it may have.
const ROLE: &str = "NIGHTLATCH_TEST_SERVER_DESCRIPTORS";

#[test]
fn a_server_without_descriptors_left_serves_again_when_there_are_some() {
    let mut server = Server::start(FEW);
    let idle: Vec<_> = (0..2 * FEW).map(|_| server.connect()).collect();
    server.wait_for_log("cannot accept connections");
    drop(idle);
    // This connection is accepted after all the others.
    server.wait_until_all_are_accepted();
}

#[test]
fn ten_thousand_idle_peers_cost_little_memory() {
    limit_descriptors(None);
    let server = Server::start(u64::MAX);
    let _warm: Vec<_> = (0..100).map(|_| server.connect()).collect();
    server.wait_until_all_are_accepted();

    let before = server.memory();
    let mut peers: Vec<_> = (0..peers()).map(|_| server.connect()).collect();
    server.wait_until_all_are_accepted();
    let idle = server.memory();
    let each = idle.saturating_sub(before) / peers.len() as u64;
    eprintln!("{} idle peers: {each} bytes each", peers.len());
    assert!(each < CEILING, "{each} bytes for each idle peer");

    for peer in &mut peers[..HANDSHAKES] {
        peer.write_all(b"1\r\n").unwrap();
    }
    for peer in &mut peers[..HANDSHAKES] {
        peer.read_exact(&mut [0]).unwrap();
    }
    let each = server.memory().saturating_sub(idle) / HANDSHAKES as u64;
    eprintln!("{HANDSHAKES} peers in the handshake: {each} bytes each");
    assert!(
        each < CEILING_HANDSHAKE,
        "{each} bytes for each in the handshake"
    );
}

/// [`PEERS`], or as many as there are descriptors for.
fn peers() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let peers = PEERS.min(limit.saturating_sub(2 * SPARE));
    if peers < PEERS {
        nightlatch_test_support::skipped(format_args!(
            "needs more file descriptors: only {peers} peers with {limit}"
        ));
    }
    assert!(
        peers as usize > HANDSHAKES,
        "too few file descriptors: {limit}"
    );
    peers
}

/// Sets the limit of descriptors to `wanted`, or to the most that is allowed.
fn limit_descriptors(wanted: Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    let current = wanted.map_or(limit.maximum, |wanted| {
        Some(wanted.min(limit.maximum.unwrap_or(u64::MAX)))
    });
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
}

struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    port: u16,
}

/// Not a test: the copy of this program runs the server here.
#[test]
fn the_server() {
    if let Some(descriptors) = std::env::var_os(ROLE) {
        let descriptors = descriptors.to_str().unwrap().parse().unwrap();
        serve_until_the_end_of_input(descriptors);
    }
}

impl Server {
    fn start(descriptors: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["the_server", "--exact", "--nocapture"])
            .env(ROLE, descriptors.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { process, log, port }
    }

    fn wait_for_log(&mut self, wanted: &str) {
        let mut lines = self.log.by_ref().lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(wanted)), "never: {wanted}");
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap()
    }

    /// Connections are accepted in their order: when the last is answered, all were.
    fn wait_until_all_are_accepted(&self) {
        let mut last = self.connect();
        last.write_all(b"1\r\n").unwrap();
        last.read_exact(&mut [0]).unwrap();
    }

    /// Its anonymous memory in bytes (proc_pid_status(5)).
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It could not end while nobody reads its output.
        let _ = std::io::copy(&mut self.log, &mut std::io::sink());
        let _ = self.process.wait();
    }
}

fn serve_until_the_end_of_input(descriptors: u64) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    limit_descriptors(Some(descriptors));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listeners = listen::bind(&ListenOptions::default()).unwrap();
        eprintln!("{}", listeners[0].local_addr().unwrap().port());
        let tls = ServerTls::new(None, &Priority::default()).unwrap();
        let never = std::time::Duration::from_secs(3600);
        let deadlines = Deadlines {
            greeting: never,
            handshake: never,
            ..Deadlines::default()
        };
        let sessions = Sessions::new(Nobody, &tls, deadlines);
        let limits = ConnectionLimits::new(1 << 20, 1 << 20);
        let stop = async {
            let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
            let _ = end.await;
        };
        serve(listeners, sessions, limits, stop).await.unwrap();
    });
}

/// A gatekeeper for peers that never get that far.
struct Nobody;

impl Gatekeeper for Nobody {
    async fn decide(
        &self,
        _request: SecretRequest,
        _waits: Option<WaitNotifier>,
    ) -> Result<Permit, Refusal> {
        Err(Refusal::UnknownKey)
    }

    async fn life(&self, _report: LifeReport) -> Result<LifeAnswer, Refusal> {
        Err(Refusal::UnknownKey)
    }
}
