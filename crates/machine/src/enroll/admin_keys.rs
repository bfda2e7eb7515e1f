//! `enroll --admin-key`: whose named secrets the machine is to believe.

use std::path::Path;

use nightlatch_console::failure::{Failure, note};
use nightlatch_openpgp::PublicKey;
use nightlatch_sys::clock;

use super::options::EnrollOptions;
use crate::admin_keys::{PinAction, PinnedAdminKeys, describe, read_new};
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
        Self::new(Path::new("/"), Vec::new())
    }
}

impl AdminKeyPart {
    /// Reads the files of the option.
    pub(super) fn of(options: &EnrollOptions, host: &HostKeys<'_>) -> Result<Self, Failure> {
        let keys = read_new(&options.admin_key, clock::now().wall)?;
        Ok(Self::new(host.root(), keys))
    }

    /// `keys` for the machine whose files are below `root`.
    pub(super) fn new(root: &Path, keys: Vec<PublicKey>) -> Self {
        Self {
            list: PinnedAdminKeys::of(root),
            keys,
        }
    }

    /// Fails for what would make `pin` fail, as no disk is changed yet.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.keys.is_empty() {
            true => Ok(()),
            false => self.list.compare(&self.keys).map(drop),
        }
    }

    /// The steps, none taken.
    pub(super) fn describe(&self) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Ok(());
        }
        for pinning in self.list.compare(&self.keys)? {
            let (key, list) = (describe(pinning.key), self.list.path().display());
            match pinning.action {
                PinAction::Add => note(format_args!(
                    "dry run: believe named secrets of {key} in {list}"
                )),
                PinAction::Update => note(format_args!(
                    "dry run: replace {key} in {list}, which has an earlier state of this key"
                )),
                PinAction::Keep => note(format_args!("{key} is pinned already in {list}")),
            }
        }
        Ok(())
    }

    /// Adds the keys to the list.
    pub(super) fn pin(&self) -> Result<(), Failure> {
        for pinning in self.list.pin(&self.keys)? {
            let (key, list) = (describe(pinning.key), self.list.path().display());
            match pinning.action {
                PinAction::Add => note(format_args!(
                    "named secrets are believed from {key}, pinned in {list}"
                )),
                PinAction::Update => note(format_args!(
                    "replaced {key} in {list}, which had an earlier state of this key"
                )),
                PinAction::Keep => note(format_args!("{key} is pinned already in {list}")),
            }
        }
        Ok(())
    }
}
