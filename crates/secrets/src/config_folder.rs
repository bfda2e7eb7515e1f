//! The administrator's own folder: `$XDG_CONFIG_HOME/nightlatch`, usually `~/.config/nightlatch`, 0700.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_USAGE, Failure};
use nightlatch_sys::part_file::{PartFile, sync_folder};
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

/// Path of the folder, which need not exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConfigFolder(PathBuf);

impl ConfigFolder {
    /// The folder of the user who runs this program.
    ///
    /// # Errors
    /// Without a home.
    pub(crate) fn of_user() -> Result<Self, Failure> {
        let variable = |name| std::env::var_os(name);
        Self::of(variable("XDG_CONFIG_HOME"), variable("HOME")).ok_or_else(|| {
            Failure::new(EX_USAGE, "HOME is not set: there is no place for your keys")
                .hint("set HOME, or say where the admin key is: --admin-key FILE")
        })
    }

    /// Paths that are not absolute count as unset (XDG Base Directory Specification).
    fn of(config: Option<OsString>, home: Option<OsString>) -> Option<Self> {
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|it| it.is_absolute());
        let config = config.and_then(absolute);
        let config = config.or_else(|| Some(home.and_then(absolute)?.join(".config")))?;
        Some(Self(config.join("nightlatch")))
    }

    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder when it is missing, and keeps other runs of this program out until the answer is dropped.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub(crate) fn lock(&self) -> Result<File, Failure> {
        let locked = make_private(&self.0).and_then(|()| {
            let folder = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
                .open(&self.0)?;
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        locked.map_err(|error| {
            let shown = self.0.display();
            Failure::new(EX_CANTCREAT, format!("cannot use the folder {shown}")).because(error)
        })
    }
}

/// Makes a folder for its owner alone when it is missing, with its parents.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
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

/// Makes the file `path`, 0600, with this content, whole or not at all.
///
/// # Errors
/// `AlreadyExists` where a file has this name: none is ever overwritten.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    create_by(path, content, |part, path| fs::hard_link(part, path))
}

/// [`create`] with `link`, which gives a file a second name that must be free.
fn create_by(
    path: &Path,
    content: &[u8],
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let part = written(path, content)?;
    match link(part.path(), path) {
        // Filesystems without hard links, as FAT, answer EPERM.
        Err(error) if has_no_links(&error) => rename_to_free_name(part.path(), path)?,
        linked => linked?,
    }
    drop(part);
    sync_folder(path)
}

fn has_no_links(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|it| [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS].contains(&it))
}

fn rename_to_free_name(part: &Path, path: &Path) -> io::Result<()> {
    let renamed = renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE);
    renamed.map_err(|error| match error {
        Errno::INVAL | Errno::NOSYS => io::Error::new(
            io::ErrorKind::Unsupported,
            "its filesystem has no hard links, and no rename that spares an existing file",
        ),
        error => error.into(),
    })
}

/// Puts the file `path`, 0600, with this content in the place of one that may be there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    written(path, content)?.replace()
}

/// A file with this content for `path`, 0600, under a name of this process alone.
fn written<'p>(path: &'p Path, content: &[u8]) -> io::Result<PartFile<'p>> {
    let mut part = PartFile::create(path, &std::process::id().to_string(), 0o600)?;
    part.write(content)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_that_of_the_user() {
        let of = |config: &str, home: &str| {
            let variable = |text: &str| Some(OsString::from(text)).filter(|it| !it.is_empty());
            ConfigFolder::of(variable(config), variable(home)).map(|it| it.0)
        };
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(of("", "/root"), path("/root/.config/nightlatch"));
        assert_eq!(of("/c", "/root"), path("/c/nightlatch"));
        assert_eq!(of("c", "/root"), path("/root/.config/nightlatch"));
        assert_eq!(of("", ""), None);
    }

    #[test]
    fn files_are_for_their_owner_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = ConfigFolder::at(&folder.path().join("a/b"));
        drop(config.lock().unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(config.path()), 0o700);
        let file = config.file("f");
        create(&file, b"one").unwrap();
        assert_eq!(mode(&file), 0o600);
        let error = create(&file, b"two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"one");
        replace(&file, b"three").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"three");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(config.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_hard_links_no_file_is_overwritten_either() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let create =
            |content: &[u8], errno: Errno| create_by(&file, content, |_, _| Err(errno.into()));
        let error = create(b"none", Errno::NOSPC).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!file.exists());
        create(b"one", Errno::PERM).unwrap();
        let error = create(b"two", Errno::PERM).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_behind_by_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("f");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, b"content").is_err());
        assert!(create(&taken, b"content").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
