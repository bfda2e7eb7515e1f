//! Checkers: the cost of a thousand checks a second, by a command and by the built-in ping.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_interop::programs::Project;

use crate::fleet::section;
use crate::{Setup, clock, cpu, name, serve};

/// Clients that are each checked once a second.
const CLIENTS: usize = 1000;

/// Time of one measurement, after a wait of the same length for a steady state.
const WATCHED: Duration = Duration::from_secs(10);

/// Shells for the bound.
const SHELLS: u32 = 2000;

pub(crate) fn a_second(setup: &Setup) {
    println!("\n## {CLIENTS} clients whose checker is `true`, one check of each a second\n");
    println!(
        "| what | checks/s | the server itself, of one core | with its checkers, of one core |"
    );
    println!("|---|---|---|---|");
    let bare = bare_shells();
    println!(
        "| bare `sh -c true`, started and waited for | | | {:.0} % |",
        100.0 * bare
    );
    let shells = sections(setup, "checker = true");
    for server in setup.servers.iter().copied() {
        let (running, _bus) = serve(server, &shells, &[]);
        let pid = running.running().pid();
        std::thread::sleep(WATCHED);
        let before = (cpu::of_itself(pid), cpu::of_tree(pid), started(), clock());
        std::thread::sleep(WATCHED);
        let seconds = before.3.elapsed().as_secs_f64();
        // The stock server takes a process more for each check.
        let processes = if server == Project::Stock { 2.0 } else { 1.0 };
        println!(
            "| {} | {:.0} | {:.0} % | {:.0} % |",
            name(server),
            (started() - before.2) / seconds / processes,
            100.0 * (cpu::of_itself(pid) - before.0) / seconds,
            100.0 * (cpu::of_tree(pid) - before.1) / seconds,
        );
    }
    // An empty range, the kernel's default, lets no group ping (icmp(7)).
    let groups = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    if groups.split_whitespace().eq(["1", "0"]) {
        println!(
            "\n`builtin:ping` was not measured: net.ipv4.ping_group_range is 1 0; set it to 0 2147483647"
        );
        return;
    }
    let pinged = sections(setup, "checker = builtin:ping");
    let lines = pinged
        .lines()
        .map(|line| match line.starts_with("host = ") {
            true => "host = 127.0.0.1\n".to_owned(),
            false => format!("{line}\n"),
        });
    let pinged: String = lines.collect();
    let (running, _bus) = serve(Project::Ours, &pinged, &[]);
    let pid = running.running().pid();
    std::thread::sleep(WATCHED);
    let before = (cpu::of_itself(pid), echoes(), clock());
    std::thread::sleep(WATCHED);
    let seconds = before.2.elapsed().as_secs_f64();
    let used = 100.0 * (cpu::of_itself(pid) - before.0) / seconds;
    println!(
        "| {}, `builtin:ping` | {:.0} | {used:.0} % | {used:.0} % |",
        name(Project::Ours),
        (echoes() - before.1) / seconds,
    );
}

/// Clients that are each checked once a second.
fn sections(setup: &Setup, checker: &str) -> String {
    let settings = format!("{checker}\ninterval = PT1S\ntimeout = PT1H");
    let one = |number: usize| {
        let key_id = format!("{:064x}", number + 1);
        section(&setup.ours, number, &key_id, &settings)
    };
    (0..CLIENTS).map(one).collect()
}

/// Echo requests that this host has received since its boot (proc_net(5), RFC 2011).
fn echoes() -> f64 {
    let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Icmp:"));
    let (names, values) = (lines.next(), lines.next());
    let words = |line: Option<&'_ str>| {
        line.unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let place = words(names).iter().position(|name| name == "InEchos");
    let value = place.and_then(|place| words(values).get(place)?.parse().ok());
    value.unwrap_or_default()
}

/// Share of one core that the same number of shells takes when started by a program that does nothing else.
fn bare_shells() -> f64 {
    let own = std::process::id();
    let before = cpu::of_tree(own);
    for _ in 0..SHELLS {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "true"]).stdin(Stdio::null());
        assert!(shell.status().unwrap().success());
    }
    (cpu::of_tree(own) - before) / f64::from(SHELLS) * CLIENTS as f64
}

/// Processes started on this machine since its boot (proc_stat(5)).
fn started() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix("processes "));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or_default()
}
