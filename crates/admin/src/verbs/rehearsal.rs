//! `rehearsal`: lets machines rehearse for a while without an alarm.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::proxy::MandosProxy;

use super::outcome;
use crate::cli::clients::Rehearsal;
use crate::failure::{EX_UNAVAILABLE, Failure, note};
use crate::output::human;
use crate::select::Selection;
use crate::{ask, bus};

/// Carries the verb out.
pub(crate) async fn run(options: &Rehearsal, server: &MandosProxy) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    let selection = Selection::of(&clients, &options.which)?;
    let what = match options.time.is_zero() {
        true => format!("end rehearsals of {}", selection.all_names()),
        false => format!(
            "let {} rehearse without an alarm for {}",
            selection.all_names(),
            human::length(options.time)
        ),
    };
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    if !selection.by_name && selection.clients.len() > 1 {
        ask::confirm(&what, &options.sure)?;
    }
    let seconds = options.time.as_secs();
    let call = |client: &&ClientView| {
        let (server, name) = (server.clone(), client.name.clone());
        async move { server.allow_rehearsals(&name, seconds).await }
    };
    let answers = concurrent::for_each(&selection.clients, call).await;
    if answers
        .iter()
        .any(|it| matches!(it, Err(BusError::NotSupported)))
    {
        let what = "this server knows no rehearsals: it is a Mandos server";
        return Err(Failure::new(EX_UNAVAILABLE, what));
    }
    let done = match options.time.is_zero() {
        true => "ended rehearsals of",
        false => "allowed rehearsals of",
    };
    outcome::tell(done, &selection.clients, answers, &options.sure)
}
