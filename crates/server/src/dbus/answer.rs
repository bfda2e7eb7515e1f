//! A call as what is to be done: an answer at once, an order for the driver, or a question to the
//! record.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::introspect;
use nightlatch_bus::names::{
    CLIENT, CLIENT_OLD, CLIENTS, INTROSPECTABLE, MANDOS, MANDOS_OLD, NIGHTLATCH_PATH,
    OBJECT_MANAGER, PROPERTIES, ROOT,
};
use nightlatch_bus::property::{Access, Property};
use nightlatch_core::checker::CheckerTemplate;
use nightlatch_core::client::setting::Setting;
use nightlatch_core::registry::ClientId;
use nightlatch_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zbus::message::{Body, Message};
use zbus::{ObjectPath, Type, Variant};

use super::own::{self, Own};
use super::shadow::Shadow;
use super::tell::{managed, properties};
use super::wire::{self, Fault, Map};
use crate::driver::{Act, Order};

/// `org.freedesktop.DBus.Peer`.
const PEER: &str = "org.freedesktop.DBus.Peer";

/// What a call comes to.
#[derive(Debug)]
pub(super) enum Reaction {
    /// This answer.
    Answer(Message),
    /// The answer is what becomes of this order.
    Order(Order),
    /// Something of our own interface that takes a while.
    Own(Own),
}

/// A call taken apart.
pub(super) struct Call<'m> {
    pub(super) message: &'m Message,
    pub(super) path: &'m str,
    pub(super) interface: Option<&'m str>,
    pub(super) member: &'m str,
    body: Body,
}

type Outcome = Result<Reaction, Fault>;

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
        )
    }

    /// What is to be done. Nothing is done yet.
    pub(super) fn react(&self, shadow: &Shadow) -> Outcome {
        if self.is(&[PEER]) && self.member == "Ping" {
            return self.answer(&());
        }
        match self.path {
            ROOT => self.at_root(shadow),
            NIGHTLATCH_PATH => own::react(self, shadow),
            CLIENTS => self.introspect(|| {
                let paths = shadow.iter().map(|(_, view)| view.path.as_str());
                introspect::parent(paths.filter_map(|path| path.strip_prefix("/clients/")))
            }),
            path => match (own::child_of(path), shadow.at(path)) {
                (Some(child), _) => self.introspect(|| introspect::parent([child])),
                (None, Some((id, view))) => self.at_client(id, view),
                (None, None) => Err(Fault::unknown_object(path)),
            },
        }
    }

    fn at_root(&self, shadow: &Shadow) -> Outcome {
        let mandos = self.is(&[MANDOS, MANDOS_OLD]);
        match self.member {
            "Introspect" => self.introspect(|| introspect::root(["clients", "org"])),
            "GetManagedObjects" if self.is(&[OBJECT_MANAGER]) => {
                let objects = shadow.iter().map(|(_, view)| (path(view), managed(view)));
                self.answer(&Map(objects.collect()))
            }
            "RemoveClient" if mandos => {
                let path: ObjectPath<'_> = self.arguments()?;
                let at = shadow.at(path.as_str());
                let (id, _) = at.ok_or_else(|| Fault::no_client_at(path.as_str()))?;
                order(id, Act::Remove)
            }
            "GetAllClients" if mandos => {
                let paths: Vec<_> = shadow.iter().map(|(_, view)| path(view)).collect();
                self.answer(&paths)
            }
            "GetAllClientsWithProperties" if mandos => {
                let clients = shadow
                    .iter()
                    .map(|(_, view)| (path(view), properties(view)));
                self.answer(&Map(clients.collect()))
            }
            _ => Err(self.unknown()),
        }
    }

    fn at_client(&self, id: ClientId, view: &ClientView) -> Outcome {
        if self.member == "Introspect" {
            return self.introspect(introspect::client);
        }
        if self.is(&[PROPERTIES]) && matches!(self.member, "Get" | "Set" | "GetAll") {
            return self.property(id, view);
        }
        if !self.is(&[CLIENT, CLIENT_OLD]) {
            return Err(self.unknown());
        }
        let act = match self.member {
            "Approve" => return order(id, Act::Decide(self.arguments()?)),
            "CheckedOK" => Act::CheckedOk,
            "Enable" => Act::Enable,
            "Disable" => Act::Disable,
            "StartChecker" => Act::StartChecker,
            "StopChecker" => Act::StopChecker,
            _ => return Err(self.unknown()),
        };
        self.arguments::<()>()?;
        order(id, act)
    }

    fn property(&self, id: ClientId, view: &ClientView) -> Outcome {
        match self.member {
            "Get" => {
                let (interface, name): (&str, &str) = self.arguments()?;
                let property = find(interface, name)?;
                let value = view.value(property);
                let value = value.ok_or_else(|| Fault::access(property, "read"))?;
                self.answer(&value.to_variant())
            }
            "Set" => {
                let (interface, name, value): (&str, &str, Variant<'_>) = self.arguments()?;
                let property = find(interface, name)?;
                if property.access() == Access::Read {
                    return Err(Fault::access(property, "set"));
                }
                order(id, set(property, &value)?)
            }
            _ => {
                let interface: &str = self.arguments()?;
                if matches!(interface, "" | CLIENT | CLIENT_OLD) {
                    self.answer(&properties(view))
                } else {
                    self.answer(&Map::<&str, Variant<'_>>(Vec::new()))
                }
            }
        }
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

fn path(view: &ClientView) -> ObjectPath<'_> {
    view.path.as_object_path()
}

fn order(id: ClientId, act: Act) -> Outcome {
    Ok(Reaction::Order(Order::Client(id, act)))
}

fn find(interface: &str, name: &str) -> Result<Property, Fault> {
    if !matches!(interface, CLIENT | CLIENT_OLD) {
        return Err(Fault::no_property(name));
    }
    Property::by_name(name).ok_or_else(|| Fault::no_property(name))
}

/// What setting a property means.
fn set(property: Property, value: &Variant<'_>) -> Result<Act, Fault> {
    use Property as P;
    let length = || Ok::<_, Fault>(Duration::from_millis(wire::milliseconds(property, value)?));
    let flag = || wire::boolean(property, value);
    let setting = match property {
        P::Enabled => return Ok(if flag()? { Act::Enable } else { Act::Disable }),
        P::CheckerRunning if flag()? => return Ok(Act::StartChecker),
        P::CheckerRunning => return Ok(Act::StopChecker),
        // Whatever is written means now.
        P::LastCheckedOK => return wire::text(property, value).map(|_| Act::CheckedOk),
        P::ApprovalDelay => Setting::ApprovalDelay(length()?),
        P::ApprovalDuration => Setting::ApprovalDuration(length()?),
        P::ApprovedByDefault => Setting::ApprovedByDefault(flag()?),
        P::ExtendedTimeout => Setting::ExtendedTimeout(length()?),
        P::Interval => Setting::Interval(length()?),
        P::Timeout => Setting::Timeout(length()?),
        P::Host => Setting::Host(wire::text(property, value)?.to_owned()),
        P::Checker => {
            let template = CheckerTemplate::new(wire::text(property, value)?);
            Setting::Checker(template.map_err(|error| Fault::invalid(format!("Checker: {error}")))?)
        }
        P::Secret => Setting::Secret(Secret::new(wire::bytes(property, value)?)),
        _ => return Err(Fault::access(property, "set")),
    };
    Ok(Act::Set(setting))
}
