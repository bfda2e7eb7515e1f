//! Puts a set of key files in place, all of it or nothing.
//!
//! The files are born 0600 in a directory of their own, on disk, before its rename decides that they
//! are to be; from then on whoever comes next finishes what a crash cut short. Nobody else works in
//! the directory meanwhile (flock(2)). Never changes the mode of a file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_UNAVAILABLE, Failure, note};
use rustix::fs::{FlockOperation, OFlags, flock};

use super::{FILES, KeyDirectory, PUBLIC, TLS_PUBLIC};

/// Files that may be incomplete: thrown away by whoever finds them.
const PARTIAL: &str = ".new-keys.partial";

/// The treatment of keys that are there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// Leave them and fail.
    Refuse,
    /// Put the new ones in their place.
    Replace,
}

impl Existing {
    /// The name of the directory of complete files that only wait to be put in place.
    const fn ready(self) -> &'static str {
        match self {
            Self::Refuse => ".new-keys",
            Self::Replace => ".new-keys.replace",
        }
    }
}

/// The only one that writes in a directory of keys, until dropped.
pub(super) struct Writer<'a> {
    directory: &'a KeyDirectory,
    handle: File,
}

impl KeyDirectory {
    /// Makes the directory when it is missing (0700), locks it, and finishes what a crash left.
    pub(super) fn writer(&self) -> Result<Writer<'_>, Failure> {
        let failed = |what: &str, error: io::Error| {
            Failure::new(
                EX_CANTCREAT,
                format!("cannot {what} {}", self.path().display()),
            )
            .because(error)
        };
        make_directory(self.path()).map_err(|error| failed("make the directory", error))?;
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(self.path())
            .map_err(|error| failed("open the directory", error))?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Failure::new(
                EX_UNAVAILABLE,
                format!(
                    "another program works on the keys in {}",
                    self.path().display()
                ),
            )
            .hint("wait until it is done")
        })?;
        let writer = Writer {
            directory: self,
            handle,
        };
        writer
            .finish_earlier()
            .map_err(|error| failed("finish the keys in", error))?;
        Ok(writer)
    }
}

impl KeyDirectory {
    /// Removes every key file there is; private ones are overwritten first. May be cut short and called again.
    pub(crate) fn remove_keys(&self) -> Result<(), Failure> {
        let writer = self.writer()?;
        let removed = FILES
            .iter()
            .try_for_each(|name| wipe(&writer.at(name)))
            .and_then(|()| writer.handle.sync_all());
        removed.map_err(|error| {
            Failure::new(
                EX_CANTCREAT,
                format!("cannot remove the keys in {}", self.path().display()),
            )
            .because(error)
        })
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

impl Writer<'_> {
    /// Refuses when there is a key file that may not be replaced.
    pub(super) fn check(&self, existing: Existing) -> Result<(), Failure> {
        let present: Vec<&str> = FILES
            .into_iter()
            .filter(|file| self.at(file).symlink_metadata().is_ok())
            .collect();
        if existing == Existing::Replace || present.is_empty() {
            return Ok(());
        }
        let place = self.directory.path().display();
        Err(Failure::new(
            EX_CANTCREAT,
            format!("there are keys in {place} already: {}", present.join(", ")),
        )
        .hint("keep them, or replace them with --force; the server then needs a new section"))
    }

    /// Puts `files` in place.
    pub(super) fn place(&self, files: &[(&str, &[u8])], existing: Existing) -> Result<(), Failure> {
        self.check(existing)?;
        self.stage(files, existing)
            .and_then(|()| self.finish(existing))
            .map_err(|error| {
                Failure::new(
                    EX_CANTCREAT,
                    format!(
                        "cannot write the keys in {}",
                        self.directory.path().display()
                    ),
                )
                .because(error)
            })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes all files beside their places. The rename at the end decides.
    fn stage(&self, files: &[(&str, &[u8])], existing: Existing) -> io::Result<()> {
        let partial = self.at(PARTIAL);
        DirBuilder::new().mode(0o700).create(&partial)?;
        for (name, content) in files {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(partial.join(name))?;
            file.write_all(content)?;
            file.sync_all()?;
        }
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, self.at(existing.ready()))?;
        self.handle.sync_all()
    }

    fn finish_earlier(&self) -> io::Result<()> {
        let partial = self.at(PARTIAL);
        if partial.symlink_metadata().is_ok() {
            for file in FILES {
                wipe(&partial.join(file))?;
            }
            fs::remove_dir(&partial)?;
        }
        for existing in [Existing::Refuse, Existing::Replace] {
            if self.at(existing.ready()).symlink_metadata().is_ok() {
                note(format_args!(
                    "finishing what was cut short in {}",
                    self.directory.path().display()
                ));
                self.finish(existing)?;
            }
        }
        Ok(())
    }

    /// Links every waiting file into its place. May be cut short at any point and called again.
    fn finish(&self, existing: Existing) -> io::Result<()> {
        let ready = self.at(existing.ready());
        for name in FILES {
            let new = ready.join(name);
            let place = self.at(name);
            if !new.exists() || is_same(&new, &place) {
                continue;
            }
            if existing == Existing::Replace {
                self.clear(name)?;
            }
            fs::hard_link(&new, &place)?;
        }
        // All are there, and stay there, before the second names go.
        self.handle.sync_all()?;
        for name in FILES {
            match fs::remove_file(ready.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir(&ready)?;
        self.handle.sync_all()
    }

    /// Takes an old file out of the way: a public one gets a numbered backup, a private one is wiped.
    fn clear(&self, name: &str) -> io::Result<()> {
        let place = self.at(name);
        if place.symlink_metadata().is_err() {
            return Ok(());
        }
        if name != PUBLIC && name != TLS_PUBLIC {
            return wipe(&place);
        }
        for number in 1_u32.. {
            // A link, unlike a rename, takes no place that is taken.
            match fs::hard_link(&place, self.at(&format!("{name}.~{number}~"))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        fs::remove_file(&place)
    }
}

/// Overwrites and removes a private file. A missing one is no error; a symbolic link only loses its
/// name, since what it points at is not ours to destroy.
fn wipe(path: &Path) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if metadata.is_file() {
        let mut file = OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        // Once: more helps on no disk of today, and where the disk writes elsewhere nothing does.
        io::copy(
            &mut io::Read::take(io::repeat(0), metadata.len()),
            &mut file,
        )?;
        file.sync_all()?;
    }
    fs::remove_file(path)
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.symlink_metadata(), other.symlink_metadata()) {
        (Ok(one), Ok(other)) => one.ino() == other.ino() && one.dev() == other.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
