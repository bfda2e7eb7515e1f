//! What an administrator can set of a client at run time.

use std::time::Duration;

use super::Client;
use super::checks::SHORTEST_INTERVAL;
use crate::checker::Checker;
use crate::secret::Secret;

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

impl Client {
    /// Puts `setting` in force; says whether anything changed.
    pub(crate) fn set(&mut self, setting: Setting) -> bool {
        let old = std::sync::Arc::clone(&self.settings);
        let settings = std::sync::Arc::make_mut(&mut self.settings);
        match setting {
            Setting::Host(value) => settings.host = value,
            Setting::Checker(value) => settings.checker = value,
            Setting::Timeout(value) => settings.timeout = value,
            Setting::ExtendedTimeout(value) => settings.extended_timeout = value,
            Setting::Interval(value) => settings.interval = value,
            Setting::ApprovalDelay(value) => settings.approval_delay = value,
            Setting::ApprovalDuration(value) => settings.approval_duration = value,
            Setting::ApprovedByDefault(value) => settings.approved_by_default = value,
            Setting::Secret(value) => {
                if *self.secret == value {
                    return false;
                }
                self.secret_changes += 1;
                if self.added {
                    // There is no file that could say otherwise.
                    self.configured_secret = value.digest();
                }
                self.own_secret = value.digest() != self.configured_secret;
                self.secret = std::sync::Arc::new(value);
                return true;
            }
        }
        *self.settings != *old
    }
}
