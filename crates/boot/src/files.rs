//! Files that hold secrets, or that secrets pass through.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use zeroize::Zeroizing;

/// Folders of keys and settings in the initramfs: ours, and Mandos's.
const CONFIGURATION: [&str; 2] = ["/conf/conf.d/nightlatch", "/conf/conf.d/mandos"];

/// The first of these folders that exists. Files of both are never mixed: they would be of different
/// machines.
pub(crate) fn configuration() -> &'static Path {
    let [ours, mandos] = CONFIGURATION.map(Path::new);
    // An error means that it exists; reading a file in it reports the error then.
    match ours.try_exists() {
        Ok(false) => mandos,
        _ => ours,
    }
}

/// Reads a file into memory that is reserved once, so that no outgrown copy stays behind unwiped.
///
/// # Errors
/// `FileTooLarge` when it has more than `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    read_all(&File::open(path)?, max)
}

/// The same from an open file.
pub(crate) fn read_all(file: &File, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("expected at most {max} bytes"),
        ));
    }
    Ok(bytes)
}

/// A file that was found by its name and not opened yet: opening a device or another's FIFO may wait or do
/// things. What was found is what is opened later, whatever has the name by then.
#[derive(Debug)]
pub(crate) struct PathHandle {
    /// Opened for nothing (`O_PATH`).
    file: File,
    about: Metadata,
}

impl PathHandle {
    /// Opens `path` for nothing. A link is not followed.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, path, flags, Mode::empty())?);
        let about = file.metadata()?;
        Ok(Self { file, about })
    }

    pub(crate) fn about(&self) -> &Metadata {
        &self.about
    }

    /// A path that leads to it as long as this is there.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    pub(crate) fn open(&self, options: &OpenOptions) -> io::Result<File> {
        options.open(self.path())
    }
}

/// True when only root and this program's own user have any permission.
pub(crate) fn is_private(file: &Metadata) -> bool {
    file.mode() & 0o077 == 0 && is_trusted(file.uid())
}

/// True when root or this program's own user owns it, and only the owner can write.
pub(crate) fn is_owned(file: &Metadata) -> bool {
    file.mode() & 0o022 == 0 && is_trusted(file.uid())
}

/// True when a user is root or this program's own.
pub(crate) fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}
