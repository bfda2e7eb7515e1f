//! `nightlatch check-now`: runs the checkers of machines at once, and shows their results.

use std::collections::HashMap;

use clap::Args;
use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_bus::signal::{ServerSignal, SignalStream};
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_NOUSER, Failure, note};
use nightlatch_console::output::table::visible;
use nightlatch_console::output::{self, Style};
use serde::Serialize;

use super::outcome;
use super::outcome::ConfirmOptions;
use crate::select::SelectOptions;
use crate::select::Selection;
use crate::{bus, proof};

/// The options of `check-now`.
#[derive(Args, Debug)]
pub struct CheckNowOptions {
    #[command(flatten)]
    pub(crate) which: SelectOptions,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,

    /// Start the checks, and do not wait for what they say
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// The exit status when a machine does not answer.
const FAILED: u8 = 1;

/// One machine's line in JSON.
#[derive(Serialize)]
struct CheckLine<'c> {
    client: &'c str,
    alive: bool,
    exit_status: Option<u8>,
    signal: Option<u8>,
    command: &'c str,
}

/// The end of a check.
#[derive(Debug)]
struct CheckEnd {
    status: CheckStatus,
    signal: Option<u8>,
    command: String,
}

/// Carries the verb out.
pub(crate) async fn run(options: &CheckNowOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let mut signals = server.signals().await.map_err(bus::failure)?;
    let clients = signals.snapshot().await.map_err(bus::failure)?;
    let mut selection = Selection::of(&clients, &options.which)?;
    if !selection.by_name {
        leave_out_agents(&mut selection);
        if selection.clients.is_empty() {
            return Ok(0);
        }
    }
    let what = format!("check {}", selection.all_names());
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    if !selection.by_name && selection.clients.len() > 1 {
        ask::confirm(&what, options.sure.yes)?;
    }
    let call = |client: &&ClientView| start(server.clone(), client.path.clone());
    let answers = concurrent::for_each(&selection.clients, call).await;
    if options.no_wait || answers.iter().any(Result::is_err) {
        let clients = &selection.clients;
        return outcome::print("started to check", clients, answers, &options.sure);
    }
    let ended = collect(&mut signals, &selection.clients).await?;
    print_results(&selection.clients, &ended, options.sure.json)
}

/// Leaves out the machines with an agent, for which no checker runs. Only where a pattern or `--all` chose them.
fn leave_out_agents(selection: &mut Selection<'_>) {
    let all = selection.clients.len();
    selection.clients.retain(|client| !client.has_agent());
    match all - selection.clients.len() {
        0 => {}
        1 => note("1 machine is left out: its agent is its proof of life"),
        count => note(format_args!(
            "{count} machines are left out: their agents are their proof of life"
        )),
    }
}

async fn start(server: MandosProxy, client: ClientPath) -> Result<(), BusError> {
    let running = PropertyValue::Boolean(true);
    server
        .set(&client, Property::CheckerRunning, &running)
        .await
}

/// Waits until every check has ended. The server ends a checker after the client's timeout.
async fn collect(
    signals: &mut SignalStream,
    clients: &[&ClientView],
) -> Result<HashMap<ClientPath, CheckEnd>, Failure> {
    let mut ended = HashMap::new();
    let is_missing = |ended: &HashMap<ClientPath, CheckEnd>, path: &ClientPath| {
        clients.iter().any(|client| client.path == *path) && !ended.contains_key(path)
    };
    while ended.len() < clients.len() {
        match signals.next().await {
            Some(ServerSignal::CheckerCompleted {
                client,
                status,
                signal,
                command,
            }) if is_missing(&ended, &client) => {
                let end = CheckEnd {
                    status,
                    signal,
                    command,
                };
                ended.insert(client, end);
            }
            Some(ServerSignal::Removed(path)) if is_missing(&ended, &path) => {
                let gone = format!("{path} was removed while it was checked");
                return Err(Failure::new(EX_NOUSER, gone));
            }
            Some(ServerSignal::ServerGone) | None => {
                return Err(bus::failure(BusError::ServerGone));
            }
            Some(_) => {}
        }
    }
    Ok(ended)
}

fn print_results(
    clients: &[&ClientView],
    ended: &HashMap<ClientPath, CheckEnd>,
    json: bool,
) -> Result<u8, Failure> {
    let pairs = || {
        clients
            .iter()
            .filter_map(|client| Some((*client, ended.get(&client.path)?)))
    };
    let alive = |end: &CheckEnd| end.status == CheckStatus::Exited(0);
    if json {
        let lines = pairs().map(|(client, end)| CheckLine {
            client: &client.name,
            alive: alive(end),
            exit_status: match end.status {
                CheckStatus::Exited(status) => Some(status),
                CheckStatus::Never | CheckStatus::Crashed => None,
            },
            signal: end.signal,
            command: &end.command,
        });
        output::print(&output::json::text(&lines.collect::<Vec<_>>())?)?;
    } else {
        let coloured = output::coloured();
        let lines = pairs().map(|(client, end)| line(client, end, coloured));
        output::print(&lines.collect::<String>())?;
        if let Some(warning) = proof::warning(clients.iter().copied()) {
            note(warning);
        }
    }
    Ok(if pairs().all(|(_, end)| alive(end)) {
        0
    } else {
        FAILED
    })
}

fn line(client: &ClientView, end: &CheckEnd, coloured: bool) -> String {
    let name = visible(&client.name);
    let why = match (end.status, end.signal) {
        (CheckStatus::Exited(0), _) => {
            return format!("{name}: {}\n", Style::Good.paint("alive", coloured));
        }
        (CheckStatus::Exited(status), _) => format!("exit status {status}"),
        (_, Some(signal)) => format!("killed by signal {signal}"),
        (_, None) => "killed".to_owned(),
    };
    let bad = Style::Bad.paint("no proof of life", coloured);
    format!("{name}: {bad} ({why}): {}\n", visible(&end.command))
}
