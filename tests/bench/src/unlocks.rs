//! Throughput and latency of a server that releases secrets, to one machine after the other and to all at once.

use std::time::Duration;

use nightlatch_interop::machine::TestMachine;
use nightlatch_interop::programs::Project;

use crate::fleet::{BenchFleet, FetchResults, quantile};
use crate::handshake::HandshakeBound;
use crate::{Setup, clock, cpu, exchange, handshake, megabytes, memory, name, serve};

/// Releases are measured, not the shells that run checks: each release would start one.
const UNCHECKED: &[(&str, &str)] = &[("check_on_release", "no")];

/// Machines in the figure of the rate.
const MACHINES: usize = 200;

/// Requests to a server, and how many at a time. The stock one takes a hundred times as long, and loses
/// connections when more come at a time: a process for each, and five that may wait.
const fn load(server: Project) -> (usize, usize) {
    match server {
        Project::Stock => (300, 8),
        Project::Ours => (20_000, 64),
    }
}

/// Machines that all ask at the same moment.
const BURST: usize = 10_000;

/// Clients whose checks do not disturb the measurement.
const SETTINGS: &str = "checker = true\ninterval = PT1H\ntimeout = PT2H";

/// Unlocks for each second of the server's processor, and waiting times.
pub(crate) fn rate(setup: &Setup) {
    let machine = &setup.ours;
    let fleet = BenchFleet::new(MACHINES, machine, SETTINGS);
    println!("\n## Unlocks, {MACHINES} machines, loopback\n");
    println!(
        "| server | requests | at a time | asked again | unlocks/s | for each CPU second | median, ms | p99, ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut bounds = Vec::new();
    let mut rate = 0.0;
    for server in setup.servers.iter().copied() {
        let (requests, at_a_time) = load(server);
        let (running, _bus) = serve(server, &fleet.sections, UNCHECKED);
        let pid = running.running().pid();
        fleet.fetch(running.port(), MACHINES, at_a_time);
        bounds.push(Bounds::measure(machine, at_a_time));
        let (used, start) = (cpu::of_tree(pid), clock());
        let FetchResults { took, failed } = fleet.fetch(running.port(), requests, at_a_time);
        let (wall, used) = (start.elapsed().as_secs_f64(), cpu::of_tree(pid) - used);
        rate = requests as f64 / used;
        println!(
            "| {} | {requests} | {at_a_time} | {failed} | {:.0} | {rate:.0} | {:.0} | {:.0} |",
            name(server),
            requests as f64 / wall,
            millis(quantile(&took, 0.5)),
            millis(quantile(&took, 0.99)),
        );
        bounds.push(Bounds::measure(machine, at_a_time));
    }
    // The machine is not always as fast: before and after ours.
    let near = bounds.split_off(bounds.len() - 2);
    println!("\n| what | for each CPU second | nightlatch reaches |\n|---|---|---|");
    for (what, of) in [
        (
            "the server's side of handshake and request, in memory",
            Bounds::handshake as fn(&Bounds) -> f64,
        ),
        ("the same bytes over TCP, without TLS", Bounds::exchange),
        ("nothing but these two", Bounds::both),
    ] {
        let bound = near.iter().map(of).sum::<f64>() / near.len() as f64;
        println!("| {what} | {bound:.0} | {:.0} % |", 100.0 * rate / bound);
    }
}

/// Upper bounds for each second of processor time, for any server.
struct Bounds {
    handshakes: f64,
    exchanges: f64,
}

impl Bounds {
    fn measure(machine: &TestMachine, at_a_time: usize) -> Self {
        let HandshakeBound { a_second, turns } = handshake::measure(payload(machine));
        Self {
            handshakes: a_second,
            exchanges: exchange::a_second(&turns, at_a_time),
        }
    }

    fn handshake(&self) -> f64 {
        self.handshakes
    }

    fn exchange(&self) -> f64 {
        self.exchanges
    }

    fn both(&self) -> f64 {
        1.0 / (1.0 / self.handshakes + 1.0 / self.exchanges)
    }
}

/// Ten thousand machines after a power cut. Our server only: the stock one takes minutes to load them.
pub(crate) fn burst(setup: &Setup) {
    let fleet = BenchFleet::new(BURST, &setup.ours, SETTINGS);
    println!("\n## {BURST} machines that ask at the same moment, each from its own address\n");
    println!(
        "| server | served | refused | all served after, s | median, s | p99, s | resident before, MB | at most, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (running, _bus) = serve(Project::Ours, &fleet.sections, UNCHECKED);
    let before = memory::resident(running.running().pid());
    let FetchResults { took, failed } = fleet.burst(running.port());
    println!(
        "| {} | {} | {failed} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
        name(Project::Ours),
        took.len(),
        quantile(&took, 1.0).as_secs_f64(),
        quantile(&took, 0.5).as_secs_f64(),
        quantile(&took, 0.99).as_secs_f64(),
        megabytes(before),
        megabytes(memory::most_resident(running.running().pid())),
    );
}

/// The bytes of the encrypted secret.
fn payload(machine: &TestMachine) -> usize {
    let section = machine.section("");
    let (_, secret) = section.split_once("secret =").unwrap();
    let base64 = secret.split_whitespace().map(str::len).sum::<usize>();
    base64 * 3 / 4
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
