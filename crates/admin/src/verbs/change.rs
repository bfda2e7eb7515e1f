//! `enable`, `disable`, `approve`, `deny` and `remove`.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::error::Error;
use nightlatch_bus::many;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, Value};
use nightlatch_bus::proxy::Server;

use super::outcome;
use crate::cli::clients::Change;
use crate::failure::{Failure, note};
use crate::output::human;
use crate::select::{Selection, names};
use crate::{ask, bus};

/// What is done to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// It may have its secret.
    Enable,
    /// It may not.
    Disable,
    /// Its request is granted.
    Approve,
    /// Its request is refused.
    Deny,
    /// It is no client any more.
    Remove,
}

impl Deed {
    const fn verb(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Remove => "remove",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Enable => "enabled",
            Self::Disable => "disabled",
            Self::Approve => "approved",
            Self::Deny => "denied",
            Self::Remove => "removed",
        }
    }

    async fn call(self, server: Server, client: ClientPath) -> Result<(), Error> {
        match self {
            Self::Enable | Self::Disable => {
                let enabled = Value::Boolean(self == Self::Enable);
                server.set(&client, Property::Enabled, &enabled).await
            }
            Self::Approve | Self::Deny => server.approve(&client, self == Self::Approve).await,
            Self::Remove => server.remove(&client).await,
        }
    }
}

/// Carries the verb out. Of what a pattern or `--all` chooses, only requests that wait are approved: an
/// approval in advance is for who is named. A denial in advance hurts nobody.
pub(crate) async fn run(deed: Deed, options: &Change, server: &Server) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    let mut selection = Selection::of(&clients, &options.which)?;
    if deed == Deed::Approve && !selection.by_name {
        selection.clients.retain(|client| client.approval_pending);
        if selection.clients.is_empty() {
            note("no request waits");
            return Ok(0);
        }
    }
    let what = format!("{} {}", deed.verb(), selection.all_names());
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    let many = !selection.by_name && selection.clients.len() > 1;
    if deed == Deed::Remove || many {
        ask::confirm(&what, &options.sure)?;
    }
    if matches!(deed, Deed::Approve | Deed::Deny) {
        explain_early(&selection.clients);
    }
    let call = |client: &&ClientView| deed.call(server.clone(), client.path.clone());
    let answers = many::for_each(&selection.clients, call).await;
    outcome::tell(deed.done(), &selection.clients, answers, &options.sure)
}

/// A decision before there is a request counts for a short time only, which surprises.
fn explain_early(clients: &[&ClientView]) {
    let early = clients.iter().filter(|client| !client.approval_pending);
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
