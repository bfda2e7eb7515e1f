//! `enable`, `disable` and `remove`.

use clap::Args;
use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::ask;
use nightlatch_console::failure::{Failure, note};

use super::outcome;
use super::outcome::ConfirmOptions;
use crate::bus;
use crate::select::SelectOptions;
use crate::select::Selection;

/// `enable`, `disable` and `remove`.
#[derive(Args, Debug)]
pub struct ChangeOptions {
    #[command(flatten)]
    pub(crate) which: SelectOptions,

    #[command(flatten)]
    pub(crate) sure: ConfirmOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientChange {
    /// Releases are possible.
    Enable,
    /// No release is possible.
    Disable,
    /// The server forgets the client.
    Remove,
}

impl ClientChange {
    const fn verb(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Remove => "remove",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Enable => "enabled",
            Self::Disable => "disabled",
            Self::Remove => "removed",
        }
    }

    async fn call(self, server: MandosProxy, client: ClientPath) -> Result<(), BusError> {
        match self {
            Self::Enable | Self::Disable => {
                let enabled = PropertyValue::Boolean(self == Self::Enable);
                server.set(&client, Property::Enabled, &enabled).await
            }
            Self::Remove => server.remove(&client).await,
        }
    }
}

/// Carries the verb out.
pub(crate) async fn run(
    change: ClientChange,
    options: &ChangeOptions,
    server: &MandosProxy,
) -> Result<u8, Failure> {
    let clients = server.clients().await.map_err(bus::failure)?;
    let selection = Selection::of(&clients, &options.which)?;
    let what = format!("{} {}", change.verb(), selection.all_names());
    if options.sure.dry_run {
        note(format_args!("dry run: {what}"));
        return Ok(0);
    }
    let many = !selection.by_name && selection.clients.len() > 1;
    if change == ClientChange::Remove || many {
        ask::confirm(&what, options.sure.yes)?;
    }
    let call = |client: &&ClientView| change.call(server.clone(), client.path.clone());
    let answers = concurrent::for_each(&selection.clients, call).await;
    outcome::print(change.done(), &selection.clients, answers, &options.sure)
}
