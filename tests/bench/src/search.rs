//! Time of a client that has to find its server first, over a virtual cable between two namespaces.

use std::time::Duration;

use nightlatch_interop::client;
use nightlatch_interop::machine::TestMachine;
use nightlatch_interop::netns::{Lan, NetnsHost, Switch};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{self, Project};
use nightlatch_interop::site::SiteKind;

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
        (SiteKind::StockByAvahi, Project::Stock, "Avahi"),
        (SiteKind::OursByAvahi, Project::Ours, "Avahi"),
        (SiteKind::OursAlone, Project::Ours, "itself"),
    ] {
        if !setup.servers.contains(&server) {
            continue;
        }
        for (client, keys, machine, hangs) in [
            (Project::Stock, "RSA-4096", stock, false),
            (Project::Ours, "RSA-4096", stock, false),
            (Project::Ours, "Curve25519", ours, false),
            (Project::Ours, "Curve25519", ours, true),
        ] {
            let _dead = hangs.then(|| dead_server(&lan));
            let _site = kind.serve(&lan.server, &machine.section("checker = true"));
            let took = searches(client, machine, &lan.client, "cli0", &[]);
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
    remembered(&lan, ours);
    beside_many(ours);
}

/// Ours at ours, with the address of the server in a file, as in an image; and with that of a server that is gone.
fn remembered(lan: &Lan, machine: &TestMachine) {
    println!("\n## The same with a remembered server, median of {SEARCHES}\n");
    println!("| remembered | ms | slowest, ms |\n|---|---|---|");
    let site = SiteKind::OursAlone.serve(&lan.server, &machine.section("checker = true"));
    let address = lan.server.link_local("srv0");
    let file = machine.key_file("remembered-servers");
    // To an address that nobody has, the kernel asks for a neighbour in vain.
    let dead = "[fe80::dead]:4711".to_owned();
    let live = format!("[{address}]:{}", site.server.port());
    for (what, server) in [("this server", live), ("another, which is gone", dead)] {
        std::fs::write(&file, format!("{server}\n")).unwrap();
        let option = ["--remembered-servers", file.to_str().unwrap()];
        let took = searches(Project::Ours, machine, &lan.client, "cli0", &option);
        let millis = |took: Duration| took.as_secs_f64() * 1000.0;
        println!(
            "| {what} | {:.0} | {:.0} |",
            millis(took[SEARCHES / 2]),
            millis(took[SEARCHES - 1]),
        );
    }
}

/// Ours at ours, on a network with a neighbour who announces servers that are none, without end.
fn beside_many(machine: &TestMachine) {
    let Some(switch) = Switch::new("bench") else {
        return;
    };
    println!("\n## The same, among servers that are none, median of {SEARCHES}\n");
    println!("| names | from sources | their ports | ms | slowest, ms |");
    println!("|---|---|---|---|---|");
    for (names, sources, mode, ports) in [
        (16, 1, "REFUSE", "refuse"),
        (200, 1, "REFUSE", "refuse"),
        (200, 200, "REFUSE", "refuse"),
        (200, 1, "SILENT", "say nothing"),
    ] {
        let (server, client, neighbour) = (switch.host(), switch.host(), switch.host());
        let mut command = neighbour.command(programs::ours("rogue"));
        command.args([
            Switch::INTERFACE,
            &names.to_string(),
            &sources.to_string(),
            mode,
        ]);
        let rogue = RunningProgram::start("rogue", &mut command);
        rogue.wait_for("its announcements", |line| {
            line.starts_with("announced").then_some(())
        });
        let _site = SiteKind::OursAlone.serve(&server, &machine.section("checker = true"));
        let took = searches(Project::Ours, machine, &client, Switch::INTERFACE, &[]);
        println!(
            "| {names} | {sources} | {ports} | {:.0} | {:.0} |",
            took[SEARCHES / 2].as_secs_f64() * 1000.0,
            took[SEARCHES - 1].as_secs_f64() * 1000.0,
        );
    }
}

fn searches(
    client: Project,
    machine: &TestMachine,
    host: &NetnsHost,
    interface: &str,
    more: &[&str],
) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..SEARCHES)
        .map(|_| {
            let start = clock();
            let options = [&["--interface", interface], more].concat();
            let output = client::search(client, machine, host, &options).finish();
            assert_eq!(output.stdout, machine.password);
            start.elapsed()
        })
        .collect();
    took.sort();
    took
}

/// Announces a server that is none, and waits until it is announced.
fn dead_server(lan: &Lan) -> RunningProgram {
    let mut command = lan.server.command(programs::ours("announce"));
    command.args(["A dead server", "4712", "srv0"]);
    // By a responder of its own.
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
    let running = RunningProgram::start("announce", &mut command);
    running.wait_for("its announcement", |line| {
        line.contains("announced as").then_some(())
    });
    running
}
