//! Asks the servers as the boot client would, from each interface: by running the boot client, which says that
//! it only rehearses.

mod client;

use std::path::Path;
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{EX_SOFTWARE, Failure};
use nightlatch_console::report::Report;
use nightlatch_core::connect::Target;
use nightlatch_core::secret::Secret;
use nightlatch_proto::release::Terms;

use super::network::{BootNetwork, UsableInterface};
use super::options::MachineCheckOptions;
use crate::boot_command::BootCommand;
use client::{ClientRun, is_stock, refusal};

/// A rehearsal that nobody expected.
const ALARMED: &str =
    "the server raised an alarm over this rehearsal: no administrator had allowed one";

/// The way to prevent that.
const ALLOW: &str = "tell who looks after the server, and allow the next one there before: \
    nightlatch rehearsal NAME --for 10m";

/// A fetched password.
pub(super) struct Fetched {
    pub(super) password: Secret,
    /// The time that the server allows for a reboot; a server of Mandos does not send it.
    pub(super) terms: Option<Terms>,
}

/// One run of the client: from where, how that is called, and which server is connected to.
struct RehearsalAttempt {
    label: String,
    interfaces: String,
    connect: Option<Target>,
}

/// Options that a rehearsal sets itself, and which are removed from those of a boot; true for one with a value.
const OWN: [(&str, Option<char>, bool); 3] = [
    ("connect", Some('c'), true),
    ("interface", Some('i'), true),
    ("debug", None, false),
];

/// Rehearses with each of the servers that a boot connects to; without any, on every interface that a boot would use.
pub(super) fn check(
    options: &MachineCheckOptions,
    program: &Path,
    network: &BootNetwork,
    targets: &[Target],
    report: &mut Report,
) -> Result<Option<Fetched>, Failure> {
    let (usable, remarks) = network.usable();
    for remark in remarks {
        report.doubtful("network", remark, None);
    }
    if usable.is_empty() {
        let hint = Some("ip link: is a cable plugged in, and the interface up?".to_owned());
        report.bad("network", "no interface is up that a boot could use", hint);
        return Ok(None);
    }
    let command = &network.command;
    let wait = Duration::from_secs(options.wait.into());
    let tries = tries(network, targets, &usable);
    report.busy(&format!("asking servers, for {} s at most", options.wait));
    let outcomes = all(&tries, |one| {
        let mut arguments = client_options(command, &one.interfaces);
        arguments.extend(one.connect.iter().map(|it| format!("--connect={it}")));
        arguments.push("--rehearsal".to_owned());
        client::run(program, &arguments, wait)
    })?;
    let mut fetched = None;
    let mut failed = Vec::new();
    for (one, outcome) in tries.iter().zip(outcomes) {
        let ClientRun {
            password,
            answer,
            mut other_lines,
        } = outcome;
        let from = &one.label;
        match password.zip(answer) {
            Some((password, answer)) => {
                let (at, key) = (answer.at, answer.key);
                let message =
                    format!("from {from}: {at} with the key {key} gives this machine its password");
                report.good("server", message);
                if answer.terms.alarm {
                    report.doubtful("server", ALARMED, Some(ALLOW.to_owned()));
                }
                let terms = Some(answer.terms);
                fetched.get_or_insert(Fetched { password, terms });
            }
            None if other_lines.is_empty() => {
                other_lines.push(format!("no server was found within {} s", options.wait));
                failed.push((one, other_lines));
            }
            None => failed.push((one, other_lines)),
        }
    }
    report_failures(&failed, fetched.is_some(), options.stock_server, report);
    if fetched.is_none() && options.stock_server {
        return Ok(by_stock_server(program, command, &failed, wait, report));
    }
    Ok(fetched)
}

/// With servers that are named, each by itself: the way to it is the kernel's choice.
fn tries(
    network: &BootNetwork,
    targets: &[Target],
    usable: &[UsableInterface],
) -> Vec<RehearsalAttempt> {
    let names: Vec<String> = usable.iter().map(|one| one.running.clone()).collect();
    if targets.is_empty() {
        let one = |name: String| RehearsalAttempt {
            label: name.clone(),
            interfaces: name,
            connect: None,
        };
        return names.into_iter().map(one).collect();
    }
    let one = |target: &Target| RehearsalAttempt {
        label: format!("here, by connecting to {target}"),
        interfaces: names.join(","),
        connect: Some(network.now(target)),
    };
    targets.iter().map(one).collect()
}

