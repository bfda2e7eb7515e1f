//! The administrator's own folder: `$XDG_CONFIG_HOME/nightlatch`, usually `~/.config/nightlatch`, 0700.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_CANTCREAT, EX_USAGE, Failure};
use rustix::fs::{FlockOperation, OFlags, flock};

/// The folder; it need not be there.
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

/// Makes the file `path`, 0600, with this content, or nothing at all; never overwrites.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = part_of(path)?;
    write_new(&part, content)?;
    // A link, unlike a rename, takes no place that is taken.
    let placed = fs::hard_link(&part, path);
    fs::remove_file(&part)?;
    placed?;
    sync_folder(path)
}

/// Puts the file `path`, 0600, with this content in the place of one that may be there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = part_of(path)?;
    write_new(&part, content)?;
    fs::rename(&part, path)?;
    sync_folder(path)
}

/// A name beside `path` for this process alone.
fn part_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut part = OsString::from(".");
    part.push(name);
    part.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(part))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // What a process with the same id left when it was killed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
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
}
