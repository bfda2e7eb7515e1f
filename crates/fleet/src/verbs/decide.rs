//! `approve` and `deny`: what a person decides on the requests that wait.
//!
//! Our server tells them apart, and an approval is for one of them. A stock server knows clients only.

use std::fmt::Write as _;

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::own::PendingRequest;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Failure, note, warn};
use nightlatch_console::output::human;
use nightlatch_console::output::table::visible;
use nightlatch_core::explanation::how_many_are_its_own;
use nightlatch_core::name::shell_word;
use nightlatch_core::time::Wall;

use super::outcome;
use super::outcome::ConfirmOptions;
use crate::bus;
use crate::guard;
use crate::select::SelectOptions;
use crate::select::{Selection, names};

/// `approve` and `deny`.
#[derive(Args, Debug)]
pub struct DecideOptions {
    #[command(flatten)]
    pub(crate) which: SelectOptions,

    /// Decide on the request of this number alone
    #[arg(short, long, value_name = "NUMBER", conflicts_with = "all")]
    pub(crate) request: Option<u64>,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,
}

const fn verb(approve: bool) -> &'static str {
    if approve { "approve" } else { "deny" }
}

const fn done(approve: bool) -> &'static str {
    if approve { "approved" } else { "denied" }
}

/// Carries the verb out.
pub(crate) async fn run(
    approve: bool,
    options: &DecideOptions,
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    let mut selection = Selection::of(&clients, &options.which)?;
    let requests = match server.requests(None).await {
        Ok(requests) => Some(requests),
        Err(BusError::NotSupported) => None,
        Err(error) => return Err(bus::failure(error)),
    };
    if let Some(number) = options.request {
        let Some(requests) = &requests else {
            let what = "this server does not number its requests: it is a Mandos server";
            return Err(Failure::new(EX_UNAVAILABLE, what));
        };
        return one(approve, number, options, &selection, requests, server, now).await;
    }
    // Whom a pattern catches is not let in, nor does a denial of somebody else go, without a request.
    if approve && !selection.by_name {
        selection.clients.retain(|client| client.request_waits());
        if selection.clients.is_empty() {
            note("no request waits");
            return Ok(0);
        }
    }
    let what = format!("{} {}", verb(approve), selection.all_names());
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    if !selection.by_name && selection.clients.len() > 1 {
        ask::confirm(&what, options.sure.yes)?;
    }
    if approve {
        warn_of_suspects(&selection.clients);
    }
    explain_early(approve, &selection.clients, requests.is_some());
    let call = |client: &&ClientView| {
        let waiting = requests.as_deref().map(|all| of(client, all));
        decide(approve, server.clone(), (*client).clone(), waiting, now)
    };
    let answers = concurrent::for_each(&selection.clients, call).await;
    outcome::print(done(approve), &selection.clients, answers, &options.sure)
}

/// The requests of a client among `all`.
fn of(client: &ClientView, all: &[PendingRequest]) -> Vec<PendingRequest> {
    let own = all.iter().filter(|request| request.client == client.name);
    own.cloned().collect()
}

/// Decides on what waits of one client: the one request that was listed, and no other.
async fn decide(
    approve: bool,
    server: MandosProxy,
    client: ClientView,
    waiting: Option<Vec<PendingRequest>>,
    now: Wall,
) -> Result<(), BusError> {
    match waiting.as_deref() {
        Some([only]) if approve => {
            server.decide(only.number, true).await?;
            note(format_args!("{}: request {}", client.name, line(only, now)));
            Ok(())
        }
        Some(several @ [_, _, ..]) => Err(BusError::SeveralRequests(list(approve, several, now))),
        Some(_) if approve => {
            // It says that nothing waits, unless a denial is why.
            server.approve(&client.path, true).await?;
            note(format_args!(
                "{}: its denial was lifted; nothing was approved, and the next request waits",
                client.name
            ));
            Ok(())
        }
        Some(_) | None => server.approve(&client.path, approve).await,
    }
}

/// Decides on the request that was named by its number.
async fn one(
    approve: bool,
    number: u64,
    options: &DecideOptions,
    selection: &Selection<'_>,
    requests: &[PendingRequest],
    server: &MandosProxy,
    now: Wall,
) -> Result<u8, Failure> {
    let [client] = selection.clients[..] else {
        return Err(Failure::new(
            EX_USAGE,
            "--request is about one machine: name it",
        ));
    };
    let waiting = of(client, requests);
    let Some(request) = waiting.iter().find(|request| request.number == number) else {
        let waiting_requests = match &waiting[..] {
            [] => "it has none that waits".to_owned(),
            waiting => list(approve, waiting, now),
        };
        let what = format!(
            "no request {number} of {} waits: {waiting_requests}",
            client.name
        );
        return Err(Failure::new(EX_TEMPFAIL, what)
            .hint("a machine that comes back is a new request with a new number"));
    };
    let what = format!("{} request {}", verb(approve), line(request, now));
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    let answer = server.decide(number, approve).await;
    if answer.is_ok() {
        note(format_args!(
            "{}: request {}",
            client.name,
            line(request, now)
        ));
    }
    outcome::print(done(approve), &[client], vec![answer], &options.sure)
}

/// One line of text: number, address, age and boot, and the secret unless it is the boot secret.
fn line(request: &PendingRequest, now: Wall) -> String {
    let boot = match &request.boot {
        Some(boot) => format!("boot {}", visible(boot)),
        None => "boot unknown".to_owned(),
    };
    let secret = match &request.secret {
        Some(name) => format!(", for the secret {}", visible(name)),
        None => String::new(),
    };
    format!(
        "{} from {}, {}, {boot}{secret}",
        request.number,
        visible(&request.peer),
        human::ago(Some(request.since), now)
    )
}

/// Several requests, and the commands that decide on each.
fn list(approve: bool, requests: &[PendingRequest], now: Wall) -> String {
    let mut text = match requests.len() {
        1 => "this one does".to_owned(),
        count => {
            let named = requests.iter().filter(|it| it.secret.is_some()).count();
            let own = how_many_are_its_own(count, named);
            format!("{count} requests with its keys are pending{own}")
        }
    };
    for request in requests {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n  {}\n      nightlatch {} --request {} {}",
            line(request, now),
            verb(approve),
            request.number,
            shell_word(&request.client)
        );
    }
    text
}

/// Says of whom somebody else may have the key: whoever approves should know whose request it is.
fn warn_of_suspects(clients: &[&ClientView]) {
    for client in clients {
        if let Some(reason) = client.guard.suspect {
            let (name, why) = (visible(&client.name), guard::suspicion(reason));
            warn(format_args!("{name} is suspect, {why}"));
        }
    }
}

/// Says whose request does not wait, which surprises: a denial counts all the same, an approval does at a
/// stock server only.
fn explain_early(approve: bool, clients: &[&ClientView], ours: bool) {
    if approve && ours {
        return;
    }
    let early = clients.iter().filter(|client| !client.request_waits());
    let early: Vec<&&ClientView> = early.collect();
    if early.is_empty() {
        return;
    }
    let mut lengths: Vec<_> = early
        .iter()
        .map(|client| client.approval_duration)
        .collect();
    lengths.sort();
    lengths.dedup();
    let length = match lengths[..] {
        [length] => human::setting(length),
        _ => "its approval_duration".to_owned(),
    };
    let who = names(early.iter().map(|client| client.name.as_str()));
    let verb = if early.len() == 1 { "has" } else { "have" };
    note(format_args!(
        "{who} {verb} no request that waits: the decision counts for one within {length}"
    ));
}
