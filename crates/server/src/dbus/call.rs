//! A method call taken apart, and how it is answered at once.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::INTROSPECTABLE;
use nightlatch_core::event::ClientId;
use nightlatch_core::record::Query;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use zbus::Type;
use zbus::message::{Body, Message};

use super::wire::Fault;
use crate::driver::Order;

/// What takes a look at the record or the registry.
#[derive(Debug)]
pub(super) enum Own {
    /// The record, as asked for.
    Records(Query),
    /// Why a client stands as it does.
    Explain(ClientId, Box<ClientView>),
    /// The requests that wait, of this client or of all.
    Requests(Option<ClientId>),
    /// All properties, or the one of this name.
    Properties(Option<&'static str>),
}

/// What a call comes to.
#[derive(Debug)]
pub(super) enum Reaction {
    /// This answer.
    Answer(Message),
    /// The answer is what becomes of this order.
    Order(Order),
    /// Something of our own interface that takes a while.
    Own(Own),
    /// The configuration is to be read anew; whether it may drop all clients or most of them.
    Reload(bool),
    /// The server is to log by another level.
    LogLevel(LevelFilter),
}

/// A call taken apart.
pub(super) struct Call<'m> {
    pub(super) message: &'m Message,
    pub(super) path: &'m str,
    pub(super) interface: Option<&'m str>,
    pub(super) member: &'m str,
    body: Body,
}

/// What a call comes to, or why it comes to nothing.
pub(super) type Outcome = Result<Reaction, Fault>;

impl<'m> Call<'m> {
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

    /// Whether it only looks: it must see what the orders before it did.
    pub(super) fn looks(&self) -> bool {
        matches!(
            self.member,
            "Get"
                | "GetAll"
                | "GetManagedObjects"
                | "GetAllClients"
                | "GetAllClientsWithProperties"
                | "Explain"
                | "ListRequests"
        )
    }

    /// Whether the call names one of these interfaces, or none.
    pub(super) fn is(&self, interfaces: &[&str]) -> bool {
        self.interface
            .is_none_or(|interface| interfaces.contains(&interface))
    }

    /// The arguments, which must have these types.
    pub(super) fn arguments<'s, T: Deserialize<'s> + Type>(&'s self) -> Result<T, Fault> {
        self.body.deserialize().map_err(|_| {
            let found = self.body.signature();
            let expected = T::SIGNATURE.to_string_no_parens();
            let found = found.to_string_no_parens();
            Fault::invalid(format!(
                "{}: expected arguments of the types '{expected}', found '{found}'",
                self.member
            ))
        })
    }

    pub(super) fn answer<B: Serialize + Type>(&self, body: &B) -> Outcome {
        Message::method_return(&self.message.header())
            .build(body)
            .map(Reaction::Answer)
            .map_err(|error| Fault::failed(error.to_string()))
    }

    pub(super) fn introspect(&self, document: impl FnOnce() -> String) -> Outcome {
        if self.is(&[INTROSPECTABLE]) && self.member == "Introspect" {
            return self.answer(&document());
        }
        Err(self.unknown())
    }

    pub(super) fn unknown(&self) -> Fault {
        Fault::unknown_method(self.interface, self.member)
    }
}
