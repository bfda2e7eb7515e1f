//! Real guests with encrypted disks, booted in an emulator: does the password reach the disk?
//!
//! Every guard ends what it started and removes what it made when it is dropped; the namespaces of
//! [`namespaces`] do the rest.
#![forbid(unsafe_code)]

pub mod booted;
pub mod chroot;
pub mod cli;
pub mod console;
pub mod dhcp;
pub mod guest;
pub mod images;
pub mod lan;
pub mod making;
pub mod measurements;
pub mod namespaces;
pub mod paths;
pub mod runner;
pub mod scenario;
pub mod scenarios;
pub mod server;
pub mod thief;

use std::process::ExitCode;

/// The program: plays what is asked for. Status 1 when a scenario failed, 64 when none has such a name, 69
/// when guests cannot be booted here.
pub fn run(arguments: &cli::BootTestArguments) -> ExitCode {
    let chosen = scenario::choose(arguments);
    if chosen.is_empty() {
        eprintln!("boot-test: no scenario is called so; --list shows which there are");
        return ExitCode::from(64);
    }
    if arguments.list {
        for scenario in chosen {
            println!("{:<36} {}", scenario.name, scenario.description);
        }
        return ExitCode::SUCCESS;
    }
    match namespaces::run() {
        Ok(None) => {}
        // Without a code: it was ended by a signal, as when this process is.
        Ok(Some(ended)) => {
            let code = ended.code().and_then(|code| u8::try_from(code).ok());
            return ExitCode::from(code.unwrap_or(1));
        }
        Err(error) => {
            eprintln!("boot-test: {error}");
            return ExitCode::from(69);
        }
    }
    if runner::play(arguments, &chosen) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The last lines of what a console or a program said.
pub(crate) fn tail(said: &[u8], lines: usize) -> String {
    let said = String::from_utf8_lossy(said).replace('\r', "");
    let all: Vec<&str> = said.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
