//! Peers that connect and say nothing.

use std::net::{Ipv4Addr, TcpStream};

use crate::{Setup, megabytes, memory, name, serve};

/// Idle connections. The stock server keeps a process for each.
const PEERS: usize = 200;

pub(crate) fn peers(setup: &Setup) {
    println!(
        "\n## Memory of the server (PSS, with its children), {PEERS} peers that say nothing\n"
    );
    println!("| server | alone, MB | with the peers, MB | a peer, kB |\n|---|---|---|---|");
    for server in setup.servers.iter().copied() {
        let all = PEERS.to_string();
        // They all come from one address here.
        let settings = [("max_connections_per_source", all.as_str())];
        let (running, _bus) = serve(server, &setup.ours.section("checker = true"), &settings);
        let pid = running.running().pid();
        let before = memory::settled(pid);
        let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, running.port())).unwrap();
        let peers: Vec<TcpStream> = (0..PEERS).map(connect).collect();
        let after = memory::settled(pid);
        drop(peers);
        let each = after.saturating_sub(before) as f64 / PEERS as f64 / 1024.0;
        println!(
            "| {} | {:.1} | {:.1} | {each:.1} |",
            name(server),
            megabytes(before),
            megabytes(after)
        );
    }
}
