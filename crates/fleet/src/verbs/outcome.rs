//! Prints the results of an order for several clients, in the same way for all verbs.

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::error::BusError;
use nightlatch_console::failure::{Failure, note};
use nightlatch_console::output;
use serde::Serialize;

use crate::bus;
use crate::select::names;

/// Confirmation and output of verbs that change clients.
#[derive(Args, Debug, Default)]
pub(crate) struct ConfirmOptions {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Tell the outcome in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One client's line in JSON.
#[derive(Serialize)]
struct OutcomeLine<'c> {
    client: &'c str,
    done: bool,
    error: Option<String>,
}

/// Prints the clients for which the order was carried out, after `done` (as `disabled`), and the failures of the others.
/// Gives the exit status: that of the first failure.
pub(super) fn print(
    done: &str,
    clients: &[&ClientView],
    answers: Vec<Result<(), BusError>>,
    sure: &ConfirmOptions,
) -> Result<u8, Failure> {
    let failures = answers.into_iter();
    let failures = failures.map(|answer| answer.err().map(bus::failure));
    let names: Vec<&str> = clients.iter().map(|it| it.name.as_str()).collect();
    print_failures(done, &names, failures.collect(), sure)
}

/// As [`print()`], with the name and the failure of each client.
pub(super) fn print_failures(
    done: &str,
    clients: &[&str],
    failures: Vec<Option<Failure>>,
    sure: &ConfirmOptions,
) -> Result<u8, Failure> {
    let pairs = || clients.iter().copied().zip(&failures);
    if sure.json {
        let lines = pairs().map(|(client, failure)| OutcomeLine {
            client,
            done: failure.is_none(),
            error: failure.as_ref().map(Failure::to_string),
        });
        output::print(&output::json::text(&lines.collect::<Vec<_>>())?)?;
    } else {
        let succeeded = pairs().filter(|(_, failure)| failure.is_none());
        let succeeded: Vec<&str> = succeeded.map(|(client, _)| client).collect();
        if !succeeded.is_empty() {
            note(format_args!("{done} {}", names(succeeded.into_iter())));
        }
    }
    let mut status = 0;
    for (client, failure) in clients.iter().zip(failures) {
        if let Some(failure) = failure {
            if status == 0 {
                status = failure.exit();
            }
            failure.about(client).report();
        }
    }
    Ok(status)
}
