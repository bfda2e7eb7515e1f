//! nightlatch: the administrator's one command. One module per verb, and what they share.
//!
//! What a verb makes goes to standard output; questions go to the terminal, everything else to
//! standard error. No secret ever stands in an argument, in the environment or in a message.
#![forbid(unsafe_code)]

mod cli;
mod enroll;
mod expiry;
mod failure;
pub mod import;
mod keygen;
mod keys;
mod passphrase;
mod section;
mod ssh;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Verb};
use failure::{EX_USAGE, Failure};

/// Runs the command line `arguments`, the program's name first, and says how it ended (sysexits.h).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are what was asked for; clap knows which stream and which colour.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    // Where the system forbids it, keys and passwords are no worse off than in any other program.
    let _ = nightlatch_sys::memory::forbid_core_dumps();
    match dispatch(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit())
        }
    }
}

/// The command line's definition, for who describes it.
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Keygen(options) => keygen::run(&options),
        Verb::Enroll(options) => enroll::run(&options),
        Verb::ImportMandos(options) => import::run(&options),
    }
}
