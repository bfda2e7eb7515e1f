//! Benchmarks beside the peers: both programs, the same story, one run.
//!
//! Prints the tables of docs/performance.md, or those named as arguments: `password`, `discovery`
//! (needs root), `throughput`, `idle`, `many`. `make bench` builds everything optimised and runs it.
#![forbid(unsafe_code)]

mod load;
mod memory;
mod search;

use std::time::{Duration, Instant};

use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{Keys, Machine};
use nightlatch_interop::programs::Whose;
use nightlatch_interop::server::{Home, Server};

/// Fetches for one figure; the median is shown.
const FETCHES: usize = 15;
/// Requests in the throughput figure, and how many at a time.
const REQUESTS: usize = 400;
const AT_A_TIME: usize = 8;
/// Idle connections in the memory figure. The stock server keeps a process for each.
const IDLE_PEERS: usize = 200;
/// Clients in the figure of a large configuration.
const MANY_CLIENTS: usize = 10_000;

fn main() {
    let ours = Machine::new(
        "tower",
        Whose::Ours,
        Keys::Curve25519,
        b"correct horse battery staple",
    );
    let stock = Machine::new(
        "tower",
        Whose::Stock,
        Keys::Rsa4096,
        b"correct horse battery staple",
    );
    let tables: [(&str, &dyn Fn()); 5] = [
        ("password", &|| one_password(&ours, &stock)),
        ("discovery", &|| search::by_discovery(&ours, &stock)),
        ("throughput", &|| throughput(&ours)),
        ("idle", &|| idle_peers(&ours)),
        ("many", &|| many_clients(&ours)),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (table, print) in tables {
        if wanted.is_empty() || wanted.iter().any(|name| name == table) {
            print();
        }
    }
}

fn one_password(ours: &Machine, stock: &Machine) {
    println!("\n## From starting the client to its password, median of {FETCHES}, loopback\n");
    println!("| server | client | keys | ms |\n|---|---|---|---|");
    for server in [Whose::Stock, Whose::Ours] {
        for (client, keys, machine) in [
            (Whose::Stock, "RSA-4096", stock),
            (Whose::Ours, "RSA-4096", stock),
            (Whose::Ours, "Curve25519", ours),
        ] {
            let (running, _bus) = serve(server, &machine.section("checker = true"));
            let mut took: Vec<Duration> = (0..FETCHES)
                .map(|_| {
                    let start = clock();
                    let output = client::fetch(client, machine, &running.address());
                    assert_eq!(output.stdout, machine.password);
                    start.elapsed()
                })
                .collect();
            took.sort();
            let median = took[FETCHES / 2].as_secs_f64() * 1000.0;
            println!(
                "| {} | {} | {keys} | {median:.0} |",
                name(server),
                name(client)
            );
        }
    }
}

fn throughput(machine: &Machine) {
    println!(
        "\n## Releases a second, {AT_A_TIME} clients at a time, {REQUESTS} requests, loopback\n"
    );
    println!("| server | releases/s |\n|---|---|");
    for server in [Whose::Stock, Whose::Ours] {
        let (running, _bus) = serve(server, &machine.section("checker = true"));
        let start = clock();
        load::fetch_many(machine, running.port(), REQUESTS, AT_A_TIME);
        let rate = REQUESTS as f64 / start.elapsed().as_secs_f64();
        println!("| {} | {rate:.0} |", name(server));
    }
}

fn idle_peers(machine: &Machine) {
    println!(
        "\n## Memory of the server (PSS, with its children), {IDLE_PEERS} peers that say nothing\n"
    );
    println!("| server | alone, MB | with the peers, MB | a peer, kB |\n|---|---|---|---|");
    for server in [Whose::Stock, Whose::Ours] {
        // Our limit for one address is lower than that by default.
        let (running, _bus) = serve(server, &machine.section("checker = true"));
        let before = memory::of_tree(running.running().pid());
        let peers = load::connect_idle(running.port(), IDLE_PEERS);
        let after = memory::settled(running.running().pid());
        drop(peers);
        let each = after.saturating_sub(before) as f64 / IDLE_PEERS as f64 / 1024.0;
        println!(
            "| {} | {:.1} | {:.1} | {each:.1} |",
            name(server),
            megabytes(before),
            megabytes(after)
        );
    }
}

fn many_clients(machine: &Machine) {
    println!("\n## {MANY_CLIENTS} clients in clients.conf\n");
    println!("| server | ready after, s | memory (PSS), MB |\n|---|---|---|");
    let template = machine.section("checker = true\ninterval = PT1H\ntimeout = PT2H");
    let mut clients = String::new();
    for number in 0..MANY_CLIENTS {
        let key_id = format!("{number:064x}");
        let section = template.replacen("[tower]", &format!("[tower{number}]"), 1);
        clients.push_str(&section.replace(machine.key_id(), &key_id));
    }
    for server in [Whose::Stock, Whose::Ours] {
        let start = clock();
        let (running, _bus) = serve(server, &clients);
        let took = start.elapsed().as_secs_f64();
        let used = memory::settled(running.running().pid());
        println!("| {} | {took:.1} | {:.1} |", name(server), megabytes(used));
    }
}

fn serve(server: Whose, clients: &str) -> (Server, Option<Bus>) {
    let bus = (server == Whose::Stock).then(Bus::start);
    let home = Home::new(clients, bus.as_ref().map(Bus::address));
    home.set("max_connections_per_source", &(2 * IDLE_PEERS).to_string());
    (Server::start(server, home), bus)
}

fn name(whose: Whose) -> &'static str {
    match whose {
        Whose::Ours => "nightlatch",
        Whose::Stock => "mandos 1.8.16",
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
