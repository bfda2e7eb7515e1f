//! nightlatch: the administrator's one command. One module per verb, and what they share.
//!
//! What a verb makes goes to standard output; questions go to the terminal, everything else to
//! standard error. No secret ever stands in an argument, in the environment or in a message.
#![forbid(unsafe_code)]

mod ask;
mod boot_command;
mod bus;
mod called;
pub mod check;
mod cli;
mod completions;
mod ctl;
mod enroll;
mod expiry;
mod failure;
mod image;
pub mod import;
mod keygen;
mod keys;
mod monitor;
mod network;
mod output;
mod passphrase;
mod proof;
mod secret_file;
mod section;
mod select;
mod ssh;
mod state;
mod verbs;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nightlatch_bus::block_on;
use nightlatch_sys::clock;

use called::Called;
use cli::clients::Call;
use cli::{Cli, Verb};
use failure::{EX_USAGE, Failure};
use verbs::change::Deed;
use verbs::{
    add, change, check_config, check_now, decide, list, log, rehearsal, reload, set, show, wait,
    why,
};

/// Runs the command line `arguments`, the program's name first, and says how it ended (sysexits.h).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Called::by(arguments) {
        Called::Ctl(arguments) => return ExitCode::from(ctl::run(arguments)),
        Called::Command(arguments) => arguments,
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are what was asked for; clap knows which stream and which colour.
            let printed = error.print();
            return ExitCode::from(match printed.map_err(output::failure) {
                _ if error.use_stderr() => EX_USAGE,
                Ok(()) => 0,
                Err(failure) => {
                    failure.report();
                    failure.exit()
                }
            });
        }
    };
    // Where the system forbids it, keys and passwords are no worse off than in any other program.
    let _ = nightlatch_sys::memory::forbid_core_dumps();
    match dispatch(cli.verb) {
        Ok(status) => ExitCode::from(status),
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

/// Carries the verb out; gives the exit status.
fn dispatch(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Keygen(options) => keygen::run(&options).map(|()| 0),
        Verb::Enroll(options) => enroll::run(&options).map(|()| 0),
        Verb::Rotate(options) => enroll::rotate(&options).map(|()| 0),
        Verb::Unenroll(options) => enroll::unenroll(&options).map(|()| 0),
        Verb::Monitor(options) => monitor::run(&options).map(|()| 0),
        Verb::ImportMandos(options) => import::run(&options).map(|()| 0),
        Verb::Check(options) => check::run(&options),
        Verb::Image(options) => image::run(&options).map(|()| 0),
        Verb::Network(options) => network::run(&options).map(|()| 0),
        Verb::Ctl(options) => Ok(ctl::run(options.arguments)),
        Verb::CheckConfig(options) => check_config::run(&options),
        Verb::Completions(options) => completions::script(&options),
        Verb::Complete(options) => block_on(completions::complete(&options)),
        Verb::Call(verb) => block_on(call(verb)),
    }
}

/// Carries out a verb that calls a server.
async fn call(verb: Call) -> Result<u8, Failure> {
    let server = &bus::connect().await?;
    let now = clock::now().wall;
    match verb {
        Call::List(options) => list::run(&options, server, now).await,
        Call::Show(options) => show::run(&options, server, now).await,
        Call::Enable(options) => change::run(Deed::Enable, &options, server).await,
        Call::Disable(options) => change::run(Deed::Disable, &options, server).await,
        Call::Approve(options) => decide::run(true, &options, server, now).await,
        Call::Deny(options) => decide::run(false, &options, server, now).await,
        Call::Rehearsal(options) => rehearsal::run(&options, server).await,
        Call::Remove(options) => change::run(Deed::Remove, &options, server).await,
        Call::Add(options) => add::run(&options, server).await,
        Call::Set(options) => set::run(&options, server).await,
        Call::Reload(options) => reload::run(&options, server).await,
        Call::CheckNow(options) => check_now::run(&options, server).await,
        Call::Wait(options) => wait::run(&options, server).await,
        Call::Log(options) => log::run(&options, server, now).await,
        Call::Why(options) => why::run(&options, server, now).await,
    }
}
