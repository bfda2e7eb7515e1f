//! The mark beside the database: which server owns the directory, and how far its state had come.
//!
//! The database counts its commits (its generation). After each, the count is also written here,
//! without waiting for the disk: so the mark is never ahead of the database, unless the database was
//! replaced by an older one. A backup of the whole directory takes the mark back too, unnoticed.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Beside the database: its generation in 20 decimal digits and a line end.
const FILE_NAME: &str = "generation";

/// The database is older than it has been: a backup came back, or it was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollback {
    /// How many commits had been made.
    pub marked: u64,
    /// How many the database holds.
    pub found: u64,
}

/// The open and locked mark.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
}

impl Mark {
    /// Opens the mark of `dir`, made when missing, and takes the directory for this process alone.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE_NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::file("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(StoreError::file("lock", &path, error)),
        }
    }

    /// The generation written last; 0 when there is none or it cannot be read, for a torn mark
    /// after a power failure says nothing.
    pub(crate) fn read(&self) -> u64 {
        let mut digits = [0; 20];
        let read = self.file.read_exact_at(&mut digits, 0);
        read.ok()
            .and_then(|()| std::str::from_utf8(&digits).ok())
            .and_then(nightlatch_core::digits::decimal)
            .unwrap_or(0)
    }

    /// Writes the generation.
    pub(crate) fn write(&self, generation: u64) -> Result<(), StoreError> {
        let line = format!("{generation:020}\n");
        self.file
            .write_all_at(line.as_bytes(), 0)
            .map_err(|error| StoreError::file("write", &self.path, error))
    }
}

impl Drop for Mark {
    /// Gives the directory up at once. Closing alone would not while a child between its fork and its
    /// exec still holds a copy of the descriptor (flock(2)).
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
