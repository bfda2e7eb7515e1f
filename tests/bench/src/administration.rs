//! Administration: how long the tools take with large fleets, ours and the stock ones at both servers.

use std::process::{Command, Output};

use nightlatch_interop::administered::{Administered, mandos_ctl, section};
use nightlatch_interop::programs::{Project, ours};

use crate::{Setup, clock, megabytes, memory, name};

/// Clients, a server, and how often each tool is run for one figure; the median is shown.
const FLEETS: [(usize, Project, usize); 4] = [
    (1_000, Project::Stock, 5),
    (1_000, Project::Ours, 5),
    // Each takes minutes, whatever comes of it.
    (10_000, Project::Stock, 1),
    (10_000, Project::Ours, 5),
];

/// A tool, and how it lists all clients.
type Tool = (&'static str, fn() -> Command);

const TOOLS: [Tool; 5] = [
    ("mandos-ctl", mandos_ctl),
    ("mandos-ctl --dump-json", || {
        with(mandos_ctl(), &["--dump-json"])
    }),
    ("nightlatch ctl", || with(nightlatch(), &["ctl"])),
    ("nightlatch ctl --dump-json", || {
        with(nightlatch(), &["ctl", "--dump-json"])
    }),
    ("nightlatch list", || with(nightlatch(), &["list"])),
];

pub(crate) fn tools(setup: &Setup) {
    println!("\n## Listing all clients, median\n");
    println!(
        "| server | clients | tool | runs | s | server's most memory, MB |\n|---|---|---|---|---|---|"
    );
    for (count, server, runs) in FLEETS {
        if !setup.servers.contains(&server) {
            continue;
        }
        let sections: String = (0..count)
            .map(|number| {
                let name = format!("web{number:05}.example.org");
                section(&name, "interval = PT24H\ntimeout = PT48H")
            })
            .collect();
        let site = Administered::quiet(server, &sections);
        for (tool, command) in TOOLS {
            let took = median(&site, command, runs);
            let most = megabytes(memory::most_resident(site.server.running().pid()));
            let server = name(server);
            println!("| {server} | {count} | {tool} | {runs} | {took} | {most:.0} |");
        }
    }
}

/// Seconds, or after how many the tool failed.
fn median(site: &Administered, command: fn() -> Command, runs: usize) -> String {
    let mut took = Vec::new();
    for _ in 0..runs {
        let start = clock();
        let Output { status, stdout, .. } = site.run(&mut command());
        let seconds = start.elapsed().as_secs_f64();
        if !status.success() {
            return format!("failed after {seconds:.0}");
        }
        assert!(stdout.len() > 1000);
        took.push(seconds);
    }
    took.sort_unstable_by(f64::total_cmp);
    format!("{:.2}", took[runs / 2])
}

fn nightlatch() -> Command {
    Command::new(ours("nightlatch"))
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}
