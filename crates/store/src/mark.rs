//! The mark beside the database: it locks the directory for one server, and holds the generation and the way in which
//! the last server ended.
//!
//! The database counts its commits (its generation). After each commit the generation is also written here, without
//! waiting for the disk. So the mark is ahead of the database only when an older database was put in its place, or when
//! a commit failed: then the mark is put ahead on purpose, and synchronized. It takes no new space, so it can be
//! written on a full disk. A second mark in another directory reveals that the whole directory was lost or restored.

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

/// Decimal digits of the generation.
const DIGITS: usize = 20;

const RUNNING: &str = "running";
const STOPPED: &str = "stopped";

/// The database is older than the mark: a backup was restored, it was deleted, or a commit failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollback {
    /// The generation in the mark.
    pub marked: u64,
    /// The generation in the database.
    pub found: u64,
}

/// The content of a mark file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MarkContent {
    pub(crate) generation: u64,
    pub(crate) end: End,
}

/// The open and locked mark.
#[derive(Debug)]
pub(crate) struct GenerationMark {
    file: File,
    path: PathBuf,
    /// A copy in another directory, if configured.
    second: Option<File>,
    boot: Option<BootId>,
}

impl GenerationMark {
    /// Opens the mark of `dir`, creating it if necessary, and locks the directory for this process.
    pub(crate) fn open(
        dir: &Path,
        second: Option<&Path>,
        boot: Option<BootId>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(FILE_NAME);
        let file = open_file(&path).map_err(|error| StoreError::file("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", &path, error)),
        }
        let second = second.filter(|second| is_private_to_owner_of(second, dir));
        Ok(Self {
            file,
            path,
            // Optional: without it only a loss of the whole directory goes unnoticed.
            second: second.and_then(|second| open_file(&second.join(FILE_NAME)).ok()),
            boot,
        })
    }

    /// The content that was written last. A mark torn by a power failure counts as empty; of two marks the later
    /// counts.
    pub(crate) fn read(&self) -> MarkContent {
        let first = read(&self.file);
        let second = self.second.as_ref().map(read).unwrap_or_default();
        let end = match (first.end, second.end) {
            // Only one mark has the start of that server, so it did not close the store.
            (End::Clean, cut @ End::Cut(_)) if second.generation >= first.generation => cut,
            (end, _) => end,
        };
        MarkContent {
            generation: first.generation.max(second.generation),
            end,
        }
    }

    /// Writes the generation of a running server.
    pub(crate) fn write(&self, generation: u64) -> Result<(), StoreError> {
        self.put(generation, RUNNING, false)
    }

    /// The same, and waits for the disk.
    pub(crate) fn write_durably(&self, generation: u64) -> Result<(), StoreError> {
        self.put(generation, RUNNING, true)
    }

    /// Writes that the server ended with every decision in the database.
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
            // One of the two marks is enough.
            Err(error) if durably && !matches!(second, Some(Ok(()))) => {
                Err(StoreError::file("write", &self.path, error))
            }
            Err(error) if !durably => Err(StoreError::file("write", &self.path, error)),
            _ => Ok(()),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// True when `second` has the owner of `dir`, and no other user can write there: a foreign mark could make the state
/// count as lost.
fn is_private_to_owner_of(second: &Path, dir: &Path) -> bool {
    let (Ok(second), Ok(dir)) = (fs::symlink_metadata(second), fs::metadata(dir)) else {
        return false;
    };
    second.is_dir() && second.uid() == dir.uid() && second.mode() & 0o022 == 0
}

fn read(file: &File) -> MarkContent {
    let mut bytes = [0; DIGITS + 1 + RUNNING.len() + 1 + 32];
    let mut length = 0;
    while let Ok(read @ 1..) = file.read_at(&mut bytes[length..], length as u64) {
        length += read;
    }
    let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
    let generation = text.get(..DIGITS).and_then(digits::decimal);
    let Some(generation) = generation else {
        return MarkContent::default();
    };
    let mut words = text.split_ascii_whitespace().skip(1);
    let word = words.next();
    let boot = words.next().and_then(|boot| digits::hex(boot.as_bytes()));
    let end = match (word, boot) {
        (Some(STOPPED), _) => End::Clean,
        (Some(RUNNING), Some(boot)) if boot != [0; 16] => End::Cut(BootId::from_bytes(boot)),
        _ => End::Unknown,
    };
    MarkContent { generation, end }
}

impl Drop for GenerationMark {
    /// Unlocks at once. Closing alone would not while a child between fork and exec holds a copy of the descriptor
    /// (flock(2)).
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
