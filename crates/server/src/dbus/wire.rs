//! Parts of messages: ordered dictionaries, secrets, errors.

use nightlatch_bus::names::errors;
use nightlatch_bus::property::Property;
use serde::{Serialize, Serializer};
use zbus::{Signature, Type, Variant};

/// A dictionary that keeps its order: clients are listed as they are configured.
#[derive(Debug)]
pub(super) struct Map<K, V>(pub(super) Vec<(K, V)>);

impl<K: Type, V: Type> Type for Map<K, V> {
    const SIGNATURE: &'static Signature = &Signature::static_dict(K::SIGNATURE, V::SIGNATURE);
}

impl<K: Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// The error that answers a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CallError {
    pub(super) name: &'static str,
    pub(super) text: String,
}

pub(super) const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
pub(super) const UNKNOWN_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
const FAILED: &str = "org.freedesktop.DBus.Error.Failed";
// Names of the stock server, which tools may look for.
const KEY_ERROR: &str = "org.freedesktop.DBus.Python.KeyError";
const PROPERTY_NOT_FOUND: &str = "org.freedesktop.DBus.Python.DBusPropertyNotFound";
const PROPERTY_ACCESS: &str = "org.freedesktop.DBus.Python.DBusPropertyAccessException";

impl CallError {
    pub(super) fn new(name: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { name, text }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::new(INVALID_ARGS, text)
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::new(FAILED, text)
    }

    pub(super) fn unknown_method(interface: Option<&str>, member: &str) -> Self {
        let interface = interface.unwrap_or("any interface");
        Self::new(
            UNKNOWN_METHOD,
            format!("{interface} of this object has no method {member}"),
        )
    }

    pub(super) fn unknown_object(path: &str) -> Self {
        Self::new(UNKNOWN_OBJECT, format!("there is no object {path}"))
    }

    pub(super) fn no_client(name: &str) -> Self {
        Self::new(
            errors::NO_SUCH_CLIENT,
            format!("there is no client [{name}]"),
        )
    }

    pub(super) fn no_client_at(path: &str) -> Self {
        Self::new(KEY_ERROR, format!("no client has the path {path}"))
    }

    pub(super) fn no_property(name: &str) -> Self {
        Self::new(
            PROPERTY_NOT_FOUND,
            format!("this object has no property {name}"),
        )
    }

    pub(super) fn access(property: Property, what: &str) -> Self {
        let name = property.name();
        Self::new(PROPERTY_ACCESS, format!("{name} cannot be {what}"))
    }
}

/// The bytes of a secret. The error does not show them.
pub(super) fn bytes(property: Property, value: &Variant<'_>) -> Result<Vec<u8>, CallError> {
    let wrong = || {
        CallError::invalid(format!(
            "{}: expected an array of bytes, found a value of the type {}",
            property.name(),
            value.value_signature()
        ))
    };
    let Variant::Array(array) = value else {
        return Err(wrong());
    };
    let byte = |element: &Variant<'_>| match element {
        Variant::U8(byte) => Some(*byte),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = array.inner().iter().map(byte).collect();
    bytes.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_bytes_and_its_error_shows_none() {
        let read = |value: Variant<'_>| bytes(Property::Secret, &value);
        assert_eq!(read(Variant::from(vec![1_u8, 2])), Ok(vec![1, 2]));
        assert_eq!(read(Variant::from(Vec::<u8>::new())), Ok(Vec::new()));
        let fault = read(Variant::Str("hunter2".into())).unwrap_err();
        assert!(!fault.text.contains("hunter2"), "{fault:?}");
    }
}
