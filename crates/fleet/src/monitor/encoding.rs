//! JSON form of the values of an event. A client has the names and values of its properties on
//! the bus.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyType, PropertyValue};
use nightlatch_core::time::Wall;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

/// A point in time, as microseconds since 1970 UTC.
pub(crate) mod wall {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(wall: &Wall, to: S) -> Result<S::Ok, S::Error> {
        wall.unix_micros().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Wall, D::Error> {
        i64::deserialize(from).map(Wall::from_unix_micros)
    }
}

/// The path of an object, as text.
pub(crate) mod path {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &ClientPath, to: S) -> Result<S::Ok, S::Error> {
        path.as_str().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ClientPath, D::Error> {
        let path = String::deserialize(from)?;
        ClientPath::parse(&path).ok_or_else(|| D::Error::custom(format!("no path: {path}")))
    }
}

/// Properties, as an object with their names.
pub(crate) mod values {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        values: &[(Property, PropertyValue)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to_json(values.iter().cloned()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(Property, PropertyValue)>, D::Error> {
        from_json(Map::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A client, as an object of all its properties.
pub(crate) mod view {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(view: &ClientView, to: S) -> Result<S::Ok, S::Error> {
        to_json(all_values(view)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Box<ClientView>, D::Error> {
        client(Map::deserialize(from)?)
            .map(Box::new)
            .map_err(D::Error::custom)
    }
}

/// Clients, as a list of such objects.
pub(crate) mod views {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(views: &[ClientView], to: S) -> Result<S::Ok, S::Error> {
        let all: Vec<Map<String, Json>> = views.iter().map(|it| to_json(all_values(it))).collect();
        all.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<ClientView>, D::Error> {
        let all: Vec<Map<String, Json>> = Vec::deserialize(from)?;
        let clients = all.into_iter().map(client).collect::<Result<_, _>>();
        clients.map_err(D::Error::custom)
    }
}

fn all_values(view: &ClientView) -> impl Iterator<Item = (Property, PropertyValue)> + '_ {
    view.values().chain(view.own_values())
}

fn client(json: Map<String, Json>) -> Result<ClientView, String> {
    let values = from_json(json)?;
    let path = values.iter().find_map(|(_, value)| match value {
        PropertyValue::Path(path) => Some(path.clone()),
        _ => None,
    });
    let path = path.ok_or("a client has an ObjectPath")?;
    ClientView::read(path, values).map_err(|error| error.to_string())
}

fn to_json(values: impl Iterator<Item = (Property, PropertyValue)>) -> Map<String, Json> {
    let json = |value| match value {
        PropertyValue::Boolean(value) => Json::from(value),
        PropertyValue::Milliseconds(value) => Json::from(value),
        PropertyValue::Text(value) => Json::from(value),
        PropertyValue::Status(value) => Json::from(value),
        PropertyValue::Count(value) => Json::from(value),
        PropertyValue::Path(value) => Json::from(value.as_str()),
    };
    values
        .map(|(property, value)| (property.name().to_owned(), json(value)))
        .collect()
}

fn from_json(json: Map<String, Json>) -> Result<Vec<(Property, PropertyValue)>, String> {
    let value = |(name, json): (String, Json)| {
        let property = Property::by_name(&name).ok_or(format!("no property {name}"))?;
        let value = match property.kind() {
            PropertyType::Boolean => json.as_bool().map(PropertyValue::Boolean),
            PropertyType::Milliseconds => json.as_u64().map(PropertyValue::Milliseconds),
            PropertyType::Text | PropertyType::Moment => json
                .as_str()
                .map(|text| PropertyValue::Text(text.to_owned())),
            PropertyType::Status => json
                .as_i64()
                .and_then(|status| i16::try_from(status).ok())
                .map(PropertyValue::Status),
            PropertyType::Count => json
                .as_u64()
                .and_then(|count| u32::try_from(count).ok())
                .map(PropertyValue::Count),
            PropertyType::Path => json
                .as_str()
                .and_then(ClientPath::parse)
                .map(PropertyValue::Path),
            PropertyType::Bytes => None,
        };
        let value = value.ok_or(format!("{name} cannot be {json}"))?;
        Ok((property, value))
    };
    json.into_iter().map(value).collect()
}
