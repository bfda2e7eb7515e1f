//! A call as what is to be done: an answer at once, an order for the driver, or a question to the
//! record.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::introspect;
use nightlatch_bus::names::{
    CLIENT, CLIENT_OLD, CLIENTS, MANDOS, MANDOS_OLD, NIGHTLATCH_PATH, OBJECT_MANAGER, PROPERTIES,
    ROOT,
};
use nightlatch_bus::property::{Access, Property, PropertyValue};
use nightlatch_core::checker::Checker;
use nightlatch_core::event::ClientId;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::Setting;
use zbus::{ObjectPath, Variant};

use super::call::{Call, Outcome, Reaction};
use super::own;
use super::shadow::Shadow;
use super::tell::{managed, properties};
use super::wire::{self, Fault, Map};
use crate::driver::{Act, Order};
use crate::secrets::lock_secrets;

/// `org.freedesktop.DBus.Peer`.
const PEER: &str = "org.freedesktop.DBus.Peer";

impl Call<'_> {
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
            "Approve" => {
                let approved: bool = self.arguments()?;
                return order(id, if approved { Act::Approve } else { Act::Deny });
            }
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
    if property == P::Secret {
        let secret = Secret::new(wire::bytes(property, value)?);
        lock_secrets([&secret]);
        return Ok(Act::Set(Setting::Secret(secret)));
    }
    let value =
        PropertyValue::read(property, value).map_err(|error| Fault::invalid(error.to_string()))?;
    let length = Duration::from_millis;
    Ok(match (property, value) {
        (P::Enabled, PropertyValue::Boolean(true)) => Act::Enable,
        (P::Enabled, PropertyValue::Boolean(false)) => Act::Disable,
        (P::CheckerRunning, PropertyValue::Boolean(true)) => Act::StartChecker,
        (P::CheckerRunning, PropertyValue::Boolean(false)) => Act::StopChecker,
        // Whatever is written means now.
        (P::LastCheckedOK, PropertyValue::Text(_)) => Act::CheckedOk,
        (P::ApprovedByDefault, PropertyValue::Boolean(yes)) => {
            Act::Set(Setting::ApprovedByDefault(yes))
        }
        (P::ApprovalDelay, PropertyValue::Milliseconds(it)) => {
            Act::Set(Setting::ApprovalDelay(length(it)))
        }
        (P::ApprovalDuration, PropertyValue::Milliseconds(it)) => {
            Act::Set(Setting::ApprovalDuration(length(it)))
        }
        (P::ExtendedTimeout, PropertyValue::Milliseconds(it)) => {
            Act::Set(Setting::ExtendedTimeout(length(it)))
        }
        (P::Interval, PropertyValue::Milliseconds(it)) => Act::Set(Setting::Interval(length(it))),
        (P::Timeout, PropertyValue::Milliseconds(it)) => Act::Set(Setting::Timeout(length(it))),
        (P::Host, PropertyValue::Text(host)) => Act::Set(Setting::Host(host)),
        (P::Checker, PropertyValue::Text(text)) => {
            let template = Checker::new(text);
            let template = template.map_err(|error| Fault::invalid(format!("Checker: {error}")));
            Act::Set(Setting::Checker(template?))
        }
        _ => return Err(Fault::access(property, "set")),
    })
}
