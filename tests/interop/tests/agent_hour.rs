//! An agent whose server is dead, refuses it or hangs, for an hour: no failure keeps the processor busy.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer};
use nightlatch_proto::tls::{RawKey, RawKeyKind};
use nightlatch_test_support::programs::agent_places;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

/// The most seconds of processor time, and wake-ups, in that hour. A busy loop takes thousands of times as much.
const MOST_SECONDS: f64 = 1.0;
const MOST_WAKES: u64 = 1000;

struct Agent {
    _folder: TempDir,
    running: RunningProgram,
}

fn agent(server: SocketAddr, trusted: &str) -> Agent {
    let folder = tempfile::tempdir().unwrap();
    let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let write = |name: &str, content: &[u8], mode| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(folder.path().join("keys")).unwrap();
    write("keys/tls-privkey.pem", key.private_pem().expose(), 0o600);
    write("trusted", trusted.as_bytes(), 0o644);
    let config = format!("[agent]\nsearch = no\nconnect = {server}\n");
    write("agent.conf", config.as_bytes(), 0o644);
    let mut command = Command::new(ours("nightlatch-agent"));
    agent_places(&mut command, folder.path());
    let running = RunningProgram::start("nightlatch-agent", &mut command);
    Agent {
        _folder: folder,
        running,
    }
}

/// Accepts connections and never says a word; counts them.
fn hanging(connections: &Arc<AtomicU32>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::clone(connections);
    thread::spawn(move || {
        for stream in listener.incoming() {
            connections.fetch_add(1, Ordering::Relaxed);
            let mut stream = stream.unwrap();
            thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    address
}

/// Seconds of processor time (proc_pid_stat(5)), and wake-ups (proc_pid_status(5)).
fn effort(agent: &Agent) -> (f64, u64) {
    let pid = agent.running.pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.map(|it| it.parse::<f64>().unwrap()).sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let wakes = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let second = rustix::param::clock_ticks_per_second();
    (
        ticks / second as f64,
        wakes.unwrap().trim().parse().unwrap(),
    )
}

/// NIGHTLATCH_TEST_LIMIT=4000 make test ARGUMENTS="-p nightlatch-interop --test agent_hour -- --ignored --nocapture"
#[test]
#[ignore = "the long form: an hour"]
fn no_failure_of_a_server_keeps_an_agent_busy() {
    // Bound and not listening: connections are refused.
    let dead = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&dead, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let dead: SocketAddr = rustix::net::getsockname(&dead).unwrap().try_into().unwrap();
    // It knows no client, and so no host key.
    let server = TestServer::start(Project::Ours, Home::new("", None));
    let connections = Arc::new(AtomicU32::new(0));
    let agents = [
        ("dead", dead),
        ("refusing", server.address().parse().unwrap()),
        ("hanging", hanging(&connections)),
    ];
    let agents = agents.map(|(what, address)| (what, agent(address, &server.key_id())));
    thread::sleep(HOUR);
    for (what, agent) in agents {
        assert!(agent.running.is_running(), "{what}");
        let (seconds, wakes) = effort(&agent);
        println!("{what}: {seconds:.2} s of processor time, {wakes} wake-ups");
        assert!(seconds < MOST_SECONDS && wakes < MOST_WAKES, "{what}");
        agent.running.terminate();
    }
    let connections = connections.load(Ordering::Relaxed);
    println!("hanging: {connections} connections");
    assert!((2..200).contains(&connections));
}
