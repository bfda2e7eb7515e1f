//! The state directory: created as root, owned and opened by the server's user.

use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightlatch_store::{SqliteStore, StoreContext, StoreError};
use nightlatch_sys::clock;
use nightlatch_sys::privileges::{self, Account};
use tracing::{error, info};

use crate::error::{RunError, host};
use crate::{accounts, own_key};

/// A checker that a killed server had just started may hold the lock of the state for a moment.
const STATE_RETRIES: u32 = 20;
const STATE_RETRY: Duration = Duration::from_millis(100);

/// Creates the state directory and changes to the user that owns it, for good.
pub(crate) fn become_owner(folder: &Path, account: Option<&Account>) -> Result<(), RunError> {
    make_state_folder(folder, account).map_err(host("cannot make the state's folder"))?;
    if let Some(mark) = second_mark(folder)
        && let Err(error) = make_state_folder(&mark, account)
    {
        info!(%error, "cannot make {}: a state that is lost as a whole will look like a first start", mark.display());
    }
    if let Some(account) = account {
        privileges::become_account(account).map_err(host("cannot give up being root"))?;
        info!(user = account.name, "no longer root");
    }
    Ok(())
}

/// Opens the state, as the user that owns it.
pub(crate) fn open(folder: &Path) -> Result<SqliteStore, RunError> {
    let context = StoreContext {
        boot: clock::boot_id().ok(),
        second_mark: second_mark(folder),
        was_used: own_key::exists(folder),
    };
    let mut tries = 0;
    let store = loop {
        match SqliteStore::open_in(folder, &context) {
            Err(StoreError::InUse(_)) if tries < STATE_RETRIES => std::thread::sleep(STATE_RETRY),
            opened => break opened.map_err(RunError::Store)?,
        }
        tries += 1;
    };
    if let Some(rollback) = store.rollback() {
        error!(
            commits_made = rollback.marked,
            commits_found = rollback.found,
            "the state is older than it has been: a backup came back, it was deleted, or the last changes could not be written"
        );
    }
    Ok(store)
}

/// The directory of the second mark, by which a state that was lost as a whole differs from a first start: beside
/// the state directory, so not on a file system that is mounted there.
fn second_mark(statedir: &Path) -> Option<PathBuf> {
    let mut name = statedir.file_name()?.to_owned();
    name.push("-mark");
    Some(statedir.with_file_name(name))
}

/// Creates a directory for the server's user, if it does not exist.
fn make_state_folder(folder: &Path, account: Option<&Account>) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return match account {
                Some(account) => accounts::take_ownership(folder, account),
                None => Ok(()),
            };
        }
        Err(error) => return Err(error),
    }
    match account {
        Some(account) => chown(folder, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    }
}
