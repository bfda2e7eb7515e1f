//! The monitors: how long until all clients are on the screen, how long a change and a key take to be
//! seen, memory, and what goes over a slow line.

use std::process::Command;
use std::thread;
use std::time::Duration;

use nightlatch_bus::block_on;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::programs::{Project, ours, peer};

use crate::terminal::TimedTerminal;
use crate::{Setup, clock, megabytes, memory, name};

/// Clients, and the monitors that can show so many: with some more than 40 mandos-monitor asks the bus for
/// more than the 512 match rules that a connection to the system bus may have, and ends.
const FLEETS: [(usize, &[Project]); 3] = [
    (40, &[Project::Stock, Project::Ours]),
    (1_000, &[Project::Ours]),
    (10_000, &[Project::Ours]),
];

/// Runs for one figure; the median and the slowest are shown. Even, so that the last change undoes the one
/// before.
const RUNS: usize = 20;

/// Time for which the bytes of an idle screen are counted.
const IDLE: Duration = Duration::from_secs(10);

/// The keys for a page down and up, as a terminal sends them.
const PAGES: [&str; 2] = ["\x1b[6~", "\x1b[5~"];

pub(crate) fn screens(setup: &Setup) {
    println!("\n## Monitors at nightlatchd, 80x24, median (slowest) of {RUNS}\n");
    println!(
        "| monitor | clients | all clients on the screen, s | a change on the screen, ms | a page down or up, ms \
         | most memory, MB | bytes a second, idle |\n|---|---|---|---|---|---|---|"
    );
    for (count, monitors) in FLEETS {
        let sections: String = (0..count)
            .map(|number| section(&client(number), "interval = PT24H\ntimeout = PT48H"))
            .collect();
        let site = Administered::quiet(Project::Ours, &sections);
        for monitor in monitors.iter().filter(|it| setup.servers.contains(it)) {
            measure(&site, *monitor, count);
        }
    }
}

fn client(number: usize) -> String {
    format!("web{number:05}.example.org")
}

fn measure(site: &Administered, monitor: Project, count: usize) {
    let start = clock();
    let mut terminal =
        TimedTerminal::start(command(monitor).env("DBUS_SYSTEM_BUS_ADDRESS", site.bus.address()));
    let shown = terminal.wait_for(0, &[&client(5)], start);
    let changes = changes(site, &terminal);
    let pages = sorted(|run| {
        // Ours draws at most 20 frames a second, and a person presses less often.
        thread::sleep(Duration::from_millis(100));
        let (from, start) = (terminal.count(), clock());
        terminal.press(PAGES[run % 2]);
        terminal.wait_for(from, &["web"], start)
    });
    let before = terminal.count();
    thread::sleep(IDLE);
    let idle = (terminal.count() - before) as f64 / IDLE.as_secs_f64();
    println!(
        "| {} | {count} | {:.2} | {} | {} | {:.0} | {idle:.0} |",
        name(monitor),
        shown.as_secs_f64(),
        median_and_slowest(&changes),
        median_and_slowest(&pages),
        megabytes(memory::most_resident(terminal.pid())),
    );
}

/// Time from the order that changes a client's state to the new state on the screen. In between the server writes it to
/// disk and signals it.
fn changes(site: &Administered, terminal: &TimedTerminal) -> Vec<Duration> {
    let path = ClientPath::of_name(&client(1));
    block_on(async {
        let server = site.connect().await;
        let mut took = Vec::new();
        for run in 0..RUNS {
            let enabled = run % 2 == 1;
            thread::sleep(Duration::from_millis(100));
            let (from, start) = (terminal.count(), clock());
            let value = PropertyValue::Boolean(enabled);
            server.set(&path, Property::Enabled, &value).await.unwrap();
            // As either monitor writes it.
            let words: &[&str] = match enabled {
                true => &["enabled", "A checker has failed"],
                false => &["disabled", "DISABLED"],
            };
            took.push(terminal.wait_for(from, words, start));
        }
        took.sort_unstable();
        took
    })
}

fn sorted(run: impl FnMut(usize) -> Duration) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..RUNS).map(run).collect();
    took.sort_unstable();
    took
}

fn median_and_slowest(took: &[Duration]) -> String {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let slowest = took.last().copied().unwrap_or_default();
    format!(
        "{:.1} ({:.1})",
        milliseconds(took[took.len() / 2]),
        milliseconds(slowest)
    )
}

fn command(monitor: Project) -> Command {
    match monitor {
        Project::Ours => {
            let mut command = Command::new(ours("nightlatch"));
            command.arg("monitor");
            command
        }
        Project::Stock => {
            let mut command = Command::new("/usr/bin/python3");
            command.arg(peer("usr/sbin/mandos-monitor"));
            command
        }
    }
}
