//! Deserializes `a{oa{sa{sv}}}`, the objects with their interfaces and properties, into clients.
//!
//! Keeps the order of the server, and skips the deprecated copy of every client's properties: with 10,000 clients that
//! is half of many megabytes.

use std::collections::HashMap;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor,
};
use zbus::{Message, ObjectPath, Signature, Type, Variant};

use crate::client::ClientView;
use crate::error::BusError;
use crate::names::{CLIENT, ClientPath, NIGHTLATCH_CLIENT};
use crate::property::{Property, PropertyValue};

/// The clients in an answer of `GetManagedObjects`.
pub(crate) fn read_clients(answer: &Message) -> Result<Vec<ClientView>, BusError> {
    let managed: ManagedClients = body(answer)?;
    Ok(managed.0)
}

/// The one argument of an answer.
pub(crate) fn body<T>(answer: &Message) -> Result<T, BusError>
where
    T: DeserializeOwned + Type,
{
    answer
        .body()
        .deserialize()
        .map_err(|error| BusError::Malformed(error.to_string()))
}

/// The signature of the whole.
type Objects<'a> = HashMap<ObjectPath<'a>, HashMap<&'a str, HashMap<&'a str, Variant<'a>>>>;

/// The clients among the objects.
struct ManagedClients(Vec<ClientView>);

impl Type for ManagedClients {
    const SIGNATURE: &'static Signature = <Objects<'static> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for ManagedClients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ManagedVisitor;
        impl<'de> Visitor<'de> for ManagedVisitor {
            type Value = ManagedClients;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("objects with their interfaces and properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ManagedClients, A::Error> {
                let mut clients = Vec::new();
                while let Some(path) = map.next_key::<ObjectPath<'de>>()? {
                    let ClientProperties(Some(properties)) = map.next_value()? else {
                        continue;
                    };
                    let path = ClientPath::from(&path);
                    let client = ClientView::read(path.clone(), properties)
                        .map_err(|error| A::Error::custom(format!("{path}: {error}")))?;
                    clients.push(client);
                }
                Ok(ManagedClients(clients))
            }
        }
        deserializer.deserialize_map(ManagedVisitor)
    }
}

/// Of an object's interfaces, those of a client; none when it is no client.
pub(crate) struct ClientProperties(pub(crate) Option<Vec<(Property, PropertyValue)>>);

impl Type for ClientProperties {
    const SIGNATURE: &'static Signature =
        <HashMap<&'static str, HashMap<&'static str, Variant<'static>>> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for ClientProperties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InterfacesVisitor;
        impl<'de> Visitor<'de> for InterfacesVisitor {
            type Value = ClientProperties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("interfaces with their properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut is_client, mut found) = (false, Vec::new());
                while let Some(interface) = map.next_key::<&str>()? {
                    if interface == CLIENT || interface == NIGHTLATCH_CLIENT {
                        is_client |= interface == CLIENT;
                        found.append(&mut map.next_value::<Properties>()?.0);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(ClientProperties(is_client.then_some(found)))
            }
        }
        deserializer.deserialize_map(InterfacesVisitor)
    }
}

/// The known properties of an `a{sv}`.
pub(crate) struct Properties(pub(crate) Vec<(Property, PropertyValue)>);

impl Type for Properties {
    const SIGNATURE: &'static Signature =
        <HashMap<&'static str, Variant<'static>> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PropertiesVisitor;
        impl<'de> Visitor<'de> for PropertiesVisitor {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("properties with their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(name) = map.next_key::<&str>()? {
                    let value: Variant<'de> = map.next_value()?;
                    if let Some(property) = Property::by_name(name) {
                        values.push((
                            property,
                            PropertyValue::read(property, &value).map_err(A::Error::custom)?,
                        ));
                    }
                }
                Ok(Properties(values))
            }
        }
        deserializer.deserialize_map(PropertiesVisitor)
    }
}
