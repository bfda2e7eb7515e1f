//! How many machines a server gives their secret, how long they wait, and all of them at once.

use std::time::Duration;

use nightlatch_interop::machine::Machine;
use nightlatch_interop::programs::Whose;

use crate::fleet::{Fleet, Outcome, quantile};
use crate::{Setup, clock, cpu, exchange, handshake, megabytes, memory, name, serve};

/// Machines in the figure of the rate, and how many ask at a time.
const MACHINES: usize = 200;
const AT_A_TIME: usize = 64;

/// Requests to each server: the stock one takes a hundred times as long.
const fn requests(server: Whose) -> usize {
    match server {
        Whose::Stock => 300,
        Whose::Ours => 20_000,
    }
}

/// Machines that all ask at the same moment.
const BURST: usize = 10_000;

/// Clients whose checks do not disturb the measurement.
const SETTINGS: &str = "checker = true\ninterval = PT1H\ntimeout = PT2H";

/// Unlocks for each second of the server's processor, and waiting times.
pub(crate) fn rate(setup: &Setup) {
    let machine = &setup.ours;
    let fleet = Fleet::new(MACHINES, machine, SETTINGS);
    let handshakes = handshake::a_second(payload(machine));
    let exchanges = exchange::a_second(AT_A_TIME);
    let bound = 1.0 / (1.0 / handshakes + 1.0 / exchanges);
    println!("\n## Unlocks, {AT_A_TIME} machines at a time of {MACHINES}, loopback\n");
    println!(
        "The server's side of the handshake alone, in memory: {handshakes:.0} for each CPU second."
    );
    println!("The same bytes over TCP without TLS: {exchanges:.0} for each CPU second.");
    println!("Nothing but these two: {bound:.0} for each CPU second.\n");
    println!(
        "| server | requests | asked again | unlocks/s | for each CPU second | of the handshakes | of both | median, ms | p99, ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for server in setup.servers.iter().copied() {
        let requests = requests(server);
        let (running, _bus) = serve(server, &fleet.sections, &[]);
        let pid = running.running().pid();
        fleet.fetch(running.port(), MACHINES, 8);
        let (used, start) = (cpu::of_tree(pid), clock());
        let Outcome { took, failed } = fleet.fetch(running.port(), requests, AT_A_TIME);
        let (wall, used) = (start.elapsed().as_secs_f64(), cpu::of_tree(pid) - used);
        let each = requests as f64 / used;
        println!(
            "| {} | {requests} | {failed} | {:.0} | {each:.0} | {:.0} % | {:.0} % | {:.0} | {:.0} |",
            name(server),
            requests as f64 / wall,
            100.0 * each / handshakes,
            100.0 * each / bound,
            millis(quantile(&took, 0.5)),
            millis(quantile(&took, 0.99)),
        );
    }
}

/// Ten thousand machines after a power cut. Our server only: the stock one takes minutes to load them.
pub(crate) fn burst(setup: &Setup) {
    let fleet = Fleet::new(BURST, &setup.ours, SETTINGS);
    println!("\n## {BURST} machines that ask at the same moment, each from its own address\n");
    println!(
        "| server | served | refused | all served after, s | median, s | p99, s | resident before, MB | at most, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (running, _bus) = serve(Whose::Ours, &fleet.sections, &[]);
    let before = memory::resident(running.running().pid());
    let Outcome { took, failed } = fleet.burst(running.port());
    println!(
        "| {} | {} | {failed} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
        name(Whose::Ours),
        took.len(),
        quantile(&took, 1.0).as_secs_f64(),
        quantile(&took, 0.5).as_secs_f64(),
        quantile(&took, 0.99).as_secs_f64(),
        megabytes(before),
        megabytes(memory::most_resident(running.running().pid())),
    );
}

/// The bytes of the encrypted secret.
fn payload(machine: &Machine) -> usize {
    let section = machine.section("");
    let (_, secret) = section.split_once("secret =").unwrap();
    let base64 = secret.split_whitespace().map(str::len).sum::<usize>();
    base64 * 3 / 4
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
