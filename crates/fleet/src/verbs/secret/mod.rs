//! `nightlatch secret list`, `history` and `remove`: the named secrets that a server keeps. `put` and `seal`, which need
//! keys, are in `crates/secrets`.

mod history;
mod list;
mod remove;

use nightlatch_bus::error::BusError;
use nightlatch_console::failure::{EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, Failure};
use nightlatch_core::secret_name::SecretName;

use crate::bus;

pub use history::{HistoryOptions, run as history};
pub use list::{ListSecretsOptions, run as list};
pub use remove::{RemoveSecretOptions, run as remove};

/// Prefix of the error names of our own interface. Their texts are sentences for people.
const ERRORS: &str = "org.nightlatch.Nightlatch1.Error.";

/// Reads the name of a named secret.
///
/// # Errors
/// When it has another form, or is `boot`.
pub fn name(text: &str) -> Result<SecretName, Failure> {
    let name = SecretName::new(text).map_err(|error| {
        Failure::new(EX_USAGE, format!("{text:?} names no secret")).because(error)
    })?;
    if name.is_boot() {
        return Err(
            Failure::new(EX_USAGE, "boot is the password of the machine's disk")
                .hint("it is made by: nightlatch enroll, or nightlatch keygen --password"),
        );
    }
    Ok(name)
}

/// The failure of a call about named secrets, with its exit status and hint.
pub fn failure(error: BusError) -> Failure {
    match error {
        BusError::NotSupported => Failure::new(
            EX_UNAVAILABLE,
            "this server keeps no named secrets: it is a Mandos server",
        ),
        BusError::Refused { ref name, .. } if name.ends_with(".UnknownMethod") => Failure::new(
            EX_UNAVAILABLE,
            "this server keeps no named secrets: it is an earlier version",
        )
        .hint("install the current version on the server first"),
        // What the server has against it, in a sentence for people.
        BusError::Refused { name, text } if name.starts_with(ERRORS) => {
            Failure::new(EX_DATAERR, text)
        }
        error => bus::failure(error),
    }
}
