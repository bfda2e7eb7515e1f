//! Seals values: shared by `put` and `seal`, with the options for the header.

use clap::Args;
use nightlatch_console::failure::{EX_DATAERR, EX_USAGE, Failure};
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader, whole_seconds};
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;
use nightlatch_openpgp::{SecretKey, seal};

use crate::expiry;
use crate::known_hosts::{Acceptance, HostKeys};

/// Options for the header, and for changed keys.
#[derive(Args, Debug, Default)]
pub(crate) struct HeaderOptions {
    /// The machine refuses it from then on: 90d or P90D from now, 2027-01-01, 2027-01-01T18:30 (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,

    /// The number that must rise with every value [default: milliseconds since 1970]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) serial: Option<u64>,

    /// Accept that a machine has this OpenPGP key, and not the pinned one; may be repeated
    #[arg(long, value_name = "NAME=FINGERPRINT", allow_hyphen_values = true)]
    pub(crate) accept_changed_key: Vec<Acceptance>,
}

/// Seals values of one secret for machines, with one serial.
pub(crate) struct Sealer {
    name: SecretName,
    serial: u64,
    now: Wall,
    expires: Option<Wall>,
}

impl Sealer {
    /// A sealer at `now`.
    ///
    /// # Errors
    /// When the expiry has another form, or is over.
    pub(crate) fn new(
        name: SecretName,
        options: &HeaderOptions,
        now: Wall,
    ) -> Result<Self, Failure> {
        let expires = options.expires.as_deref();
        let expires = expires.map(|text| expiry::parse(text, now)).transpose();
        let expires =
            expires.map_err(|error| Failure::new(EX_USAGE, "--expires").because(error))?;
        let millis = u64::try_from(now.unix_micros() / 1000).unwrap_or_default();
        Ok(Self {
            name,
            serial: options.serial.unwrap_or(millis).max(1),
            now,
            expires,
        })
    }

    pub(crate) const fn name(&self) -> &SecretName {
        &self.name
    }

    pub(crate) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Seals `value` for one machine.
    ///
    /// # Errors
    /// When the machine's key cannot encrypt, or the admin key cannot sign.
    pub(crate) fn seal(
        &self,
        value: &Secret,
        host: &HostKeys,
        admin: &SecretKey,
    ) -> Result<SealedSecret, Failure> {
        let header = SecretHeader {
            host: host.host,
            name: self.name.clone(),
            serial: self.serial,
            created: whole_seconds(self.now),
            expires: self.expires,
        };
        seal(value, &header, &host.openpgp, admin, self.now).map_err(|error| {
            let what = format!("cannot seal it for {}", host.name);
            Failure::new(EX_DATAERR, what).because(error)
        })
    }
}
