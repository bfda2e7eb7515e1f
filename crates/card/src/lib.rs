//! nightlatch-card: an SSH agent on an OpenPGP card, for machines without people, and the commands that unlock it and ask for its
//! state (docs/decisions/0190).
//!
//! The agent keeps the PIN in its locked memory. It stands in no argument, environment, log or file; on its way it crosses the
//! control socket and the memory of pcscd.
#![forbid(unsafe_code)]

mod access;
mod admission;
pub mod agent_protocol;
mod apdu;
mod authorized_line;
pub mod binds;
mod board;
mod card_data;
mod card_lock;
mod cli;
mod commands;
mod control;
mod control_service;
mod doctor;
mod host_rules;
mod kdf;
mod key;
mod known_hosts_files;
mod log;
mod named_card;
mod pcsc_readers;
mod pcscd_access;
mod pin_text;
mod policy;
pub mod purpose;
mod refused_pins;
mod repeats;
mod report;
mod service;
mod session;
#[cfg(test)]
mod simulated;
mod slots;
mod sockets;
mod start;
mod tlv;
mod transport;
mod usual_hosts;
mod usual_hosts_file;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use nightlatch_console::exit;
use nightlatch_console::failure::Failure;

use cli::{CardVerb, Cli};

/// Runs the command line `arguments`, the program's name first, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => exit::ended(dispatch(&cli.verb)),
        Err(error) => exit::unread(&error),
    }
}

/// The command line's definition, for the manual page.
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(verb: &CardVerb) -> Result<u8, Failure> {
    match verb {
        CardVerb::Agent(options) => start::run(options),
        CardVerb::Unlock(options) => commands::unlock(options),
        CardVerb::Lock(options) => commands::lock(options),
        CardVerb::Status(options) => commands::status(options),
        CardVerb::Check(options) => commands::check(options),
        CardVerb::Exec(options) => commands::exec(options),
        CardVerb::Pubkey(options) => commands::pubkey(options),
        CardVerb::Doctor(options) => doctor::doctor(options),
    }
}
