//! `approve` and `deny`: a person's decision on requests that wait.
//!
//! At our server an approval is for one request. By a pattern or `--all` it is for the request of a boot, and never for one
//! for a named secret. A stock server does not tell requests apart.

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

/// Approves or denies; `approve` says which.
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
    let boots_only = approve && !selection.by_name;
    if boots_only {
        let named = keep_boots(&mut selection.clients);
        match &named[..] {
            [] if selection.clients.is_empty() => note("no request waits"),
            [] => {}
            named => note_named(named),
        }
        if selection.clients.is_empty() {
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
        let mut waiting = requests.as_deref().map(|all| of(client, all));
        if let Some(waiting) = waiting.as_mut().filter(|_| boots_only) {
            waiting.retain(|request| request.secret.is_none());
        }
        let is_over = boots_only && waiting.as_ref().is_some_and(Vec::is_empty);
        let (server, client) = (server.clone(), (*client).clone());
        async move {
            match is_over {
                // Without a request an approval lifts a denial, which may be the one that ended it.
                true => Err(BusError::NoRequest(
                    "its request ended meanwhile".to_owned(),
                )),
                false => decide(approve, server, client, waiting, now).await,
            }
        }
    };
    let answers = concurrent::for_each(&selection.clients, call).await;
    outcome::print(done(approve), &selection.clients, answers, &options.sure)
}

/// The requests of a client among `all`.
fn of(client: &ClientView, all: &[PendingRequest]) -> Vec<PendingRequest> {
    let own = all.iter().filter(|request| request.client == client.name);
    own.cloned().collect()
}

/// Leaves only the clients with a boot that waits: a pattern must not lift the denial of another one. Returns the names of
/// those with requests for named secrets, which only a name approves.
fn keep_boots(clients: &mut Vec<&ClientView>) -> Vec<String> {
    let named = clients.iter().filter(|client| client.waits_for_named());
    let named = named.map(|client| client.name.clone()).collect();
    clients.retain(|client| client.approval_pending);
    named
}

/// Notes that requests for named secrets of the clients `named` wait, and are not approved.
fn note_named(named: &[String]) {
    let clients = names(named.iter().map(String::as_str));
    note(format_args!(
        "requests for named secrets wait, and stay: {clients}. Each is approved by the name of its machine: nightlatch \
         approve NAME"
    ));
}

/// Decides on the waiting requests of one client: approves the only one of `waiting`, or denies all.
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
            // The server answers that nothing waits, unless a denial counts: then it lifts that.
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

/// Warns of clients that are suspect: the request may come from somebody else who has the key.
fn warn_of_suspects(clients: &[&ClientView]) {
    for client in clients {
        if let Some(reason) = client.guard.suspect {
            let (name, why) = (visible(&client.name), guard::suspicion(reason));
            warn(format_args!("{name} is suspect, {why}"));
        }
    }
}

/// Notes the clients without a waiting request. A denial counts for their next requests; an approval does so at a stock
/// server only.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::client;

    #[test]
    fn a_pattern_chooses_boots_and_tells_of_named_secrets() {
        let [none, mut boot, mut named, mut both] = ["none", "boot", "named", "both"].map(client);
        for client in [&mut boot, &mut both] {
            client.approval_pending = true;
        }
        for client in [&mut named, &mut both] {
            client.guard.waiting_secrets = "card.pin".to_owned();
        }
        let mut clients = vec![&none, &boot, &named, &both];
        assert_eq!(keep_boots(&mut clients), ["named", "both"]);
        assert_eq!(clients, [&boot, &both]);
    }
}
