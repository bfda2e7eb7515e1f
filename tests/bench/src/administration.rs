//! Administration: how long the tools take with large fleets, ours and the stock ones at both servers.

use std::process::{Command, Output};
use std::time::Duration;

use nightlatch_interop::administered::{Administered, mandos_ctl, section};
use nightlatch_interop::programs::{Whose, ours};

use crate::{Setup, clock, megabytes, memory, name};

/// Clients, and the servers that can be administered with so many.
const FLEETS: [(usize, &[Whose]); 2] = [
    (1_000, &[Whose::Stock, Whose::Ours]),
    (10_000, &[Whose::Ours]),
];

/// Runs for one figure; the median is shown.
const RUNS: usize = 5;

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
    println!("\n## Listing all clients, median of {RUNS}\n");
    println!("| server | clients | tool | s | server's most memory, MB |\n|---|---|---|---|---|");
    for (count, servers) in FLEETS {
        let sections: String = (0..count)
            .map(|number| {
                section(
                    &format!("web{number:05}.example.org"),
                    "interval = PT24H\ntimeout = PT48H",
                )
            })
            .collect();
        for server in servers.iter().filter(|it| setup.servers.contains(it)) {
            let site = Administered::quiet(*server, &sections);
            for (tool, command) in TOOLS {
                let took = median(&site, command);
                let most = megabytes(memory::most_resident(site.server.running().pid()));
                println!(
                    "| {} | {count} | {tool} | {:.2} | {most:.0} |",
                    name(*server),
                    took.as_secs_f64()
                );
            }
        }
    }
}

fn median(site: &Administered, command: fn() -> Command) -> Duration {
    let mut took: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = clock();
            let Output { status, stdout, .. } = site.run(&mut command());
            assert!(status.success() && stdout.len() > 1000, "{status:?}");
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[RUNS / 2]
}

fn nightlatch() -> Command {
    Command::new(ours("nightlatch"))
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}
