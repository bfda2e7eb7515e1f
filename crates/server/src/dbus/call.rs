//! A method call, parsed, and the reactions to it.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::INTROSPECTABLE;
use nightlatch_core::event::ClientId;
use nightlatch_core::record::RecordSelection;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use zbus::Type;
use zbus::message::{Body, Message};

use super::wire::CallError;
use crate::driver::AdminCommand;

/// A call that reads the audit log or asks the driver.
#[derive(Debug)]
pub(super) enum LookupCall {
    /// Queries the audit log.
    Records(RecordSelection),
    /// Explains the state of a client.
    Explain(ClientId, Box<ClientView>),
    /// Lists the requests that wait, of this client or of all.
    Requests(Option<ClientId>),
    /// Lists the named secrets, of this client or of all.
    Secrets(Option<ClientId>),
    /// Reads all properties, or the one of this name.
    Properties(Option<&'static str>),
}

/// The reaction to a call.
#[derive(Debug)]
pub(super) enum Reaction {
    Answer(Message),
    /// A command, whose result is the answer.
    Command(AdminCommand),
    /// A lookup, which may take a while.
    Lookup(LookupCall),
    /// A reload; with true it may drop all clients or most of them.
    Reload(bool),
    /// Another log level.
    LogLevel(LevelFilter),
}

pub(super) struct MethodCall<'m> {
    pub(super) message: &'m Message,
    pub(super) path: &'m str,
    pub(super) interface: Option<&'m str>,
    pub(super) member: &'m str,
    body: Body,
}

impl<'m> MethodCall<'m> {
    pub(super) fn new(
        message: &'m Message,
        path: &'m str,
        interface: Option<&'m str>,
        member: &'m str,
    ) -> Self {
        let body = message.body();
        Self {
            message,
            path,
            interface,
            member,
            body,
        }
    }

    /// True for a call that only reads: it must see the effects of the commands before it.
    pub(super) fn reads(&self) -> bool {
        matches!(
            self.member,
            "Get"
                | "GetAll"
                | "GetManagedObjects"
                | "GetAllClients"
                | "GetAllClientsWithProperties"
                | "Explain"
                | "ListRequests"
                | "ListSecrets"
        )
    }

    /// True when the call names one of these interfaces, or none.
    pub(super) fn is(&self, interfaces: &[&str]) -> bool {
        self.interface
            .is_none_or(|interface| interfaces.contains(&interface))
    }

    /// The arguments, which must have these types.
    pub(super) fn arguments<'s, T: Deserialize<'s> + Type>(&'s self) -> Result<T, CallError> {
        self.body.deserialize().map_err(|_| {
            let found = self.body.signature();
            let expected = T::SIGNATURE.to_string_no_parens();
            let found = found.to_string_no_parens();
            CallError::invalid(format!(
                "{}: expected arguments of the types '{expected}', found '{found}'",
                self.member
            ))
        })
    }

    pub(super) fn answer<B: Serialize + Type>(&self, body: &B) -> Result<Reaction, CallError> {
        Message::method_return(&self.message.header())
            .build(body)
            .map(Reaction::Answer)
            .map_err(|error| CallError::failed(error.to_string()))
    }

    pub(super) fn introspect(
        &self,
        document: impl FnOnce() -> String,
    ) -> Result<Reaction, CallError> {
        if self.is(&[INTROSPECTABLE]) && self.member == "Introspect" {
            return self.answer(&document());
        }
        Err(self.unknown())
    }

    pub(super) fn unknown(&self) -> CallError {
        CallError::unknown_method(self.interface, self.member)
    }
}
