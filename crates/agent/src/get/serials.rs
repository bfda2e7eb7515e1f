//! The memory of the newest sealed secret of each name, on the encrypted root: it tells when a server goes back to an
//! older one.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nightlatch_core::digits::{self, Hex};
use nightlatch_core::secret_name::SecretName;

use crate::files::{self, Access};

/// The longest file of this kind, in bytes.
const MAX_FILE: usize = 256;

/// The first line of a file: a later version of the format is refused.
const FIRST_LINE: &str = "nightlatch-serial 1";

/// The newest sealed secrets, one file for each name.
#[derive(Debug)]
pub(super) struct Serials {
    folder: PathBuf,
    /// The sealed secrets that are known to be on the disk. Reading, comparing and writing is one step: of two callers the
    /// second must see what the first has written.
    durable: Mutex<BTreeMap<SecretName, Seen>>,
}

/// A sealed secret as it is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) serial: u64,
    /// SHA-256 of what the administrator has encrypted.
    pub(super) digest: [u8; 32],
}

/// The judgement of [`Serials::advance`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Advance {
    /// The secret is the newest one, and remembered.
    Newest,
    /// A newer one is known, or another one with the same serial.
    RolledBack,
    /// The secret is not older than what is known, and not remembered: the caller does not want it.
    Unwanted,
}

/// The memory cannot be used: nothing is handed out.
#[derive(Debug, thiserror::Error)]
pub(super) enum SerialFault {
    #[error(
        "cannot read {}, which tells whether a server went back to an older secret; mend the file system, or remove the \
         file if you accept that the agent cannot tell this once",
        .0.display()
    )]
    Read(PathBuf, #[source] io::Error),
    #[error(
        "{} is damaged: expected a serial and a digest; it tells whether a server went back to an older secret. Remove it \
         if you accept that the agent cannot tell this once",
        .0.display()
    )]
    Form(PathBuf),
    #[error(
        "cannot write {}: the secret is not handed out, as an older one could follow it unseen. Make room on the disk, or \
         make it writable",
        .0.display()
    )]
    Write(PathBuf, #[source] io::Error),
}

impl Serials {
    /// In `folder`, which is made when something is written.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            durable: Mutex::default(),
        }
    }

    /// Compares `seen` with what is known of `name`, and remembers it if it is the newest and `wanted`. It is on the disk
    /// when this returns.
    pub(super) fn advance(
        &self,
        name: &SecretName,
        seen: Seen,
        wanted: bool,
    ) -> Result<Advance, SerialFault> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(name.as_str());
        let known = read(&path)?;
        if known.is_some_and(|known| goes_back(known, seen)) {
            return Ok(Advance::RolledBack);
        }
        if !wanted {
            return Ok(Advance::Unwanted);
        }
        // What can be read need not be on the disk: an earlier write of it may have failed at the last step.
        if known != Some(seen) || durable.get(name) != Some(&seen) {
            durable.remove(name);
            let write = match known == Some(seen) {
                // Also where the disk is full.
                true => self.sync(&path),
                false => self.write(&path, seen),
            };
            write.map_err(|error| SerialFault::Write(path, error))?;
            durable.insert(name.clone(), seen);
        }
        Ok(Advance::Newest)
    }

    fn write(&self, path: &Path, seen: Seen) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_parent()?;
        files::replace(path, to_text(seen).as_bytes())
    }

    /// Has what can be read on the disk.
    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        self.sync_parent()
    }

    /// Also of a folder that an earlier run has made, and may have failed to sync.
    fn sync_parent(&self) -> io::Result<()> {
        let parent = self.folder.parent().unwrap_or(Path::new("/"));
        File::open(parent)?.sync_all()
    }
}

fn goes_back(known: Seen, seen: Seen) -> bool {
    seen.serial < known.serial || seen.serial == known.serial && seen.digest != known.digest
}

fn read(path: &Path) -> Result<Option<Seen>, SerialFault> {
    let bytes = match files::read(path, MAX_FILE, Access::Own) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SerialFault::Read(path.to_owned(), error)),
    };
    let seen = std::str::from_utf8(&bytes).ok().and_then(parse);
    seen.map(Some)
        .ok_or_else(|| SerialFault::Form(path.to_owned()))
}

fn to_text(seen: Seen) -> String {
    let Seen { serial, digest } = seen;
    format!("{FIRST_LINE}\nserial {serial}\nsha256 {}\n", Hex(&digest))
}

