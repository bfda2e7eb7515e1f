//! A database and its directory from nothing: private, and under its name only when it is whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nightlatch_core::client::saved::Trust;
use rusqlite::{Connection, OpenFlags};

use super::{FILE_NAME, OTHERS_WRITE, UNBORN_NAME, failure, schema, set_trust};
use crate::StoreError;

pub(super) fn prepare_directory(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| StoreError::file("make", dir, error))?;
    refuse_open_to_others(dir, OTHERS_WRITE, 0o700)
}

pub(super) fn refuse_open_to_others(
    path: &Path,
    refused: u32,
    allowed: u32,
) -> Result<(), StoreError> {
    let data = fs::metadata(path).map_err(|error| StoreError::file("look at", path, error))?;
    let mode = data.permissions().mode() & 0o7777;
    if mode & refused != 0 {
        return Err(StoreError::Exposed {
            path: path.to_owned(),
            mode,
            allowed,
        });
    }
    Ok(())
}

pub(super) fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists()
        .map_err(|error| StoreError::file("look at", path, error))
}

/// Puts the log of a database that is gone out of the way of a new one, which would take its pages for its own.
/// True when there was one: then a state was lost.
pub(super) fn set_log_aside(dir: &Path) -> Result<bool, StoreError> {
    let (log, aside) = (
        dir.join(format!("{FILE_NAME}-wal")),
        dir.join(format!("{FILE_NAME}-wal.lost")),
    );
    if exists(&log)? {
        fs::rename(&log, &aside).map_err(|error| StoreError::file("rename", &log, error))?;
    }
    // Also after a start that came no further than here.
    exists(&aside)
}

/// Makes a new database. It gets its name only when it is whole and on the disk, so a file of that
/// name is never half made. `was_lost` when there must have been one.
pub(super) fn create(dir: &Path, path: &Path, was_lost: bool) -> Result<(), StoreError> {
    let unborn = dir.join(UNBORN_NAME);
    for leftover in [unborn.clone(), dir.join(format!("{UNBORN_NAME}-journal"))] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file("remove", &leftover, error));
            }
            _ => {}
        }
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unborn)
        .map_err(|error| StoreError::file("make", &unborn, error))?;
    let make = || {
        let mut db = Connection::open_with_flags(&unborn, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let transaction = db.transaction()?;
        for step in schema::STEPS {
            transaction.execute_batch(step)?;
        }
        if was_lost {
            set_trust(&transaction, Trust::None)?;
        }
        transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", schema::VERSION)?;
        transaction.commit()
    };
    make().map_err(|error| failure(error, "make", path))?;
    file.sync_all()
        .and_then(|()| fs::rename(&unborn, path))
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|error| StoreError::file("make", path, error))
}