/// All tries side by side.
fn all(
    tries: &[RehearsalAttempt],
    run: impl Fn(&RehearsalAttempt) -> ClientRun + Sync,
) -> Result<Vec<ClientRun>, Failure> {
    let run = &run;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = tries
            .iter()
            .map(|one| scope.spawn(move || run(one)))
            .collect();
        running.into_iter().map(|one| one.join()).collect()
    });
    // A fault of ours has told of itself.
    let ended = |_| Failure::new(EX_SOFTWARE, "a rehearsal ended by a fault");
    outcomes
        .into_iter()
        .map(|outcome| outcome.map_err(ended))
        .collect()
}

/// As in the image, but for the network of the running machine, which is there already: nothing is made or taken
/// up, and no hook run.
fn client_options(command: &BootCommand, interfaces: &str) -> Vec<String> {
    let mut options = command.without(&OWN);
    options.extend(
        [
            "--retry=2",
            "--network=/dev/null",
            "--network-hook-dir=/nonexistent",
        ]
        .map(str::to_owned),
    );
    options.push(format!("--interface={interfaces}"));
    options
}

/// Says why tries failed: a fault only where none succeeded, since one server is enough.
fn report_failures(
    failed: &[(&RehearsalAttempt, Vec<String>)],
    enough: bool,
    asks_stock: bool,
    report: &mut Report,
) {
    let lines = failed.iter().flat_map(|(one, lines)| {
        let from = &one.label;
        lines
            .iter()
            .map(move |line| (format!("from {from}: {line}"), line))
    });
    for (message, line) in lines {
        match () {
            () if is_stock(line) && asks_stock => {}
            () if is_stock(line) => {
                let hint =
                    "nightlatch check --stock-server asks it all the same: it writes down a boot, \
                            and gives the machine its extended_timeout"
                        .to_owned();
                report.doubtful("server", message, (!enough).then_some(hint));
            }
            () if enough => report.doubtful("server", message, None),
            () => report.bad("server", message, Some(hint(line).to_owned())),
        }
    }
}

/// The hint for the reason that the server gave.
fn hint(line: &str) -> &'static str {
    match refusal(line) {
        Some("disabled") => "on the server: nightlatch why NAME, nightlatch enable NAME",
        Some("unknown-key") => {
            "the server does not know this machine's key: nightlatch enroll prints a section for it"
        }
        Some("rehearsal-unproved") => {
            "the server did not see this machine up lately; there: nightlatch check-now NAME"
        }
        Some("rehearsal-needs-approval") => {
            "a person has to approve each boot; on the server: nightlatch show NAME"
        }
        Some(_) => "on the server: nightlatch why NAME",
        None => "does the server run, on the same network? here: avahi-browse -rt _mandos._tcp",
    }
}

/// Asks the servers of Mandos that were found, as a boot: the administrator wants it.
fn by_stock_server(
    program: &Path,
    command: &BootCommand,
    failed: &[(&RehearsalAttempt, Vec<String>)],
    wait: Duration,
    report: &mut Report,
) -> Option<Fetched> {
    for (one, lines) in failed {
        for line in lines.iter().filter(|line| is_stock(line)) {
            let Some((address, _)) = line.split_once(": ") else {
                continue;
            };
            let mut arguments = client_options(command, &one.interfaces);
            arguments.push(format!("--connect={address}"));
            let outcome = client::run(program, &arguments, wait);
            let from = &one.label;
            if let Some(password) = outcome.password {
                let message = format!(
                    "from {from}: {address}, a server of Mandos, gives this machine its password"
                );
                report.good("server", message);
                let terms = None;
                return Some(Fetched { password, terms });
            }
            let why = outcome.other_lines.last().cloned();
            let why = why.unwrap_or_else(|| format!("{address}: it does not answer"));
            let hint = "on the server: mandos-ctl --verbose".to_owned();
            report.bad("server", format!("from {from}: {why}"), Some(hint));
        }
    }
    None
}