/// The one form in which it is written.
fn parse(text: &str) -> Option<Seen> {
    let rest = text.strip_prefix(FIRST_LINE)?.strip_prefix("\nserial ")?;
    let (serial, rest) = rest.split_once("\nsha256 ")?;
    let seen = Seen {
        serial: digits::decimal(serial)?,
        digest: digits::hex(rest.strip_suffix('\n')?.as_bytes())?,
    };
    (to_text(seen) == text).then_some(seen)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn seen(serial: u64, byte: u8) -> Seen {
        let digest = [byte; 32];
        Seen { serial, digest }
    }

    /// A memory that is read anew from the disk.
    fn advance(folder: &Path, secret: &str, seen: Seen) -> Advance {
        let serials = Serials::new(folder.join("secrets"));
        serials.advance(&name(secret), seen, true).unwrap()
    }

    #[test]
    fn serials_only_rise_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (serial, byte, judgement) in [
            (5, 1, Advance::Newest),
            (5, 1, Advance::Newest),
            (5, 2, Advance::RolledBack),
            (4, 1, Advance::RolledBack),
            (6, 2, Advance::Newest),
            (5, 1, Advance::RolledBack),
            (u64::MAX, 3, Advance::Newest),
        ] {
            assert_eq!(advance(folder, "db", seen(serial, byte)), judgement);
        }
        // Another secret has a memory of its own, also one that is named as a file of the first might be.
        assert_eq!(advance(folder, "db.new", seen(1, 1)), Advance::Newest);
        assert_eq!(
            advance(folder, "db", seen(u64::MAX, 4)),
            Advance::RolledBack
        );
        assert_eq!(advance(folder, "db.new", seen(1, 2)), Advance::RolledBack);
        let mode = |path: &str| {
            fs::metadata(folder.join(path))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("secrets") & 0o777, 0o700);
        assert_eq!(mode("secrets/db") & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.join("secrets")).unwrap().count(), 2);
    }

    #[test]
    fn what_is_not_wanted_is_judged_and_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let serials = Serials::new(folder.path().join("secrets"));
        let unwanted = serials.advance(&name("db"), seen(9, 1), false);
        assert_eq!(unwanted.unwrap(), Advance::Unwanted);
        assert_eq!(advance(folder.path(), "db", seen(5, 1)), Advance::Newest);
        let back = serials.advance(&name("db"), seen(4, 1), false);
        assert_eq!(back.unwrap(), Advance::RolledBack);
    }

    #[test]
    fn a_damaged_memory_is_an_error_that_says_how_to_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        advance(folder.path(), "db", seen(5, 1));
        let path = folder.path().join("secrets/db");
        let good = fs::read_to_string(&path).unwrap();
        let serials = Serials::new(folder.path().join("secrets"));
        for text in [
            String::new(),
            good.replace("serial 1", "serial 2"),
            good.replace("\nserial 5", "\nserial 05"),
            good.replace("0101", "01"),
            format!("{good}x"),
            "\0".repeat(good.len()),
            "x".repeat(MAX_FILE + 1),
        ] {
            fs::write(&path, &text).unwrap();
            let fault = serials.advance(&name("db"), seen(9, 1), true).unwrap_err();
            assert!(fault.to_string().contains("emove"), "{fault}");
            assert!(fault.to_string().contains("secrets/db"), "{fault}");
            // Nothing was changed.
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(advance(folder.path(), "db", seen(1, 1)), Advance::Newest);
    }

    #[test]
    fn what_an_earlier_run_may_not_have_synced_is_synced_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        advance(folder.path(), "db", seen(5, 1));
        // Nothing can be written, as on a full disk.
        fs::create_dir(folder.path().join("secrets/.db.new")).unwrap();
        let serials = Serials::new(folder.path().join("secrets"));
        let advance = |serial| serials.advance(&name("db"), seen(serial, 1), true);
        assert_eq!(advance(5).unwrap(), Advance::Newest);
        let fault = advance(6).unwrap_err();
        assert!(matches!(fault, SerialFault::Write(..)), "{fault:?}");
        assert_eq!(advance(5).unwrap(), Advance::Newest);
    }

    #[test]
    fn a_secret_that_cannot_be_remembered_is_not_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        // Root may write anywhere, but not into what is no folder.
        fs::write(folder.path().join("secrets"), "").unwrap();
        let serials = Serials::new(folder.path().join("secrets"));
        let fault = serials.advance(&name("db"), seen(1, 1), true).unwrap_err();
        assert!(matches!(fault, SerialFault::Read(..)), "{fault:?}");
        fs::remove_file(folder.path().join("secrets")).unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        // Where the new file should be made there is a folder.
        fs::create_dir(folder.path().join("secrets/.db.new")).unwrap();
        let fault = serials.advance(&name("db"), seen(1, 1), true).unwrap_err();
        assert!(matches!(fault, SerialFault::Write(..)), "{fault:?}");
        assert!(fault.to_string().contains("not handed out"), "{fault}");
    }
}
