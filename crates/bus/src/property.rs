//! The properties of a client's object: one table of names, types, access and annotations, in the order
//! of the stock server; and their values.

use zbus::Variant;

use crate::names::ClientPath;

/// A property of `se.recompile.Mandos.Client`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the names are those of the interface")]
pub enum Property {
    ApprovalDelay,
    ApprovalDuration,
    ApprovalPending,
    ApprovedByDefault,
    CheckerRunning,
    Checker,
    Created,
    Enabled,
    Expires,
    ExtendedTimeout,
    Fingerprint,
    Host,
    Interval,
    KeyID,
    LastApprovalRequest,
    LastCheckedOK,
    LastCheckerStatus,
    LastEnabled,
    Name,
    ObjectPath,
    Secret,
    Timeout,
}

/// What kind of value a property has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyType {
    /// `b`.
    Boolean,
    /// `t`, a length of time in milliseconds.
    Milliseconds,
    /// `s`.
    Text,
    /// `s`, a point in time (see [`crate::moment`]).
    Moment,
    /// `n`, how a check ended.
    Status,
    /// `o`.
    Path,
    /// `ay`.
    Bytes,
}

impl PropertyType {
    /// The D-Bus signature of its values.
    pub const fn signature(self) -> &'static str {
        match self {
            Self::Boolean => "b",
            Self::Milliseconds => "t",
            Self::Text | Self::Moment => "s",
            Self::Status => "n",
            Self::Path => "o",
            Self::Bytes => "ay",
        }
    }
}

/// What a caller may do with a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Get only.
    Read,
    /// Get and set.
    ReadWrite,
    /// Set only.
    Write,
}

impl Access {
    /// As introspection calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "readwrite",
            Self::Write => "write",
        }
    }
}

/// How a change is told of (`org.freedesktop.DBus.Property.EmitsChangedSignal`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emits {
    /// With the new value: what holds without an annotation.
    Value,
    /// Without the value: it is only said to be another now.
    Invalidates,
    /// Never, for it never changes.
    Const,
}

/// A row of the table.
struct Row(Property, &'static str, PropertyType, Access, Emits);

const TABLE: [Row; 22] = {
    use Access::{Read, ReadWrite, Write};
    use Emits::{Const, Invalidates, Value};
    use Property as P;
    use PropertyType::{Boolean, Bytes, Milliseconds, Moment, Path, Status, Text};
    [
        Row(
            P::ApprovalDelay,
            "ApprovalDelay",
            Milliseconds,
            ReadWrite,
            Value,
        ),
        Row(
            P::ApprovalDuration,
            "ApprovalDuration",
            Milliseconds,
            ReadWrite,
            Value,
        ),
        Row(P::ApprovalPending, "ApprovalPending", Boolean, Read, Value),
        Row(
            P::ApprovedByDefault,
            "ApprovedByDefault",
            Boolean,
            ReadWrite,
            Value,
        ),
        Row(
            P::CheckerRunning,
            "CheckerRunning",
            Boolean,
            ReadWrite,
            Value,
        ),
        Row(P::Checker, "Checker", Text, ReadWrite, Value),
        Row(P::Created, "Created", Moment, Read, Const),
        Row(P::Enabled, "Enabled", Boolean, ReadWrite, Value),
        Row(P::Expires, "Expires", Moment, Read, Value),
        Row(
            P::ExtendedTimeout,
            "ExtendedTimeout",
            Milliseconds,
            ReadWrite,
            Value,
        ),
        Row(P::Fingerprint, "Fingerprint", Text, Read, Const),
        Row(P::Host, "Host", Text, ReadWrite, Value),
        Row(P::Interval, "Interval", Milliseconds, ReadWrite, Value),
        Row(P::KeyID, "KeyID", Text, Read, Const),
        Row(
            P::LastApprovalRequest,
            "LastApprovalRequest",
            Moment,
            Read,
            Value,
        ),
        Row(P::LastCheckedOK, "LastCheckedOK", Moment, ReadWrite, Value),
        Row(
            P::LastCheckerStatus,
            "LastCheckerStatus",
            Status,
            Read,
            Value,
        ),
        Row(P::LastEnabled, "LastEnabled", Moment, Read, Value),
        Row(P::Name, "Name", Text, Read, Const),
        Row(P::ObjectPath, "ObjectPath", Path, Read, Const),
        Row(P::Secret, "Secret", Bytes, Write, Invalidates),
        Row(P::Timeout, "Timeout", Milliseconds, ReadWrite, Value),
    ]
};

impl Property {
    /// All of them, in the order of the stock server.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// Those that can be read, in the same order.
    pub fn readable() -> impl Iterator<Item = Self> {
        Self::all().filter(|property| property.access() != Access::Write)
    }

    /// The property with this name, to the letter.
    pub fn by_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// What kind of value it has.
    pub const fn kind(self) -> PropertyType {
        self.row().2
    }

    /// What a caller may do with it.
    pub const fn access(self) -> Access {
        self.row().3
    }

    /// How its changes are told of.
    pub const fn emits(self) -> Emits {
        self.row().4
    }

    /// Whether introspection marks it as deprecated.
    pub const fn is_deprecated(self) -> bool {
        matches!(self, Self::ObjectPath)
    }

    const fn row(self) -> &'static Row {
        // The table is in the order of the enum; a test holds it there.
        &TABLE[self as usize]
    }
}

