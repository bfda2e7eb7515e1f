//! One client's settings: the keys of a section of `clients.conf` (mandos-clients.conf(5)).
//!
//! `client/table.rs` is the one list of settings; `client/section.rs` reads a section, and `client/files.rs` puts
//! several files together.

use std::path::PathBuf;

use super::Location;
use crate::name::ClientName;
use crate::secret::Secret;

mod change;
mod files;
mod secrets;
mod section;
mod section_secrets;
mod table;
mod value;
pub(crate) use change::SHORTEST_INTERVAL;
pub use change::{SettingChange, SettingError, changeable_keys};
pub use files::{ParsedForStart, keys, parse, parse_for_start};
pub use secrets::{ConfiguredSecrets, SecretPolicy, UnknownPolicy};
pub use table::{ClientSettings, Setting};
pub use value::{SettingKind, SettingValue, WrongKind};

/// One section of `clients.conf`, whole.
#[derive(PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// The section's name.
    pub name: ClientName,
    /// The settings of its section, with defaults for those that are not there.
    pub settings: ClientSettings,
    /// The encrypted secret.
    pub secret: Secret,
    /// The named secrets.
    pub named: ConfiguredSecrets,
}

/// One section of `clients.conf` as read; the program reads the secret's file where it names one.
#[derive(PartialEq, Eq, Debug)]
pub struct ParsedClient {
    /// The section's name.
    pub name: ClientName,
    /// The settings of its section, with defaults for those that are not there.
    pub settings: ClientSettings,
    /// The source of the encrypted secret.
    pub secret: SecretSource,
    /// The named secrets.
    pub named: ConfiguredSecrets,
    /// The first line of the section.
    pub origin: Location,
}

/// The source of a client's encrypted secret; the program reads the file.
#[derive(PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// `secret =`, base64 decoded.
    Inline(Secret),
    /// `secfile =`, as written: [`super::path::expand`] resolves `$VAR` and `~`.
    File {
        /// The path as written.
        path: PathBuf,
        /// The place of the key, for the error when the file cannot be read.
        origin: Location,
    },
}

#[cfg(test)]
mod tests;
