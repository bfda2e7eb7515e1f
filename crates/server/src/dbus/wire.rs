//! What messages are made of: ordered dictionaries, lenient values, errors.

use nightlatch_bus::property::Property;
use serde::{Serialize, Serializer};
use zbus::{Signature, Type, Variant};

/// A dictionary that keeps its order: who lists clients wants to see them as they are configured.
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

/// An error as it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) text: String,
}

pub(super) const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
pub(super) const UNKNOWN_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
const FAILED: &str = "org.freedesktop.DBus.Error.Failed";
// Those of the stock server, which tools may look for.
const KEY_ERROR: &str = "org.freedesktop.DBus.Python.KeyError";
const PROPERTY_NOT_FOUND: &str = "org.freedesktop.DBus.Python.DBusPropertyNotFound";
const PROPERTY_ACCESS: &str = "org.freedesktop.DBus.Python.DBusPropertyAccessException";

impl Fault {
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

/// The number of milliseconds; any whole number that is not negative will do, as tools send them in
/// many types.
pub(super) fn milliseconds(property: Property, value: &Variant<'_>) -> Result<u64, Fault> {
    let number = match value {
        Variant::U8(number) => Some(u64::from(*number)),
        Variant::U16(number) => Some(u64::from(*number)),
        Variant::U32(number) => Some(u64::from(*number)),
        Variant::U64(number) => Some(*number),
        Variant::I16(number) => u64::try_from(*number).ok(),
        Variant::I32(number) => u64::try_from(*number).ok(),
        Variant::I64(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    number.ok_or_else(|| expected(property, "milliseconds, a whole number from 0 up", value))
}

/// Yes or no; 0 and 1 will do.
pub(super) fn boolean(property: Property, value: &Variant<'_>) -> Result<bool, Fault> {
    if let Variant::Bool(value) = value {
        return Ok(*value);
    }
    match milliseconds(property, value) {
        Ok(0) => Ok(false),
        Ok(1) => Ok(true),
        _ => Err(expected(property, "a boolean", value)),
    }
}

pub(super) fn text<'v>(property: Property, value: &'v Variant<'_>) -> Result<&'v str, Fault> {
    match value {
        Variant::Str(text) => Ok(text.as_str()),
        _ => Err(expected(property, "a string", value)),
    }
}

pub(super) fn bytes(property: Property, value: &Variant<'_>) -> Result<Vec<u8>, Fault> {
    let wrong = || expected(property, "an array of bytes", value);
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

fn expected(property: Property, what: &str, found: &Variant<'_>) -> Fault {
    Fault::invalid(format!(
        "{}: expected {what}, found a value of the type {}",
        property.name(),
        found.value_signature()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_come_in_any_type_but_not_below_zero() {
        let read = |value: Variant<'_>| milliseconds(Property::Timeout, &value);
        assert_eq!(read(Variant::I32(5)), Ok(5));
        assert_eq!(read(Variant::U64(u64::MAX)), Ok(u64::MAX));
        for wrong in [Variant::I64(-1), Variant::F64(1.0), Variant::Bool(true)] {
            let fault = read(wrong).unwrap_err();
            assert_eq!(fault.name, INVALID_ARGS);
            assert!(
                fault.text.starts_with("Timeout: expected milliseconds"),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn a_boolean_may_be_a_number() {
        let read = |value: Variant<'_>| boolean(Property::Enabled, &value);
        assert_eq!(read(Variant::Bool(true)), Ok(true));
        assert_eq!(read(Variant::I32(0)), Ok(false));
        assert!(read(Variant::I32(2)).is_err());
        assert!(read(Variant::Str("yes".into())).is_err());
    }

    #[test]
    fn a_secret_is_bytes_and_its_error_shows_none() {
        let read = |value: Variant<'_>| bytes(Property::Secret, &value);
        assert_eq!(read(Variant::from(vec![1_u8, 2])), Ok(vec![1, 2]));
        assert_eq!(read(Variant::from(Vec::<u8>::new())), Ok(Vec::new()));
        let fault = read(Variant::Str("hunter2".into())).unwrap_err();
        assert!(!fault.text.contains("hunter2"), "{fault:?}");
    }
}
