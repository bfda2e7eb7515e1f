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
use nightlatch_core::settings::client::{SettingChange, SettingKind};
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

/// The order that setting a property is.
fn set(property: Property, value: &Variant<'_>) -> Result<Act, Fault> {
    use Property as P;
    if property == P::Secret {
        let secret = Secret::new(wire::bytes(property, value)?);
        lock_secrets([&secret]);
        return Ok(Act::Set(SettingChange::Secret(secret)));
    }
    let value =
        PropertyValue::read(property, value).map_err(|error| Fault::invalid(error.to_string()))?;
    if let Some(setting) = property.setting() {
        let value = match value {
            PropertyValue::Boolean(value) => value.into(),
            PropertyValue::Milliseconds(millis) => Duration::from_millis(millis).into(),
            PropertyValue::Text(text) if setting.kind() == SettingKind::Checker => {
                let checker = Checker::new(text);
                let wrong = |error| Fault::invalid(format!("{}: {error}", property.name()));
                checker.map_err(wrong)?.into()
            }
            PropertyValue::Text(text) => text.into(),
            PropertyValue::Status(_) | PropertyValue::Path(_) => {
                return Err(Fault::access(property, "set"));
            }
        };
        return Ok(Act::Set(SettingChange::Value(setting, value)));
    }
    Ok(match (property, value) {
        (P::Enabled, PropertyValue::Boolean(true)) => Act::Enable,
        (P::Enabled, PropertyValue::Boolean(false)) => Act::Disable,
        (P::CheckerRunning, PropertyValue::Boolean(true)) => Act::StartChecker,
        (P::CheckerRunning, PropertyValue::Boolean(false)) => Act::StopChecker,
        // Whatever is written means now.
        (P::LastCheckedOK, PropertyValue::Text(_)) => Act::CheckedOk,
        _ => return Err(Fault::access(property, "set")),
    })
}
