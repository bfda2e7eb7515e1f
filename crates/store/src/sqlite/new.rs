//! Creates a database and its directory: private, and renamed to its final name only when complete.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nightlatch_core::client::saved::Trust;
use rusqlite::{Connection, OpenFlags};

use super::{FILE_NAME, OTHERS_WRITE, TEMPORARY_NAME, failure, schema, set_trust};
use crate::StoreError;

pub(super) fn prepare_directory(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| StoreError::file("make", dir, error))?;
    check_permissions(dir, OTHERS_WRITE, 0o700)
}

pub(super) fn check_permissions(path: &Path, refused: u32, allowed: u32) -> Result<(), StoreError> {
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

/// Renames the WAL of a missing database, which SQLite would otherwise apply to a new one. True when there is one: then
/// a state was lost.
pub(super) fn rename_orphaned_wal(dir: &Path) -> Result<bool, StoreError> {
    let (log, aside) = (
        dir.join(format!("{FILE_NAME}-wal")),
        dir.join(format!("{FILE_NAME}-wal.lost")),
    );
    if exists(&log)? {
        fs::rename(&log, &aside).map_err(|error| StoreError::file("rename", &log, error))?;
    }
    // Also true after a start that ended before it created the database.
    exists(&aside)
}

/// Creates a database. It gets its final name only when it is complete and on the disk. `was_lost`: there must have
/// been one before, so nothing in the new one is trusted.
pub(super) fn create(dir: &Path, path: &Path, was_lost: bool) -> Result<(), StoreError> {
    let temporary = dir.join(TEMPORARY_NAME);
    for leftover in [
        temporary.clone(),
        dir.join(format!("{TEMPORARY_NAME}-journal")),
    ] {
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
        .open(&temporary)
        .map_err(|error| StoreError::file("make", &temporary, error))?;
    let make = || {
        let mut db = Connection::open_with_flags(&temporary, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
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
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|error| StoreError::file("make", path, error))
}
