//! The settings that an administrator can change at run time: from key and text to type, by the same rules as the
//! file, but for the interpolation, which belongs to files.

use std::time::Duration;

use super::section::{checker, host, interval, length};
use crate::checker::Checker;
use crate::secret::Secret;
use crate::settings::{Problem, value};

/// No check comes more often than this: an interval of zero would keep the server busy for ever.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// A setting and its new value. Enabling, approving, and running a checker are events of their own.
#[derive(PartialEq, Eq, Debug)]
pub enum Setting {
    /// What `%(host)s` in the checker stands for.
    Host(String),
    /// The checker command.
    Checker(Checker),
    /// How long after its last proof of life it is disabled. A running deadline moves by the
    /// difference.
    Timeout(Duration),
    /// The same after a delivery; counts from the next one.
    ExtendedTimeout(Duration),
    /// How often the checker runs. A check is due at once.
    Interval(Duration),
    /// How long a request waits for approval; zero for none. Counts for those that wait, too.
    ApprovalDelay(Duration),
    /// The time for which a denial counts; from the next one on.
    ApprovalDuration(Duration),
    /// What happens when nobody decided. Counts for those that wait, too.
    ApprovedByDefault(bool),
    /// The encrypted secret.
    Secret(Secret),
}

/// Why a setting was refused. Nothing changed.
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
}

impl Setting {
    /// Its key in a client's section.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Checker(_) => "checker",
            Self::Timeout(_) => "timeout",
            Self::ExtendedTimeout(_) => "extended_timeout",
            Self::Interval(_) => "interval",
            Self::ApprovalDelay(_) => "approval_delay",
            Self::ApprovalDuration(_) => "approval_duration",
            Self::ApprovedByDefault(_) => "approved_by_default",
            Self::Secret(_) => "secret",
        }
    }

    /// Whether it could be in force at all.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        match self {
            Self::Interval(interval) if *interval < SHORTEST_INTERVAL => {
                Err(SettingError::IntervalTooShort(*interval))
            }
            Self::Secret(secret) if secret.is_empty() => Err(SettingError::EmptySecret),
            _ => Ok(()),
        }
    }
}

/// The keys of what can be set at run time as text. The secret is set as bytes.
pub const RUN_TIME_KEYS: [&str; 8] = [
    "approval_delay",
    "approval_duration",
    "approved_by_default",
    "checker",
    "extended_timeout",
    "host",
    "interval",
    "timeout",
];

/// Reads the new value of `key`; `None` when it is none of [`RUN_TIME_KEYS`].
pub fn setting(key: &str, text: &str) -> Option<Result<Setting, Problem>> {
    let setting = match key {
        "approval_delay" => length(text).map(Setting::ApprovalDelay),
        "approval_duration" => length(text).map(Setting::ApprovalDuration),
        "approved_by_default" => value::boolean(text).map(Setting::ApprovedByDefault),
        "checker" => checker(text).map(Setting::Checker),
        "extended_timeout" => length(text).map(Setting::ExtendedTimeout),
        "host" => host(text).map(Setting::Host),
        "interval" => interval(text).map(Setting::Interval),
        "timeout" => length(text).map(Setting::Timeout),
        _ => return None,
    };
    Some(setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = |key: &str| match key {
            "approved_by_default" => "no",
            "checker" => "fping -q -- %(host)s",
            "host" => "foo.example",
            _ => "10m",
        };
        for key in RUN_TIME_KEYS {
            assert!(matches!(setting(key, text(key)), Some(Ok(_))), "{key}");
        }
        let ten = Duration::from_secs(600);
        assert_eq!(setting("timeout", "PT10M"), Some(Ok(Setting::Timeout(ten))));
    }

    #[test]
    fn what_the_file_refuses_is_refused() {
        for (key, text) in [
            ("timeout", "10"),
            ("interval", "0s"),
            ("approved_by_default", "maybe"),
            ("checker", "fping %(hots)s"),
            ("host", "a\0b"),
        ] {
            assert!(matches!(setting(key, text), Some(Err(_))), "{key}");
        }
        assert_eq!(setting("timout", "10m"), None);
        assert_eq!(setting("secret", "YWJj"), None);
    }
}
