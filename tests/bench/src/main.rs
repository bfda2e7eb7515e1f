//! Benchmarks beside the peers: both programs, the same story, one run.
//!
//! Prints the tables of docs/performance.md, or those named as arguments. `make bench` builds
//! everything optimised and runs it.
#![forbid(unsafe_code)]

mod administration;
mod checks;
mod client;
mod cpu;
mod exchange;
mod fleet;
mod handshake;
mod heartbeats;
mod idle;
mod many;
mod memory;
mod monitor;
mod search;
mod terminal;
mod unlocks;

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::{Home, TestServer};

/// The parameters of all tables.
struct Setup {
    /// A machine with our keys.
    ours: TestMachine,
    /// A machine with those of the stock key generator.
    stock: TestMachine,
    /// The servers to be measured.
    servers: Vec<Project>,
}

type Table = (&'static str, fn(&Setup));

const TABLES: [Table; 11] = [
    ("unlocks", unlocks::rate),
    ("burst", unlocks::burst),
    ("many", many::clients),
    ("password", client::password),
    ("image", client::image),
    ("discovery", search::by_discovery),
    ("heartbeats", heartbeats::at_pace),
    ("checks", checks::a_second),
    ("idle", idle::peers),
    ("administration", administration::tools),
    ("monitor", monitor::screens),
];

/// Leaves the stock server out, which takes most of the time.
const OURS_ONLY: &str = "--ours";

fn main() {
    let machine =
        |project, keys| TestMachine::new("tower", project, keys, b"correct horse battery staple");
    let mut setup = Setup {
        ours: machine(Project::Ours, MachineKeys::Curve25519),
        stock: machine(Project::Stock, MachineKeys::Rsa4096),
        servers: vec![Project::Stock, Project::Ours],
    };
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(place) = wanted.iter().position(|word| word == OURS_ONLY) {
        wanted.remove(place);
        setup.servers.remove(0);
    }
    let known = |name: &String| TABLES.iter().any(|(table, _)| table == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let all = TABLES.map(|(name, _)| name).join(", ");
        eprintln!("no table {unknown:?}, expected {OURS_ONLY} and any of {all}");
        std::process::exit(64);
    }
    for (name, print) in TABLES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            print(&setup);
        }
    }
}

/// A server on loopback for these clients and settings, and the system bus that the stock one needs.
fn serve(server: Project, clients: &str, settings: &[(&str, &str)]) -> (TestServer, Option<Bus>) {
    let bus = (server == Project::Stock).then(Bus::start);
    let mut home = Home::new(clients, bus.as_ref().map(Bus::address));
    home.quiet();
    for (key, value) in settings {
        home.set(key, value);
    }
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (TestServer::start_on(server, home, socket), bus)
}

fn name(project: Project) -> &'static str {
    match project {
        Project::Ours => "nightlatch",
        Project::Stock => "mandos 1.8.16",
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A benchmark measures time; nothing decides by it.
#[allow(clippy::disallowed_methods)]
fn clock() -> Instant {
    Instant::now()
}