/// The value of a property. The secret has none here: it is never read, and set by a call of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PropertyValue {
    /// Yes or no.
    Boolean(bool),
    /// A length of time in milliseconds.
    Milliseconds(u64),
    /// A text, or a point in time as text (see [`crate::moment`]).
    Text(String),
    /// How a check ended.
    Status(i16),
    /// An object.
    Path(ClientPath),
}

impl PropertyValue {
    /// Reads what came from the bus for `property`. It must have its type, but that milliseconds may be
    /// any whole number, as mandos-ctl sends them as `i`, and a boolean may be 0 or 1.
    pub fn read(property: Property, variant: &Variant<'_>) -> Result<Self, BadValue> {
        let value = match (property.kind(), variant) {
            (PropertyType::Boolean, Variant::Bool(value)) => Self::Boolean(*value),
            (PropertyType::Boolean, variant) => match whole_number(variant) {
                Some(Ok(value @ 0..=1)) => Self::Boolean(value == 1),
                _ => return Err(BadValue::of_type(property, variant)),
            },
            (PropertyType::Text | PropertyType::Moment, Variant::Str(value)) => {
                Self::Text(value.to_string())
            }
            (PropertyType::Status, Variant::I16(value)) => Self::Status(*value),
            (PropertyType::Path, Variant::ObjectPath(value)) => Self::Path(value.into()),
            (PropertyType::Milliseconds, variant) => match whole_number(variant) {
                Some(Ok(value)) => Self::Milliseconds(value),
                Some(Err(_)) => return Err(BadValue::Negative(property)),
                None => return Err(BadValue::of_type(property, variant)),
            },
            _ => return Err(BadValue::of_type(property, variant)),
        };
        Ok(value)
    }

    /// As it goes to the bus, without what it was made of.
    pub fn into_variant(self) -> Variant<'static> {
        match self {
            Self::Boolean(value) => Variant::Bool(value),
            Self::Milliseconds(value) => Variant::U64(value),
            Self::Text(value) => Variant::Str(value.into()),
            Self::Status(value) => Variant::I16(value),
            Self::Path(value) => Variant::ObjectPath(value.as_object_path().into_owned()),
        }
    }

    /// As it goes to the bus.
    pub fn to_variant(&self) -> Variant<'_> {
        match self {
            Self::Boolean(value) => Variant::Bool(*value),
            Self::Milliseconds(value) => Variant::U64(*value),
            Self::Text(value) => Variant::Str(value.as_str().into()),
            Self::Status(value) => Variant::I16(*value),
            Self::Path(value) => Variant::ObjectPath(value.as_object_path()),
        }
    }
}

/// A number of any integer type, which may be below zero; `None` when it is no number.
fn whole_number(variant: &Variant<'_>) -> Option<Result<u64, std::num::TryFromIntError>> {
    Some(match variant {
        Variant::U8(value) => Ok((*value).into()),
        Variant::U16(value) => Ok((*value).into()),
        Variant::U32(value) => Ok((*value).into()),
        Variant::U64(value) => Ok(*value),
        Variant::I16(value) => (*value).try_into(),
        Variant::I32(value) => (*value).try_into(),
        Variant::I64(value) => (*value).try_into(),
        _ => return None,
    })
}

/// A value that its property cannot have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadValue {
    /// One of another type.
    #[error("{} has the D-Bus type {}, found {found}", .property.name(), .property.kind().signature())]
    Type {
        /// The property.
        property: Property,
        /// The signature of what was found.
        found: String,
    },
    /// A length of time below zero.
    #[error("{} takes zero or more milliseconds, found a negative number", .0.name())]
    Negative(Property),
}

impl BadValue {
    pub(crate) fn of_type(property: Property, found: &Variant<'_>) -> Self {
        let found = found.value_signature().to_string();
        Self::Type { property, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(format!("{:?}", row.0), row.1);
            assert_eq!(Property::by_name(row.1), Some(row.0));
        }
    }

    #[test]
    fn a_value_must_have_the_type_of_its_property() {
        let text = PropertyValue::Text("a".into());
        let read = |property| PropertyValue::read(property, &text.to_variant());
        assert_eq!(read(Property::Host), Ok(text.clone()));
        let error = read(Property::Timeout).unwrap_err();
        assert_eq!(error.to_string(), "Timeout has the D-Bus type t, found s");
        assert!(read(Property::Secret).is_err());
    }

    #[test]
    fn a_boolean_may_be_zero_or_one() {
        let read = |variant| PropertyValue::read(Property::Enabled, &variant);
        assert_eq!(read(Variant::Bool(true)), Ok(PropertyValue::Boolean(true)));
        assert_eq!(read(Variant::I32(0)), Ok(PropertyValue::Boolean(false)));
        assert_eq!(read(Variant::U8(1)), Ok(PropertyValue::Boolean(true)));
        assert!(read(Variant::I32(2)).is_err());
        assert!(read(Variant::I32(-1)).is_err());
        assert!(read(Variant::Str("yes".into())).is_err());
    }

    #[test]
    fn milliseconds_may_be_any_whole_number_from_zero() {
        let read = |variant| PropertyValue::read(Property::Timeout, &variant);
        for variant in [Variant::U8(7), Variant::I32(7), Variant::I64(7)] {
            assert_eq!(read(variant), Ok(PropertyValue::Milliseconds(7)));
        }
        let negative = Err(BadValue::Negative(Property::Timeout));
        assert_eq!(read(Variant::I32(-7)), negative);
        assert!(read(Variant::F64(7.0)).is_err());
    }
}
