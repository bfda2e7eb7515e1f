//! One client's settings: the keys of a section of `clients.conf` (mandos-clients.conf(5)).
//!
//! Owns the types and the reading of one section's values; several files are put together in
//! `client/files.rs`.

use std::path::PathBuf;
use std::time::Duration;

use super::Location;
use crate::checker::Checker;
use crate::key_id::{Fingerprint, KeyId};
use crate::name::ClientName;
use crate::secret::Secret;

mod files;
mod run_time;
mod section;
pub use files::{KEYS, parse};
pub(crate) use run_time::SHORTEST_INTERVAL;
pub use run_time::{RUN_TIME_KEYS, Setting, SettingError, setting};

/// What is configured for one client apart from its name and its secret.
///
/// `enabled` here is what the file says; whether the client is enabled now is its lifecycle's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSettings {
    /// Who the client is. `None` (an empty value) matches nobody.
    pub key_id: Option<KeyId>,
    /// OpenPGP fingerprint, shown only.
    pub fingerprint: Option<Fingerprint>,
    /// What `%(host)s` in the checker stands for.
    pub host: String,
    /// The check that proves the client is up.
    pub checker: Checker,
    /// How long after its last proof of life the client is disabled. Default 5 minutes.
    pub timeout: Duration,
    /// The same after a delivery, to give the machine time to boot. Default 15 minutes.
    pub extended_timeout: Duration,
    /// How often the checker runs. Default 2 minutes.
    pub interval: Duration,
    /// How long a request waits for approval; zero for none. Default zero.
    pub approval_delay: Duration,
    /// How long an approval or denial counts. Default 1 second.
    pub approval_duration: Duration,
    /// What happens when nobody decided within `approval_delay`. Default yes.
    pub approved_by_default: bool,
    /// Whether a client seen for the first time starts enabled. Default yes.
    pub enabled: bool,
}

impl ClientSettings {
    /// The keys in which `self` and `other` differ, as they stand in a file.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        // Taken apart so that a setting added later cannot be forgotten here.
        let Self {
            key_id,
            fingerprint,
            host,
            checker,
            timeout,
            extended_timeout,
            interval,
            approval_delay,
            approval_duration,
            approved_by_default,
            enabled,
        } = self;
        [
            ("key_id", *key_id != other.key_id),
            ("fingerprint", *fingerprint != other.fingerprint),
            ("host", *host != other.host),
            ("checker", *checker != other.checker),
            ("timeout", *timeout != other.timeout),
            (
                "extended_timeout",
                *extended_timeout != other.extended_timeout,
            ),
            ("interval", *interval != other.interval),
            ("approval_delay", *approval_delay != other.approval_delay),
            (
                "approval_duration",
                *approval_duration != other.approval_duration,
            ),
            (
                "approved_by_default",
                *approved_by_default != other.approved_by_default,
            ),
            ("enabled", *enabled != other.enabled),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            key_id: None,
            fingerprint: None,
            host: String::new(),
            checker: Checker::default(),
            timeout: Duration::from_secs(5 * 60),
            extended_timeout: Duration::from_secs(15 * 60),
            interval: Duration::from_secs(2 * 60),
            approval_delay: Duration::ZERO,
            approval_duration: Duration::from_secs(1),
            approved_by_default: true,
            enabled: true,
        }
    }
}

/// One section of `clients.conf`, whole.
#[derive(PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// The section's name.
    pub name: ClientName,
    /// Its settings.
    pub settings: ClientSettings,
    /// The encrypted secret.
    pub secret: Secret,
}

/// One section of `clients.conf` as read; the program reads the secret's file where it names one.
#[derive(PartialEq, Eq, Debug)]
pub struct ParsedClient {
    /// The section's name.
    pub name: ClientName,
    /// Its settings.
    pub settings: ClientSettings,
    /// Where the encrypted secret comes from.
    pub secret: SecretSource,
    /// Where the section begins.
    pub origin: Location,
}

/// Where a client's encrypted secret comes from; the program reads the file.
#[derive(PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// `secret =`, base64 decoded.
    Inline(Secret),
    /// `secfile =`, as written: [`super::path::expand`] resolves `$VAR` and `~`.
    File {
        /// The path as written.
        path: PathBuf,
        /// Where it is set, for the error when it cannot be read.
        origin: Location,
    },
}

#[cfg(test)]
mod tests;
