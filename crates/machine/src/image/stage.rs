//! Writes the plan below a folder that will become an image.
//!
//! Paths are resolved inside that folder, whatever links it holds. Files are born with their mode; the
//! bytes of keys go from file to file inside the kernel.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nightlatch_console::failure::{EX_CANTCREAT, Failure};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, mkdirat, openat,
    openat2, sendfile, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::plan::{FileSource, ImagePlan, PlannedDirectory, PlannedFile, PlannedLink};
use crate::accounts::Owner;

/// The mode of folders that the plan does not speak of.
const FOLDER_MODE: u32 = 0o755;

/// Bytes that are copied at once.
const PART: usize = 1 << 20;

/// Writes everything of the plan that needs no tool of the boot system. The modes are those of the plan, less
/// the umask.
pub(super) fn write(plan: &ImagePlan, folder: &Path) -> Result<(), Failure> {
    let failed = |what: &str, error: io::Error| {
        let failure = Failure::new(
            EX_CANTCREAT,
            format!("cannot write {what} below {}", folder.display()),
        );
        failure.because(error)
    };
    let tree = Tree::open(folder).map_err(|error| {
        Failure::new(EX_CANTCREAT, format!("cannot use {}", folder.display()))
            .because(error)
            .hint("expected the folder that the image is made from")
    })?;
    for one in &plan.directories {
        tree.directory(one)
            .map_err(|error| failed(&one.path, error))?;
    }
    for one in &plan.files {
        tree.file(one).map_err(|error| failed(&one.path, error))?;
    }
    for one in &plan.links {
        tree.link(one).map_err(|error| failed(&one.path, error))?;
    }
    Ok(())
}

/// The folder that becomes the root of the image.
struct Tree {
    root: OwnedFd,
}

impl Tree {
    fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, folder, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// The folder at `path`, which is made where it is missing.
    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = |path: &str| {
            let path = if path.is_empty() { "." } else { path };
            openat2(
                &self.root,
                path,
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            )
        };
        match opened(path) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let (parent, name) = split(path)?;
        let parent = self.folder(parent)?;
        mkdirat(&parent, name, Mode::from_raw_mode(FOLDER_MODE))?;
        Ok(opened(path)?)
    }

    fn directory(&self, one: &PlannedDirectory) -> io::Result<()> {
        let (parent, name) = split(&one.path)?;
        let parent = self.folder(parent)?;
        let mode = Mode::from_raw_mode(one.mode);
        match mkdirat(&parent, name, mode) {
            // Another hook has made it.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // A link there would lead to a folder of this machine.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&parent, name, flags, Mode::empty())?;
        let (user, group) = ids(one.owner);
        // The owner first: one that somebody else had keeps no right over what comes into it.
        fchown(&made, user, group)?;
        Ok(fchmod(&made, mode)?)
    }

    fn file(&self, one: &PlannedFile) -> io::Result<()> {
        let source = match &one.source {
            FileSource::Copy(source) => Some(File::open(source)?),
            FileSource::Text(_) => None,
        };
        let (parent, name) = split(&one.path)?;
        let parent = self.folder(parent)?;
        remove(&parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&parent, name, flags, Mode::from_raw_mode(one.mode))?;
        let (user, group) = ids(one.owner);
        fchown(&file, user, group)?;
        match (&one.source, source) {
            (FileSource::Text(text), _) => File::from(file).write_all(text.as_bytes()),
            (FileSource::Copy(_), Some(source)) => copy(&file, &source),
            (FileSource::Copy(_), None) => Ok(()),
        }
    }

    fn link(&self, one: &PlannedLink) -> io::Result<()> {
        let (parent, name) = split(&one.path)?;
        let parent = self.folder(parent)?;
        remove(&parent, name)?;
        Ok(symlinkat(&one.target, &parent, name)?)
    }
}

/// The folder that a path from `/` is in, and its name there.
fn split(path: &str) -> io::Result<(&str, &str)> {
    let path = path.trim_start_matches('/');
    match path.rsplit_once('/').unwrap_or(("", path)) {
        (_, "" | "." | "..") => Err(io::ErrorKind::InvalidInput.into()),
        split => Ok(split),
    }
}

/// Makes room for a file: writing a plan twice is no fault.
fn remove(parent: &OwnedFd, name: &str) -> io::Result<()> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(there) if FileType::from_raw_mode(there.st_mode) == FileType::Directory => {
            Err(io::ErrorKind::IsADirectory.into())
        }
        Ok(_) => Ok(unlinkat(parent, name, AtFlags::empty())?),
    }
}

fn ids(owner: Owner) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(owner.user)),
        Some(Gid::from_raw(owner.group)),
    )
}

/// All bytes, without taking them into this program's memory.
fn copy(to: &OwnedFd, from: &File) -> io::Result<()> {
    let mut left = from.metadata()?.size();
    while left > 0 {
        match sendfile(to.as_fd(), from, None, PART)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            sent => left = left.saturating_sub(sent as u64),
        }
    }
    Ok(())
}
