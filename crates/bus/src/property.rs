//! The properties of a client's object: names, types, access and annotations, in the order of the stock server; and
//! their values. Those of settings come from the table of settings in `nightlatch-core`.

use std::sync::LazyLock;
use std::time::Duration;

use nightlatch_core::client_settings;
use nightlatch_core::settings::client::{Setting, SettingKind, SettingValue};
use zbus::Variant;

use crate::names::{CLIENT, ClientPath, NIGHTLATCH_CLIENT};

/// Type of the values of a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyType {
    /// D-Bus type `b`.
    Boolean,
    /// D-Bus type `t`: a length of time in milliseconds.
    Milliseconds,
    /// D-Bus type `s`.
    Text,
    /// D-Bus type `s`: a point in time (see [`crate::moment`]).
    Moment,
    /// D-Bus type `n`: the number of a [`CheckStatus`](crate::client::CheckStatus).
    Status,
    /// D-Bus type `o`.
    Path,
    /// D-Bus type `ay`.
    Bytes,
    /// D-Bus type `u`.
    Count,
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
            Self::Count => "u",
        }
    }
}

/// Calls that the interface allows for a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `Get`, without `Set`.
    Read,
    /// `Get` and `Set`.
    ReadWrite,
    /// `Set`, without `Get`.
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

/// Form of the change signal (`org.freedesktop.DBus.Property.EmitsChangedSignal`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emits {
    /// With the new value: what holds without an annotation.
    Value,
    /// Without the value: it is only said to be another now.
    Invalidates,
    /// Never, for it never changes.
    Const,
    /// Never, though it changes: another property tells the same moment.
    Never,
}

