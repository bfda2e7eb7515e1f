//! Large configurations: from the start of the server to its being ready, and what it holds then.

use nightlatch_interop::programs::Project;
use nightlatch_interop::server::TestServer;

use crate::fleet::section;
use crate::{Setup, clock, megabytes, memory, name, serve};

/// Clients, and the servers that can be waited for with so many.
const FLEETS: [(usize, &[Project]); 2] = [
    (10_000, &[Project::Stock, Project::Ours]),
    (100_000, &[Project::Ours]),
];

pub(crate) fn clients(setup: &Setup) {
    println!("\n## Clients in clients.conf\n");
    println!("| server | clients | first start, s | start with saved state, s | resident, MB |");
    println!("|---|---|---|---|---|");
    let settings = "checker = true\ninterval = PT1H\ntimeout = PT2H";
    for (count, servers) in FLEETS {
        let sections: String = (0..count)
            .map(|number| {
                section(
                    &setup.ours,
                    number,
                    &format!("{:064x}", number + 1),
                    settings,
                )
            })
            .collect();
        for server in servers.iter().filter(|it| setup.servers.contains(it)) {
            let start = clock();
            let (running, _bus) = serve(*server, &sections, &[]);
            let first = start.elapsed().as_secs_f64();
            memory::settled(running.running().pid());
            let (running, again) = match server {
                // It encrypts each secret by a process of GnuPG when it ends: hours, at this number.
                Project::Stock => (running, "not tried".to_owned()),
                Project::Ours => {
                    let home = running.stop();
                    let start = clock();
                    let running = TestServer::start(*server, home);
                    (running, format!("{:.2}", start.elapsed().as_secs_f64()))
                }
            };
            memory::settled(running.running().pid());
            println!(
                "| {} | {count} | {first:.2} | {again} | {:.0} |",
                name(*server),
                megabytes(memory::resident(running.running().pid()))
            );
        }
    }
}
