//! `rehearsal`: lets machines rehearse for a while without an alarm.

use std::time::Duration;

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{EX_UNAVAILABLE, Failure, note};
use nightlatch_console::output::human;
use nightlatch_core::duration;
use nightlatch_core::registry::MAX_REHEARSAL_PERMISSION;

use super::outcome;
use super::outcome::ConfirmOptions;
use crate::bus;
use crate::select::SelectOptions;
use crate::select::Selection;

/// The options of `rehearsal`.
#[derive(Args, Debug)]
pub struct RehearsalOptions {
    #[command(flatten)]
    pub(crate) which: SelectOptions,

    /// For how long, as 10m or PT10M, at most 24h; 0 ends it
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = rehearsal_time)]
    pub(crate) time: Duration,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,
}

/// Reads the length of time for which rehearsals are allowed: 0, or a second to 24 hours.
fn rehearsal_time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let length = duration::parse(text).map_err(|error| error.to_string())?;
    if length > MAX_REHEARSAL_PERMISSION {
        return Err("longer than 24h, which is the most".to_owned());
    }
    if !length.is_zero() && length < Duration::from_secs(1) {
        return Err("shorter than a second".to_owned());
    }
    Ok(length)
}

/// Carries the verb out.
pub(crate) async fn run(options: &RehearsalOptions, server: &MandosProxy) -> Result<u8, Failure> {
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
        ask::confirm(&what, options.sure.yes)?;
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
        let what = "this server does not support rehearsals: it is a Mandos server";
        return Err(Failure::new(EX_UNAVAILABLE, what));
    }
    let done = match options.time.is_zero() {
        true => "ended rehearsals of",
        false => "allowed rehearsals of",
    };
    outcome::print(done, &selection.clients, answers, &options.sure)
}
