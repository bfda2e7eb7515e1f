//! A call as what is to be done: an answer at once, an order for the driver, or a question to the
//! record.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::introspect;
use nightlatch_bus::names::{
    CLIENT, CLIENT_OLD, CLIENTS, MANDOS, MANDOS_OLD, NIGHTLATCH_CLIENT, NIGHTLATCH_PATH,
    OBJECT_MANAGER, PROPERTIES, ROOT,
};
use nightlatch_bus::property::{Access, Property, PropertyValue};
use nightlatch_core::checker::Checker;
use nightlatch_core::event::ClientId;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{SettingChange, SettingKind};
use zbus::{ObjectPath, Variant};

use super::call::{MethodCall, Reaction};
use super::client_cache::ClientCache;
use super::nightlatch;
use super::signals::{dictionary, managed, properties};
use super::wire::{self, CallError, Map};
use crate::driver::{AdminCommand, ClientAction};
use crate::secrets::lock_secrets;

const PEER: &str = "org.freedesktop.DBus.Peer";

impl MethodCall<'_> {
    /// The reaction to this call, not yet carried out.
    pub(super) fn react(&self, cache: &ClientCache) -> Result<Reaction, CallError> {
        if self.is(&[PEER]) && self.member == "Ping" {
            return self.answer(&());
        }
        match self.path {
            ROOT => self.at_root(cache),
            NIGHTLATCH_PATH => nightlatch::react(self, cache),
            CLIENTS => self.introspect(|| {
                let paths = cache.iter().map(|(_, view)| view.path.as_str());
                introspect::parent(paths.filter_map(|path| path.strip_prefix("/clients/")))
            }),
            path => match (nightlatch::child_of(path), cache.by_path(path)) {
                (Some(child), _) => self.introspect(|| introspect::parent([child])),
                (None, Some((id, view))) => self.at_client(id, view),
                (None, None) => Err(CallError::unknown_object(path)),
            },
        }
    }

    fn at_root(&self, cache: &ClientCache) -> Result<Reaction, CallError> {
        let mandos = self.is(&[MANDOS, MANDOS_OLD]);
        match self.member {
            "Introspect" => self.introspect(|| introspect::root(["clients", "org"])),
            "GetManagedObjects" if self.is(&[OBJECT_MANAGER]) => {
                let objects = cache.iter().map(|(_, view)| (path(view), managed(view)));
                self.answer(&Map(objects.collect()))
            }
            "RemoveClient" if mandos => {
                let path: ObjectPath<'_> = self.arguments()?;
                let at = cache.by_path(path.as_str());
                let (id, _) = at.ok_or_else(|| CallError::no_client_at(path.as_str()))?;
                command(id, ClientAction::Remove)
            }
            "GetAllClients" if mandos => {
                let paths: Vec<_> = cache.iter().map(|(_, view)| path(view)).collect();
                self.answer(&paths)
            }
            "GetAllClientsWithProperties" if mandos => {
                let clients = cache.iter().map(|(_, view)| (path(view), properties(view)));
                self.answer(&Map(clients.collect()))
            }
            _ => Err(self.unknown()),
        }
    }

    fn at_client(&self, id: ClientId, view: &ClientView) -> Result<Reaction, CallError> {
        if self.member == "Introspect" {
            return self.introspect(introspect::client);
        }
        if self.is(&[PROPERTIES]) && matches!(self.member, "Get" | "Set" | "GetAll") {
            return self.property(id, view);
        }
        if !self.is(&[CLIENT, CLIENT_OLD]) {
            return Err(self.unknown());
        }
        let action = match self.member {
            "Approve" => {
                let approved: bool = self.arguments()?;
                return command(
                    id,
                    if approved {
                        ClientAction::Approve
                    } else {
                        ClientAction::Deny
                    },
                );
            }
            "CheckedOK" => ClientAction::CheckedOk,
            "Enable" => ClientAction::Enable,
            "Disable" => ClientAction::Disable,
            "StartChecker" => ClientAction::StartChecker,
            "StopChecker" => ClientAction::StopChecker,
            _ => return Err(self.unknown()),
        };
        self.arguments::<()>()?;
        command(id, action)
    }

    fn property(&self, id: ClientId, view: &ClientView) -> Result<Reaction, CallError> {
        match self.member {
            "Get" => {
                let (interface, name): (&str, &str) = self.arguments()?;
                let property = find(interface, name)?;
                let value = view.value(property);
                let value = value.ok_or_else(|| CallError::access(property, "read"))?;
                self.answer(&value.to_variant())
            }
            "Set" => {
                let (interface, name, value): (&str, &str, Variant<'_>) = self.arguments()?;
                let property = find(interface, name)?;
                if property.access() == Access::Read {
                    return Err(CallError::access(property, "set"));
                }
                command(id, set(property, &value)?)
            }
            _ => {
                let interface: &str = self.arguments()?;
                self.answer(&match interface {
                    "" => dictionary(view.values().chain(view.own_values())),
                    CLIENT | CLIENT_OLD => properties(view),
                    NIGHTLATCH_CLIENT => dictionary(view.own_values()),
                    _ => Map(Vec::new()),
                })
            }
        }
    }
}

fn path(view: &ClientView) -> ObjectPath<'_> {
    view.path.as_object_path()
}

fn command(id: ClientId, action: ClientAction) -> Result<Reaction, CallError> {
    Ok(Reaction::Command(AdminCommand::Client(id, action)))
}

fn find(interface: &str, name: &str) -> Result<Property, CallError> {
    let interface = match interface {
        CLIENT_OLD => CLIENT,
        interface => interface,
    };
    let property = Property::by_name(name).filter(|it| it.interface() == interface);
    property.ok_or_else(|| CallError::no_property(name))
}

/// The action that sets a property.
fn set(property: Property, value: &Variant<'_>) -> Result<ClientAction, CallError> {
    use Property as P;
    if property == P::Secret {
        let secret = Secret::new(wire::bytes(property, value)?);
        lock_secrets([&secret]);
        return Ok(ClientAction::Set(SettingChange::Secret(secret)));
    }
    let value = PropertyValue::read(property, value)
        .map_err(|error| CallError::invalid(error.to_string()))?;
    if let Some(setting) = property.setting() {
        let value = match value {
            PropertyValue::Boolean(value) => value.into(),
            PropertyValue::Milliseconds(millis) => Duration::from_millis(millis).into(),
            PropertyValue::Text(text) if setting.kind() == SettingKind::Checker => {
                let checker = Checker::new(text);
                let wrong = |error| CallError::invalid(format!("{}: {error}", property.name()));
                checker.map_err(wrong)?.into()
            }
            PropertyValue::Text(text) => text.into(),
            PropertyValue::Status(_) | PropertyValue::Path(_) | PropertyValue::Count(_) => {
                return Err(CallError::access(property, "set"));
            }
        };
        return Ok(ClientAction::Set(SettingChange::Value(setting, value)));
    }
    Ok(match (property, value) {
        (P::Enabled, PropertyValue::Boolean(true)) => ClientAction::Enable,
        (P::Enabled, PropertyValue::Boolean(false)) => ClientAction::Disable,
        (P::CheckerRunning, PropertyValue::Boolean(true)) => ClientAction::StartChecker,
        (P::CheckerRunning, PropertyValue::Boolean(false)) => ClientAction::StopChecker,
        // Whatever is written means now.
        (P::LastCheckedOK, PropertyValue::Text(_)) => ClientAction::CheckedOk,
        _ => return Err(CallError::access(property, "set")),
    })
}
