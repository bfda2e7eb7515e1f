//! `enroll --admin-key`: whose named secrets the machine is to believe.

use std::path::Path;

use nightlatch_console::failure::{Failure, note};
use nightlatch_openpgp::PublicKey;
use nightlatch_sys::clock;

use super::options::EnrollOptions;
use crate::admin_keys::{PinnedAdminKeys, describe, read_new};
use crate::host_keys::HostKeys;

/// The keys that were given, read before anything is changed, and the list that they go into.
#[derive(Debug)]
pub(super) struct AdminKeyPart {
    list: PinnedAdminKeys,
    keys: Vec<PublicKey>,
}

impl Default for AdminKeyPart {
    /// No keys.
    fn default() -> Self {
        Self {
            list: PinnedAdminKeys::of(Path::new("/")),
            keys: Vec::new(),
        }
    }
}

impl AdminKeyPart {
    /// Reads the files of the option.
    pub(super) fn of(options: &EnrollOptions, host: &HostKeys<'_>) -> Result<Self, Failure> {
        Ok(Self {
            list: PinnedAdminKeys::of(host.root()),
            keys: read_new(&options.admin_key, clock::now().wall)?,
        })
    }

    /// Fails for what would make `pin` fail, as no disk is changed yet.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.keys.is_empty() {
            true => Ok(()),
            false => self.list.missing(&self.keys).map(drop),
        }
    }

    /// The steps, none taken.
    pub(super) fn describe(&self) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Ok(());
        }
        for key in self.list.missing(&self.keys)? {
            note(format_args!(
                "dry run: believe named secrets of {} in {}",
                describe(key),
                self.list.path().display()
            ));
        }
        Ok(())
    }

    /// Adds the keys to the list.
    pub(super) fn pin(&self) -> Result<(), Failure> {
        for key in self.list.pin(&self.keys)? {
            note(format_args!(
                "named secrets are believed from {}, pinned in {}",
                describe(key),
                self.list.path().display()
            ));
        }
        Ok(())
    }
}
