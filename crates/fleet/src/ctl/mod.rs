//! `nightlatch ctl`, and this program under the name `mandos-ctl`: the grammar, the table, the JSON and
//! the exit statuses of mandos-ctl(8), for the scripts that were written for it.
//!
//! New things have verbs of their own; nothing is added here.

use std::ffi::OsString;

use nightlatch_bus::block_on;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::Failure;
use nightlatch_console::output;

use crate::bus;

mod command;
mod help;
mod json;
mod options;
mod selftest;
mod table;

use command::{CtlCommand, Selected};
use options::{CtlAction, Options, Show};

/// Exit status of mandos-ctl after a failure.
const FAILED: u8 = 1;
/// Exit status of Python's argparse for a wrong command line.
const USAGE: u8 = 2;

/// Carries out the command line after the program's name; gives the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let done = match options::parse(arguments) {
        Ok(CtlAction::Help) => output::print(help::HELP).map(|()| 0),
        Ok(CtlAction::Version) => output::print(&help::version()).map(|()| 0),
        Ok(CtlAction::SelfTest) => selftest::run(),
        Ok(CtlAction::Run(options)) => block_on(carry_out(options)),
        Err(error) => Err(Failure::new(USAGE, error.to_string())),
    };
    done.unwrap_or_else(|failure| {
        if failure.exit() != USAGE {
            failure.report();
            return FAILED;
        }
        output::complain(&format!(
            "{}\nnightlatch ctl: error: {failure}\n",
            help::USAGE
        ));
        USAGE
    })
}

/// Every long option, with its dashes.
pub fn long_options() -> impl Iterator<Item = String> {
    options::long_names().map(|name| format!("--{name}"))
}

async fn carry_out(options: Options) -> Result<u8, Failure> {
    let debug = options.debug;
    let log = move |call: &str| {
        if debug {
            output::complain(&format!("D-Bus: {call}\n"));
        }
    };
    log("se.recompile.Mandos:/:org.freedesktop.DBus.ObjectManager.GetManagedObjects()");
    let server = MandosProxy::connect().await.map_err(bus::failure)?;
    let clients = server.clients().await.map_err(bus::failure)?;
    let chosen = choose(&clients, &options.clients)?;
    match options.show {
        Show::Nothing => carry_out_commands(&server, options.commands, &chosen, &log).await,
        Show::Table => output::print(&table::table(&chosen, table::SHORT)).map(|()| 0),
        Show::WideTable => output::print(&table::table(&chosen, &table::ALL)).map(|()| 0),
        Show::Json => output::print(&json::dump(&chosen)).map(|()| 0),
    }
}

/// The named clients in the order in which they are first named; all without names.
fn choose<'c>(clients: &'c [ClientView], names: &[String]) -> Result<Vec<&'c ClientView>, Failure> {
    if names.is_empty() {
        return Ok(clients.iter().collect());
    }
    let mut chosen: Vec<&ClientView> = Vec::with_capacity(names.len());
    for name in names {
        let Some(client) = clients.iter().find(|client| client.name == *name) else {
            let what = format!("Client not found on server: '{name}'");
            return Err(Failure::new(FAILED, what));
        };
        if !chosen.iter().any(|already| already.name == *name) {
            chosen.push(client);
        }
    }
    Ok(chosen)
}

/// One command after the other, each for all clients. `--is-enabled` ends it with its answer.
async fn carry_out_commands(
    server: &MandosProxy,
    commands: Vec<CtlCommand>,
    chosen: &[&ClientView],
    log: &impl Fn(&str),
) -> Result<u8, Failure> {
    for command in commands {
        if matches!(command, CtlCommand::IsEnabled) {
            let enabled = chosen.first().is_some_and(|client| client.enabled);
            return Ok(if enabled { 0 } else { FAILED });
        }
        chosen.iter().for_each(|client| log(&command.call(client)));
        let answers = command.carry_out(server, Selected(chosen)).await;
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            return Err(bus::failure(error));
        }
    }
    Ok(0)
}
