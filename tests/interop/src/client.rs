//! A boot client under test, ours or stock: with the address of its server, or searching for it on a host.

use std::process::{Command, Output};

use crate::machine::TestMachine;
use crate::netns::NetnsHost;
use crate::process::RunningProgram;
use crate::programs::{Project, boot_client, mandos_client};

/// A client that wants `machine`'s password.
pub fn command(project: Project, machine: &TestMachine) -> Command {
    let mut command = match project {
        Project::Ours => {
            let mut command = Command::new(boot_client());
            command.arg("client");
            command
        }
        Project::Stock => Command::new(mandos_client()),
    };
    command.args(["--retry", "1", "--network-hook-dir", "/nonexistent"]);
    for (option, file) in [
        ("--pubkey", "pubkey.txt"),
        ("--seckey", "seckey.txt"),
        ("--tls-privkey", "tls-privkey.pem"),
        ("--tls-pubkey", "tls-pubkey.pem"),
    ] {
        command.arg(option).arg(machine.key_file(file));
    }
    command
}

/// Starts a client that connects to `address`.
pub fn start(project: Project, machine: &TestMachine, address: &str) -> RunningProgram {
    let mut command = command(project, machine);
    command.args(["--interface", "none", "--connect", address]);
    RunningProgram::start(
        &format!("{project:?} client of {}", machine.name),
        &mut command,
    )
}

/// Runs a client to its end: the password is on its standard output.
pub fn fetch(project: Project, machine: &TestMachine, address: &str) -> Output {
    start(project, machine, address).finish()
}

/// Starts a client on `host` that finds its server by itself. `options` may name interfaces;
/// without, it takes all that suit.
pub fn search(
    project: Project,
    machine: &TestMachine,
    host: &NetnsHost,
    options: &[&str],
) -> RunningProgram {
    let mut command = host.inside(&command(project, machine));
    command.args(options);
    let name = format!("{project:?} client of {}", machine.name);
    RunningProgram::start(&name, &mut command)
}
