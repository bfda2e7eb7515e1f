//! How long a client takes that must find its server first, over a cable between two namespaces.

use std::time::Duration;

use nightlatch_interop::client;
use nightlatch_interop::machine::Machine;
use nightlatch_interop::netns::Lan;
use nightlatch_interop::process::Running;
use nightlatch_interop::programs::{self, Whose};
use nightlatch_interop::site::Kind;

use crate::{Setup, clock, name};

/// Searches for one figure; the median is shown.
const SEARCHES: usize = 10;

/// From a client's start on a link that has its address already to the password; ours also beside a
/// server that was there first, accepts connections and never says a word.
pub(crate) fn by_discovery(setup: &Setup) {
    let (ours, stock) = (&setup.ours, &setup.stock);
    let Some(lan) = Lan::new("bench") else { return };
    for (host, interface) in [(&lan.server, "srv0"), (&lan.client, "cli0")] {
        host.wait_for_link_local(interface);
    }
    println!("\n## From a usable link-local address to the password, median of {SEARCHES}\n");
    println!("| server | announced by | client | keys | beside | ms | slowest, ms |");
    println!("|---|---|---|---|---|---|---|");
    for (kind, server, announced_by) in [
        (Kind::StockByAvahi, Whose::Stock, "Avahi"),
        (Kind::OursByAvahi, Whose::Ours, "Avahi"),
        (Kind::OursAlone, Whose::Ours, "itself"),
    ] {
        if !setup.servers.contains(&server) {
            continue;
        }
        for (client, keys, machine, hangs) in [
            (Whose::Stock, "RSA-4096", stock, false),
            (Whose::Ours, "RSA-4096", stock, false),
            (Whose::Ours, "Curve25519", ours, false),
            (Whose::Ours, "Curve25519", ours, true),
        ] {
            let _dead = hangs.then(|| dead_server(&lan));
            let _site = kind.serve(&lan.server, &machine.section("checker = true"));
            let took = searches(client, machine, &lan);
            let millis = |took: Duration| took.as_secs_f64() * 1000.0;
            println!(
                "| {} | {announced_by} | {} | {keys} | {} | {:.0} | {:.0} |",
                name(server),
                name(client),
                if hangs { "a server that hangs" } else { "" },
                millis(took[SEARCHES / 2]),
                millis(took[SEARCHES - 1]),
            );
        }
    }
}

fn searches(client: Whose, machine: &Machine, lan: &Lan) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..SEARCHES)
        .map(|_| {
            let start = clock();
            let options = ["--interface", "cli0"];
            let output = client::search(client, machine, &lan.client, &options).finish();
            assert_eq!(output.stdout, machine.password);
            start.elapsed()
        })
        .collect();
    took.sort();
    took
}

/// Announces a server that is none, and waits until it is announced.
fn dead_server(lan: &Lan) -> Running {
    let mut command = lan.server.command(programs::ours("announce"));
    command.args(["A dead server", "4712", "srv0"]);
    // By a responder of its own.
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
    let running = Running::start("announce", &mut command);
    running.wait_for("its announcement", |line| {
        line.contains("announced as").then_some(())
    });
    running
}
