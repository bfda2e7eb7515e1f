//! Changes of settings at run time, by the same rules as the file but for the interpolation, which belongs to files.

use std::time::Duration;

use super::table::Setting;
use super::value::{SettingValue, WrongKind};
use crate::secret::Secret;

/// The shortest time between two checks: an interval of zero would keep the server busy for ever.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The key of the encrypted secret, which is no row of the table: it is never shown and never copied.
pub(super) const SECRET: &str = "secret";

/// A change of one client. Enabling, approving, and running a checker are events of their own.
#[derive(PartialEq, Eq, Debug)]
pub enum SettingChange {
    /// A setting and its new value.
    Value(Setting, SettingValue),
    /// The encrypted secret.
    Secret(Secret),
}

/// A change was refused. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingError {
    /// The client is gone.
    #[error("the client does not exist")]
    NoSuchClient,
    /// An interval that would keep the server busy with nothing else.
    #[error("an interval of {0:?} is too short, expected at least {SHORTEST_INTERVAL:?}")]
    IntervalTooShort(Duration),
    /// A secret without a byte, which looks like a refusal on the wire.
    #[error("the secret is empty, expected at least one byte")]
    EmptySecret,
    /// A setting that only the file can change.
    #[error("{0} cannot change while the server runs")]
    Fixed(&'static str),
    /// A caller's mistake.
    #[error(transparent)]
    WrongKind(#[from] WrongKind),
}

impl Setting {
    /// The change of this setting to `value`. Its kind is checked where the change is put in force.
    pub fn to(self, value: impl Into<SettingValue>) -> SettingChange {
        SettingChange::Value(self, value.into())
    }

    /// Refuses a value that cannot be in force, whether it comes from a file or at run time.
    pub(super) fn check(self, value: &SettingValue) -> Result<(), SettingError> {
        let (expected, found) = (self.kind(), value.kind());
        if expected != found {
            return Err(WrongKind { expected, found }.into());
        }
        match (self, value) {
            (Self::Interval, SettingValue::Length(interval)) if *interval < SHORTEST_INTERVAL => {
                Err(SettingError::IntervalTooShort(*interval))
            }
            _ => Ok(()),
        }
    }
}

impl SettingChange {
    /// The key in a client's section.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Value(setting, _) => setting.key(),
            Self::Secret(_) => SECRET,
        }
    }

    /// Refuses what cannot be in force.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        match self {
            Self::Value(setting, _) if !setting.is_changeable() => {
                Err(SettingError::Fixed(setting.key()))
            }
            Self::Value(setting, value) => setting.check(value),
            Self::Secret(secret) if secret.is_empty() => Err(SettingError::EmptySecret),
            Self::Secret(_) => Ok(()),
        }
    }
}

/// The keys of what can change at run time as text, in alphabetical order. The secret is set as bytes.
pub fn changeable_keys() -> Vec<&'static str> {
    let changeable = Setting::ALL.iter().filter(|it| it.is_changeable());
    let mut keys: Vec<_> = changeable.map(|it| it.key()).collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::client::SettingKind;

    #[test]
    fn every_key_is_read() {
        let text = |setting: Setting| match setting.kind() {
            SettingKind::Boolean => "no",
            SettingKind::Checker => "fping -q -- %(host)s",
            SettingKind::Text => "foo.example",
            SettingKind::Length => "10m",
            SettingKind::KeyId | SettingKind::Fingerprint | SettingKind::OpenPgpKey => "",
            SettingKind::Unannounced => "approve",
        };
        for &setting in Setting::ALL {
            let value = setting.read(text(setting));
            assert_eq!(value.map(|it| it.kind()), Ok(setting.kind()), "{setting:?}");
            assert_eq!(Setting::by_key(setting.key()), Some(setting));
        }
        let ten = Duration::from_secs(600);
        assert_eq!(Setting::Timeout.read("PT10M"), Ok(ten.into()));
    }

    #[test]
    fn what_the_file_refuses_is_refused() {
        for (setting, text) in [
            (Setting::Timeout, "10"),
            (Setting::Interval, "0s"),
            (Setting::ApprovedByDefault, "maybe"),
            (Setting::Checker, "fping %(hots)s"),
            (Setting::Host, "a\0b"),
        ] {
            assert!(setting.read(text).is_err(), "{setting:?}");
        }
        assert_eq!(Setting::by_key("timout"), None);
        assert_eq!(Setting::by_key(SECRET), None);
    }

    #[test]
    fn what_identifies_a_client_and_values_of_another_kind_are_refused() {
        let fixed = Err(SettingError::Fixed("key_id"));
        assert_eq!(
            Setting::KeyId.to(None::<crate::key_id::KeyId>).check(),
            fixed
        );
        assert_eq!(
            Setting::Enabled.to(false).check(),
            Err(SettingError::Fixed("enabled"))
        );
        let wrong = Setting::Timeout.to(true).check();
        assert_eq!(
            wrong.unwrap_err().to_string(),
            "expected a value of the kind Length, found Boolean"
        );
        assert_eq!(Setting::Timeout.to(Duration::ZERO).check(), Ok(()));
    }

    #[test]
    fn an_interval_that_is_too_short_is_refused_in_a_file_and_at_run_time() {
        let just_too_short = SHORTEST_INTERVAL - Duration::from_millis(1);
        for (interval, accepted) in [
            (Duration::ZERO, false),
            (just_too_short, false),
            (SHORTEST_INTERVAL, true),
        ] {
            let checked = Setting::Interval.to(interval).check();
            assert_eq!(checked.is_ok(), accepted, "{interval:?}");
        }
        assert!(Setting::Interval.read("0s").is_err());
        assert!(Setting::Interval.read("1s").is_ok());
    }

    #[test]
    fn the_keys_that_can_change_are_in_order() {
        assert_eq!(
            changeable_keys(),
            [
                "approval_delay",
                "approval_duration",
                "approved_by_default",
                "checker",
                "extended_timeout",
                "host",
                "interval",
                "timeout",
            ]
        );
    }
}
