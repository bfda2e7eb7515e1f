//! `nightlatch trust`: a person has looked at machines that were suspect, and trusts them again.

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_UNAVAILABLE, Failure, note, warn};
use nightlatch_console::output::table::visible;
use nightlatch_core::guard::Suspicion;

use super::outcome;
use super::outcome::ConfirmOptions;
use crate::select::{Selection, one};
use crate::{bus, guard};

/// The options of `trust`.
#[derive(Args, Debug)]
pub struct TrustOptions {
    /// Names of clients, no patterns: a person has looked at each
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,
}

/// Carries the verb out.
pub(crate) async fn run(options: &TrustOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    for name in &options.names {
        one(&clients, name)?;
    }
    let mut selection = Selection::named(&clients, &options.names)?;
    if selection.clients.iter().any(|it| it.guard.state.is_none()) {
        let what = "this server has no guard: it is a Mandos server, or an earlier one";
        return Err(Failure::new(EX_UNAVAILABLE, what));
    }
    let what = format!("trust {} again", selection.all_names());
    // In JSON each client that was named has its line.
    selection
        .clients
        .retain(|client| is_suspect(client) || options.sure.json);
    if selection.clients.is_empty() {
        return Ok(0);
    }
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    let known = |it: &&ClientView| it.guard.suspect == Some(Suspicion::ServedImpostor);
    let known: Vec<&str> = selection
        .clients
        .iter()
        .filter(|it| known(it))
        .map(|it| it.name.as_str())
        .collect();
    if !known.is_empty() {
        warn(format_args!(
            "the disk password of {} is known to somebody else, who can open a copy of the disk with it: change it first, \
             on the machine (nightlatch unenroll, then nightlatch enroll)",
            visible(&known.join(", "))
        ));
        ask::confirm(&what, options.sure.yes)?;
    }
    let call = |client: &&ClientView| {
        let (server, name) = (server.clone(), client.name.clone());
        async move { server.trust(&name).await }
    };
    let answers = concurrent::for_each(&selection.clients, call).await;
    outcome::print(
        "trusted again, so that no person has to decide on each request:",
        &selection.clients,
        answers,
        &options.sure,
    )
}

/// Prints the reason for which a client is suspect, or that it is not.
fn is_suspect(client: &ClientView) -> bool {
    let name = visible(&client.name);
    match client.guard.suspect {
        Some(reason) => note(format_args!(
            "{name} is suspect, {}",
            guard::suspicion(reason)
        )),
        None => note(format_args!("{name} is not suspect: nothing is to be done")),
    }
    client.guard.suspect.is_some()
}
