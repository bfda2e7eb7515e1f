//! nightlatch: the administrator's one command. Parses the command line and calls the crate of its subject.
//!
//! What a verb makes goes to standard output; questions go to the terminal, everything else to
//! standard error. No secret ever stands in an argument, in the environment or in a message.
#![forbid(unsafe_code)]

mod cli;
mod completions;
mod external;
mod keys;
mod program_name;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use nightlatch_bus::block_on;
use nightlatch_console::exit;
use nightlatch_console::failure::Failure;
use nightlatch_fleet::verbs::{self, check_config};
use nightlatch_fleet::{ctl, monitor, rehearsals};
use nightlatch_machine::{check, enroll, get, image, keygen, network};
use nightlatch_secrets::admin_key;

use cli::{Cli, Verb};
use keys::MachineKeys;
use program_name::ProgramArguments;

/// Runs the command line `arguments`, the program's name first, and says how it ended (sysexits.h).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match ProgramArguments::by_name(arguments) {
        ProgramArguments::Ctl(arguments) => return ExitCode::from(ctl::run(arguments)),
        ProgramArguments::Command(arguments) => arguments,
    };
    if let Some(failure) = external::run(&arguments) {
        failure.report();
        return ExitCode::from(failure.exit());
    }
    let command = external::add_installed(Cli::command());
    let parsed = command.try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return exit::unread(&error),
    };
    // Where the system forbids it, keys and passwords are no worse off than in any other program.
    let _ = nightlatch_sys::memory::forbid_core_dumps();
    exit::ended(dispatch(cli.verb))
}

/// The command line's definition, for who describes it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Carries the verb out; gives the exit status.
fn dispatch(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Keygen(options) => keygen::run(&options).map(|()| 0),
        Verb::Enroll(options) => enroll::run(&options).map(|()| 0),
        Verb::Rotate(options) => enroll::rotate(&options).map(|()| 0),
        Verb::Unenroll(options) => enroll::unenroll(&options).map(|()| 0),
        Verb::Get(options) => get::run(&options),
        Verb::Monitor(options) => monitor::run(&options).map(|()| 0),
        Verb::ImportMandos(options) => nightlatch_import::run(&options, &MachineKeys).map(|()| 0),
        Verb::Check(options) if options.fleet.all => {
            block_on(rehearsals::run(&options.fleet, options.machine.json))
        }
        Verb::Check(options) => check::run(&options.machine),
        Verb::Image(options) => image::run(&options).map(|()| 0),
        Verb::Network(options) => network::run(&options).map(|()| 0),
        Verb::Secret(options) => nightlatch_secrets::run(&options),
        Verb::AdminKey(options) => admin_key::run(&options),
        Verb::Ctl(options) => Ok(ctl::run(options.arguments)),
        Verb::CheckConfig(options) => check_config::run(&options),
        Verb::Completions(options) => completions::script(&options),
        Verb::Complete(options) => block_on(completions::complete(&options)),
        Verb::Server(verb) => verbs::run(verb),
    }
}
