//! The kinds of values that settings have, and a value of any kind.

use std::time::Duration;

use crate::checker::Checker;
use crate::duration;
use crate::guard::Unannounced;
use crate::ini::is_space;
use crate::key_id::{Fingerprint, KeyId};
use crate::openpgp_public_key::OpenPgpPublicKey;
use crate::settings::{Problem, value};

/// The type of a setting's field.
pub(super) trait SettingType {
    const KIND: SettingKind;
}

macro_rules! kinds {
    ($(#[doc = $doc:literal] $kind:ident($type:ty),)*) => {
        /// A kind of value.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum SettingKind {
            $(#[doc = $doc] $kind,)*
        }

        /// The value of a setting, of whatever kind.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum SettingValue {
            $(#[doc = $doc] $kind($type),)*
        }

        impl SettingValue {
            /// The kind of this value.
            pub const fn kind(&self) -> SettingKind {
                match self {
                    $(Self::$kind(_) => SettingKind::$kind,)*
                }
            }
        }

        $(
            impl SettingType for $type {
                const KIND: SettingKind = SettingKind::$kind;
            }

            impl From<$type> for SettingValue {
                fn from(value: $type) -> Self {
                    Self::$kind(value)
                }
            }

            impl TryFrom<SettingValue> for $type {
                type Error = WrongKind;

                fn try_from(value: SettingValue) -> Result<Self, WrongKind> {
                    match value {
                        SettingValue::$kind(value) => Ok(value),
                        other => Err(WrongKind {
                            expected: SettingKind::$kind,
                            found: other.kind(),
                        }),
                    }
                }
            }
        )*
    };
}

kinds! {
    /// The key id of a machine.
    KeyId(Option<KeyId>),
    /// The fingerprint of an OpenPGP key.
    Fingerprint(Option<Fingerprint>),
    /// A text without NUL characters.
    Text(String),
    /// A built-in checker or a command with variables.
    Checker(Checker),
    /// A length of time.
    Length(Duration),
    /// Yes or no.
    Boolean(bool),
    /// A rule for boots that were not announced.
    Unannounced(Unannounced),
    /// An OpenPGP public key.
    OpenPgpKey(Option<OpenPgpPublicKey>),
}

/// A value of another kind than the setting has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a value of the kind {expected:?}, found {found:?}")]
pub struct WrongKind {
    pub(super) expected: SettingKind,
    pub(super) found: SettingKind,
}

impl SettingKind {
    pub(super) fn read(self, text: &str) -> Result<SettingValue, Problem> {
        let trimmed = text.trim_matches(is_space);
        Ok(match self {
            Self::KeyId if trimmed.is_empty() => SettingValue::KeyId(None),
            Self::KeyId => SettingValue::KeyId(Some(trimmed.parse()?)),
            Self::Fingerprint if trimmed.is_empty() => SettingValue::Fingerprint(None),
            Self::Fingerprint => SettingValue::Fingerprint(Some(trimmed.parse()?)),
            Self::Text if text.contains('\0') => return Err(Problem::Nul),
            Self::Text => SettingValue::Text(text.to_owned()),
            Self::Checker => SettingValue::Checker(Checker::new(text)?),
            Self::Length => SettingValue::Length(duration::read(text)?),
            Self::Boolean => SettingValue::Boolean(value::boolean(text)?),
            Self::OpenPgpKey if trimmed.is_empty() => SettingValue::OpenPgpKey(None),
            Self::OpenPgpKey => SettingValue::OpenPgpKey(Some(trimmed.parse()?)),
            Self::Unannounced => {
                SettingValue::Unannounced(trimmed.parse().map_err(Problem::Unannounced)?)
            }
        })
    }
}

impl SettingValue {
    /// As the audit log has it; `None` for a key that is not there, or too long.
    pub fn for_people(&self) -> Option<String> {
        Some(match self {
            Self::KeyId(key_id) => key_id.as_ref()?.to_string(),
            Self::Fingerprint(fingerprint) => fingerprint.as_ref()?.to_string(),
            Self::Text(text) => text.clone(),
            Self::Checker(checker) => checker.as_str().to_owned(),
            Self::Length(length) => duration::in_whole_seconds(*length),
            Self::Boolean(true) => "yes".to_owned(),
            Self::Boolean(false) => "no".to_owned(),
            Self::Unannounced(rule) => rule.as_str().to_owned(),
            // Too long for people.
            Self::OpenPgpKey(_) => return None,
        })
    }
}
