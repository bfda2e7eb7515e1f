//! A boot client under test, ours or stock: told where its server is, or searching for it on a host.

use std::process::{Command, Output};

use crate::machine::Machine;
use crate::netns::Host;
use crate::process::Running;
use crate::programs::{Whose, boot_client, mandos_client};

/// A client that wants `machine`'s password.
pub fn command(whose: Whose, machine: &Machine) -> Command {
    let mut command = match whose {
        Whose::Ours => {
            let mut command = Command::new(boot_client());
            command.arg("client");
            command
        }
        Whose::Stock => Command::new(mandos_client()),
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
pub fn start(whose: Whose, machine: &Machine, address: &str) -> Running {
    let mut command = command(whose, machine);
    command.args(["--interface", "none", "--connect", address]);
    Running::start(
        &format!("{whose:?} client of {}", machine.name),
        &mut command,
    )
}

/// Runs a client to its end: the password is on its standard output.
pub fn fetch(whose: Whose, machine: &Machine, address: &str) -> Output {
    start(whose, machine, address).finish()
}

/// Starts a client on `host` that finds its server by itself. `options` may name interfaces;
/// without, it takes all that suit.
pub fn search(whose: Whose, machine: &Machine, host: &Host, options: &[&str]) -> Running {
    let mut command = host.inside(&command(whose, machine));
    command.args(options);
    let name = format!("{whose:?} client of {}", machine.name);
    Running::start(&name, &mut command)
}