/// A row of the table: name, kind, access, and how changes are told of.
struct Row(&'static str, PropertyType, Access, Emits);

impl Row {
    /// The property of a setting. What only the file can change never changes while its object exists.
    const fn of_setting(name: &'static str, setting: Setting, access: Access) -> Self {
        let kind = match setting.kind() {
            SettingKind::KeyId
            | SettingKind::Fingerprint
            | SettingKind::Text
            | SettingKind::Checker
            | SettingKind::Unannounced
            | SettingKind::OpenPgpKey => PropertyType::Text,
            SettingKind::Length => PropertyType::Milliseconds,
            SettingKind::Boolean => PropertyType::Boolean,
        };
        let emits = match access {
            Access::Read => Emits::Const,
            Access::ReadWrite | Access::Write => Emits::Value,
        };
        Self(name, kind, access, emits)
    }
}

macro_rules! declare_properties {
    ($(
        #[doc = $doc:literal]
        $name:ident $key:ident: $type:ty = $default:expr
        $(, property($property:ident $access:ident))?;
    )*) => {
        /// A property of a client's object: the settings that are on D-Bus and the state of a client, in
        /// `se.recompile.Mandos.Client`; what is known of its agent, in `org.nightlatch.Nightlatch1.Client`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[expect(missing_docs, reason = "the names are those of the interface")]
        pub enum Property {
            $($($property,)?)*
            ApprovalPending,
            CheckerRunning,
            Created,
            Enabled,
            Expires,
            LastApprovalRequest,
            LastCheckedOK,
            LastCheckerStatus,
            LastEnabled,
            Name,
            ObjectPath,
            Secret,
            HostKeyID,
            GuardState,
            Suspect,
            LastHeartbeat,
            LeavingUntil,
            Unaccounted,
            Pokeable,
            HostOpenPGP,
            WaitingSecrets,
        }

        impl Property {
            const ALL: &[Self] = &[
                $($(Self::$property,)?)*
                Self::ApprovalPending,
                Self::CheckerRunning,
                Self::Created,
                Self::Enabled,
                Self::Expires,
                Self::LastApprovalRequest,
                Self::LastCheckedOK,
                Self::LastCheckerStatus,
                Self::LastEnabled,
                Self::Name,
                Self::ObjectPath,
                Self::Secret,
                Self::HostKeyID,
                Self::GuardState,
                Self::Suspect,
                Self::LastHeartbeat,
                Self::LeavingUntil,
                Self::Unaccounted,
                Self::Pokeable,
                Self::HostOpenPGP,
                Self::WaitingSecrets,
            ];

            const fn row(self) -> Row {
                use Access::{Read, ReadWrite, Write};
                use Emits::{Const, Invalidates, Never, Value};
                use PropertyType::{Boolean, Bytes, Count, Moment, Path, Status, Text};
                match self {
                    $($(Self::$property => {
                        Row::of_setting(stringify!($property), Setting::$name, Access::$access)
                    })?)*
                    Self::ApprovalPending => Row("ApprovalPending", Boolean, Read, Value),
                    Self::CheckerRunning => Row("CheckerRunning", Boolean, ReadWrite, Value),
                    Self::Created => Row("Created", Moment, Read, Const),
                    Self::Enabled => Row("Enabled", Boolean, ReadWrite, Value),
                    Self::Expires => Row("Expires", Moment, Read, Value),
                    Self::LastApprovalRequest => Row("LastApprovalRequest", Moment, Read, Value),
                    Self::LastCheckedOK => Row("LastCheckedOK", Moment, ReadWrite, Value),
                    Self::LastCheckerStatus => Row("LastCheckerStatus", Status, Read, Value),
                    Self::LastEnabled => Row("LastEnabled", Moment, Read, Value),
                    Self::Name => Row("Name", Text, Read, Const),
                    Self::ObjectPath => Row("ObjectPath", Path, Read, Const),
                    Self::Secret => Row("Secret", Bytes, Write, Invalidates),
                    Self::HostKeyID => Row("HostKeyID", Text, Read, Value),
                    Self::GuardState => Row("GuardState", Text, Read, Value),
                    Self::Suspect => Row("Suspect", Text, Read, Value),
                    Self::LastHeartbeat => Row("LastHeartbeat", Moment, Read, Never),
                    Self::LeavingUntil => Row("LeavingUntil", Moment, Read, Value),
                    Self::Unaccounted => Row("Unaccounted", Count, Read, Value),
                    Self::Pokeable => Row("Pokeable", Boolean, Read, Value),
                    Self::HostOpenPGP => Row("HostOpenPGP", Text, Read, Value),
                    Self::WaitingSecrets => Row("WaitingSecrets", Text, Read, Value),
                }
            }

            /// The setting that it shows; `None` for state, and for the secret.
            pub const fn setting(self) -> Option<Setting> {
                match self {
                    $($(Self::$property => Some(Setting::$name),)?)*
                    _ => None,
                }
            }
        }
    };
}

client_settings!(declare_properties);

/// In the order of the stock server: that of the names of its methods, which end with `_dbus_property`.
static IN_ORDER: LazyLock<Vec<Property>> = LazyLock::new(|| {
    let mut all = Property::ALL.to_vec();
    all.retain(|property| property.interface() == CLIENT);
    all.sort_unstable_by_key(|property| format!("{}_dbus_property", property.name()));
    all
});

impl Property {
    /// The number of properties.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// Those of the Mandos interface, in the order of the stock server.
    pub fn all() -> impl Iterator<Item = Self> {
        IN_ORDER.iter().copied()
    }

    /// Those of our own interface, which a stock server does not have.
    pub fn own() -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|property| property.interface() == NIGHTLATCH_CLIENT)
    }

    /// Those of the Mandos interface that can be read, in the same order.
    pub fn readable() -> impl Iterator<Item = Self> {
        Self::all().filter(|property| property.access() != Access::Write)
    }

    /// The property with this name, to the letter. No name is in both interfaces.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }

    /// The interface that it belongs to.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::HostKeyID
            | Self::GuardState
            | Self::Suspect
            | Self::LastHeartbeat
            | Self::LeavingUntil
            | Self::Unaccounted
            | Self::Pokeable
            | Self::HostOpenPGP
            | Self::WaitingSecrets => NIGHTLATCH_CLIENT,
            _ => CLIENT,
        }
    }

    /// The property of a setting; `None` for one that is not on D-Bus.
    pub fn of(setting: Setting) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|it| it.setting() == Some(setting))
    }

    /// The name on D-Bus.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The type of its values.
    pub const fn kind(self) -> PropertyType {
        self.row().1
    }

    /// The calls that the interface allows.
    pub const fn access(self) -> Access {
        self.row().2
    }

    /// The form of its change signal.
    pub const fn emits(self) -> Emits {
        self.row().3
    }

    /// True when introspection marks it as deprecated.
    pub const fn is_deprecated(self) -> bool {
        matches!(self, Self::ObjectPath)
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
    /// The number of a [`CheckStatus`](crate::client::CheckStatus).
    Status(i16),
    /// The path of a client's object.
    Path(ClientPath),
    /// A number of things.
    Count(u32),
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
            (PropertyType::Count, Variant::U32(value)) => Self::Count(*value),
            (PropertyType::Milliseconds, variant) => match whole_number(variant) {
                Some(Ok(value)) => Self::Milliseconds(value),
                Some(Err(_)) => return Err(BadValue::Negative(property)),
                None => return Err(BadValue::of_type(property, variant)),
            },
            _ => return Err(BadValue::of_type(property, variant)),
        };
        Ok(value)
    }

    /// A length of time as the bus has it; the longest it can hold when it does not fit.
    pub fn of_length(length: Duration) -> Self {
        Self::Milliseconds(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    }

    /// As it goes to the bus, without what it was made of.
    pub fn into_variant(self) -> Variant<'static> {
        match self {
            Self::Boolean(value) => Variant::Bool(value),
            Self::Milliseconds(value) => Variant::U64(value),
            Self::Text(value) => Variant::Str(value.into()),
            Self::Status(value) => Variant::I16(value),
            Self::Path(value) => Variant::ObjectPath(value.as_object_path().into_owned()),
            Self::Count(value) => Variant::U32(value),
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
            Self::Count(value) => Variant::U32(*value),
        }
    }
}

