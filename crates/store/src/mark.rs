//! The mark beside the database: which server owns the directory, how far its state had come, and how the
//! server that wrote it ended.
//!
//! The database counts its commits (its generation). After each, the count is also written here, without
//! waiting for the disk: so the mark is ahead of the database only when the database was replaced by an
//! older one, or when a commit failed: then the mark is put ahead on purpose, and waits for the disk. It
//! takes no new space, so a full disk takes it. A second mark in another directory tells of a directory
//! that was lost or restored as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nightlatch_core::client::saved::End;
use nightlatch_core::digits;
use nightlatch_core::time::BootId;

use crate::StoreError;

/// Beside the database: `00000000000000000042 running 0123456789abcdef0123456789abcdef` and a line end.
const FILE_NAME: &str = "generation";

/// The digits of the generation.
const DIGITS: usize = 20;

const RUNNING: &str = "running";
const STOPPED: &str = "stopped";

/// The database is older than it has been: a backup came back, it was deleted, or a commit failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollback {
    /// How many commits had been made.
    pub marked: u64,
    /// How many the database holds.
    pub found: u64,
}

/// What a mark says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Marked {
    pub(crate) generation: u64,
    pub(crate) end: End,
}

/// The open and locked mark.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
    /// The same in another directory, where there is one.
    second: Option<File>,
    boot: Option<BootId>,
}

impl Mark {
    /// Opens the mark of `dir`, made when missing, and takes the directory for this process alone.
    pub(crate) fn take(
        dir: &Path,
        second: Option<&Path>,
        boot: Option<BootId>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(FILE_NAME);
        let file = open(&path).map_err(|error| StoreError::file("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", &path, error)),
        }
        let second = second.filter(|second| is_ours(second, dir));
        Ok(Self {
            file,
            path,
            // It only adds to the other: without it less is noticed, and that is all.
            second: second.and_then(|second| open(&second.join(FILE_NAME)).ok()),
            boot,
        })
    }

    /// What was written last. A torn mark after a power failure says nothing; of two the later counts.
    pub(crate) fn read(&self) -> Marked {
        let first = read(&self.file);
        let second = self.second.as_ref().map(read).unwrap_or_default();
        let end = match (first.end, second.end) {
            // The start reached one of them only: that server did not end well.
            (End::Clean, cut @ End::Cut(_)) if second.generation >= first.generation => cut,
            (end, _) => end,
        };
        Marked {
            generation: first.generation.max(second.generation),
            end,
        }
    }

    /// Writes the generation of a server that runs.
    pub(crate) fn write(&self, generation: u64) -> Result<(), StoreError> {
        self.put(generation, RUNNING, false)
    }

    /// The same, on the disk when it returns.
    pub(crate) fn write_durably(&self, generation: u64) -> Result<(), StoreError> {
        self.put(generation, RUNNING, true)
    }

    /// Says that the server ends, and that all it decided is in the database.
    pub(crate) fn close(&self, generation: u64) -> Result<(), StoreError> {
        self.put(generation, STOPPED, true)
    }

    fn put(&self, generation: u64, word: &str, durably: bool) -> Result<(), StoreError> {
        let boot = self.boot.map_or([0; 16], |boot| *boot.as_bytes());
        let boot = digits::Hex(&boot);
        let line = format!("{generation:020} {word} {boot}\n");
        let write = |file: &File| {
            file.write_all_at(line.as_bytes(), 0)?;
            if durably { file.sync_data() } else { Ok(()) }
        };
        let second = self.second.as_ref().map(write);
        match write(&self.file) {
            // One of them is enough to tell.
            Err(error) if durably && !matches!(second, Some(Ok(()))) => {
                Err(StoreError::file("write", &self.path, error))
            }
            Err(error) if !durably => Err(StoreError::file("write", &self.path, error)),
            _ => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// True when `second` belongs to whom `dir` belongs to, and to nobody else: others could put a mark there that
/// takes the state for lost.
fn is_ours(second: &Path, dir: &Path) -> bool {
    let (Ok(second), Ok(dir)) = (fs::symlink_metadata(second), fs::metadata(dir)) else {
        return false;
    };
    second.is_dir() && second.uid() == dir.uid() && second.mode() & 0o022 == 0
}

fn read(file: &File) -> Marked {
    let mut bytes = [0; DIGITS + 1 + RUNNING.len() + 1 + 32];
    let mut length = 0;
    while let Ok(read @ 1..) = file.read_at(&mut bytes[length..], length as u64) {
        length += read;
    }
    let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
    let generation = text.get(..DIGITS).and_then(digits::decimal);
    let Some(generation) = generation else {
        return Marked::default();
    };
    let mut words = text.split_ascii_whitespace().skip(1);
    let word = words.next();
    let boot = words.next().and_then(|boot| digits::hex(boot.as_bytes()));
    let end = match (word, boot) {
        (Some(STOPPED), _) => End::Clean,
        (Some(RUNNING), Some(boot)) if boot != [0; 16] => End::Cut(BootId::from_bytes(boot)),
        _ => End::Unknown,
    };
    Marked { generation, end }
}

impl Drop for Mark {
    /// Gives the directory up at once. Closing alone would not while a child between its fork and its
    /// exec still holds a copy of the descriptor (flock(2)).
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
