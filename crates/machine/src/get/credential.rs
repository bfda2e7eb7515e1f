//! The file from which systemd gives a service its named secret. It is in memory only: on a ramfs, which is neither on a
//! disk nor in swap.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, Failure};
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_name::SecretName;

/// `RAMFS_MAGIC` of statfs(2).
const RAMFS: i64 = 0x8584_58f6;

/// The unit that mounts the folder.
const MOUNT: &str = "run-nightlatch-credentials.mount";

/// The folder of the files.
#[derive(Debug)]
pub(super) struct Credentials<'o> {
    folder: &'o Path,
}

impl<'o> Credentials<'o> {
    /// Refuses a folder that is not on a ramfs.
    pub(super) fn open(folder: &'o Path) -> Result<Self, Failure> {
        let found = rustix::fs::statfs(folder).map_err(|error| {
            failure(format!("cannot use {}", folder.display())).because(io::Error::from(error))
        })?;
        #[allow(
            clippy::useless_conversion,
            reason = "its type is another one on other machines"
        )]
        let kind = i64::from(found.f_type) & 0xffff_ffff;
        match kind == RAMFS {
            true => Ok(Self { folder }),
            false => Err(failure(format!(
                "{} is on a file system of type 0x{kind:x}, which may be written to a disk or to swap: expected a ramfs",
                folder.display()
            ))),
        }
    }

    /// Replaces the file of this name, for root alone. A reader finds the old value or the new one.
    pub(super) fn write(&self, name: &SecretName, value: &Secret) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name.as_str());
        self.replace(&path, name, value.expose())
            .map_err(|error| failure(format!("cannot write {}", path.display())).because(error))?;
        Ok(path)
    }

    fn replace(&self, path: &Path, name: &SecretName, content: &[u8]) -> io::Result<()> {
        let new = self.unfinished(name);
        // One that was left behind by a run that was killed.
        absent(fs::remove_file(&new))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&new)?;
        file.write_all(content)
            .and_then(|()| fs::rename(&new, path))
            .inspect_err(|_| {
                let _ = fs::remove_file(&new);
            })
    }

    /// Removes the file of this name, what a run that was killed has left of it, and, unless `keeps_notes`, the notes. None
    /// of them need be there.
    pub(super) fn remove(
        folder: &Path,
        name: &SecretName,
        keeps_notes: bool,
    ) -> Result<(), Failure> {
        let credentials = Credentials { folder };
        let notes = (!keeps_notes).then(|| credentials.notes(name));
        let files = [
            Some(folder.join(name.as_str())),
            Some(credentials.unfinished(name)),
            notes,
        ];
        for path in files.into_iter().flatten() {
            absent(fs::remove_file(&path)).map_err(|error| {
                failure(format!("cannot remove {}", path.display())).because(error)
            })?;
        }
        Ok(())
    }

    /// The file for notes about the units that wait for this secret.
    pub(super) fn notes(&self, name: &SecretName) -> PathBuf {
        self.folder.join(format!(".{name}.units"))
    }

    /// The file of this name while it is written. No secret has a name that begins so.
    fn unfinished(&self, name: &SecretName) -> PathBuf {
        self.folder.join(format!(".{name}.new"))
    }
}

fn failure(what: String) -> Failure {
    Failure::new(EX_CANTCREAT, what).hint(format!("as root: systemctl start {MOUNT}"))
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn a_folder_that_may_be_written_to_a_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Credentials::open(folder.path()).unwrap_err();
        assert!(
            refused.to_string().contains("expected a ramfs"),
            "{refused}"
        );
        assert!(refused.hint_text().unwrap().contains(MOUNT));
        let absent = Credentials::open(&folder.path().join("absent")).unwrap_err();
        assert_eq!(absent.exit(), EX_CANTCREAT);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials {
            folder: folder.path(),
        };
        fs::write(folder.path().join(".db.new"), "left behind").unwrap();
        for value in ["one", "two"] {
            let value = Secret::new(value.as_bytes().to_vec());
            let path = credentials.write(&name("db"), &value).unwrap();
            assert_eq!(fs::read(&path).unwrap(), value.expose());
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o400);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for _ in 0..2 {
            Credentials::remove(folder.path(), &name("db"), false).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // Of a run that was killed.
        let notes = credentials.notes(&name("db"));
        for path in [&credentials.unfinished(&name("db")), &notes] {
            fs::write(path, "x").unwrap();
        }
        Credentials::remove(folder.path(), &name("db"), true).unwrap();
        assert!(notes.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        Credentials::remove(folder.path(), &name("db"), false).unwrap();
        assert!(!notes.exists());
    }
}