impl From<SettingValue> for PropertyValue {
    fn from(value: SettingValue) -> Self {
        match value {
            SettingValue::KeyId(key_id) => {
                Self::Text(key_id.map(|it| it.to_string()).unwrap_or_default())
            }
            SettingValue::Fingerprint(fingerprint) => {
                Self::Text(fingerprint.map(|it| it.to_string()).unwrap_or_default())
            }
            SettingValue::Text(text) => Self::Text(text),
            SettingValue::Checker(checker) => Self::Text(checker.as_str().to_owned()),
            SettingValue::Length(length) => Self::of_length(length),
            SettingValue::Boolean(value) => Self::Boolean(value),
            SettingValue::Unannounced(rule) => Self::Text(rule.as_str().to_owned()),
            SettingValue::OpenPgpKey(key) => {
                Self::Text(key.map(|it| it.to_string()).unwrap_or_default())
            }
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
        /// The property that was read or set.
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
    fn the_order_is_that_of_the_stock_server() {
        let names: Vec<_> = Property::all().map(Property::name).collect();
        assert_eq!(
            names.join(" "),
            "ApprovalDelay ApprovalDuration ApprovalPending ApprovedByDefault CheckerRunning Checker Created Enabled \
             Expires ExtendedTimeout Fingerprint Host Interval KeyID LastApprovalRequest LastCheckedOK \
             LastCheckerStatus LastEnabled Name ObjectPath Secret Timeout"
        );
    }

    #[test]
    fn what_is_ours_is_in_our_interface_alone_and_cannot_be_set() {
        let names: Vec<_> = Property::own().map(Property::name).collect();
        assert_eq!(
            names.join(" "),
            "HostKeyID GuardState Suspect LastHeartbeat LeavingUntil Unaccounted Pokeable HostOpenPGP WaitingSecrets"
        );
        assert!(Property::own().all(|it| it.access() == Access::Read));
        assert!(Property::all().all(|it| it.interface() == CLIENT));
        let count = Property::all().count() + Property::own().count();
        assert_eq!(count, Property::COUNT);
    }

    #[test]
    fn each_is_found_by_its_name_and_its_setting() {
        for property in Property::all().chain(Property::own()) {
            assert_eq!(format!("{property:?}"), property.name());
            assert_eq!(Property::by_name(property.name()), Some(property));
            if let Some(setting) = property.setting() {
                assert_eq!(Property::of(setting), Some(property));
                let changeable = property.access() == Access::ReadWrite;
                assert_eq!(setting.is_changeable(), changeable, "{property:?}");
            }
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
