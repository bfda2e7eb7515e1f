//! The commands of mandos-ctl to a server about clients.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::concurrent;
use nightlatch_bus::error::BusError;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_core::secret::Secret;

/// One command, for all clients that are selected.
#[derive(Debug)]
pub(super) enum CtlCommand {
    /// Sets a property.
    Set(Property, PropertyValue),
    /// Sets the encrypted secret.
    SetSecret(Secret),
    /// Approves or denies.
    Approve(bool),
    /// Removes the client.
    Remove,
    /// Says by the exit status whether the client is enabled, and ends the program.
    IsEnabled,
}

/// The clients that a command is for.
#[derive(Clone, Copy)]
pub(super) struct Selected<'c>(pub(super) &'c [&'c ClientView]);

impl CtlCommand {
    /// Sends the command for each client; returns the answers in the order of the clients.
    pub(super) async fn carry_out(
        self,
        server: &MandosProxy,
        clients: Selected<'_>,
    ) -> Vec<Result<(), BusError>> {
        let command = std::sync::Arc::new(self);
        let call = |client: &&ClientView| {
            let (server, command) = (server.clone(), std::sync::Arc::clone(&command));
            let path = client.path.clone();
            async move {
                match &*command {
                    Self::Set(property, value) => server.set(&path, *property, value).await,
                    Self::SetSecret(secret) => server.set_secret(&path, secret).await,
                    Self::Approve(approved) => server.approve(&path, *approved).await,
                    Self::Remove => server.remove(&path).await,
                    Self::IsEnabled => Ok(()),
                }
            }
        };
        concurrent::for_each(clients.0, call).await
    }

    /// The call for the command, as `--debug` shows it, without the secret.
    pub(super) fn call(&self, client: &ClientView) -> String {
        let path = &client.path;
        let set = |property: Property, value: &str| {
            format!(
                "se.recompile.Mandos:{path}:org.freedesktop.DBus.Properties.Set(\
                 'se.recompile.Mandos.Client', '{}', {value})",
                property.name()
            )
        };
        match self {
            Self::Set(property, value) => set(*property, &shown(value)),
            Self::SetSecret(_) => set(Property::Secret, "..."),
            Self::Approve(approved) => {
                let argument = shown(&PropertyValue::Boolean(*approved));
                format!("se.recompile.Mandos:{path}:se.recompile.Mandos.Client.Approve({argument})")
            }
            Self::Remove => {
                format!("se.recompile.Mandos:/:se.recompile.Mandos.RemoveClient('{path}')")
            }
            Self::IsEnabled => String::new(),
        }
    }
}

fn shown(value: &PropertyValue) -> String {
    match value {
        PropertyValue::Boolean(true) => "True".to_owned(),
        PropertyValue::Boolean(false) => "False".to_owned(),
        PropertyValue::Milliseconds(millis) => millis.to_string(),
        PropertyValue::Text(text) => format!("'{}'", text.escape_debug()),
        PropertyValue::Status(number) => number.to_string(),
        PropertyValue::Count(count) => count.to_string(),
        PropertyValue::Path(path) => format!("'{path}'"),
    }
}
