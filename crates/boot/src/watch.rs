//! Notices that something happened to the files of a directory (inotify(7)). What, the caller sees by
//! looking: then nothing is missed when events are lost.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

/// A directory that is watched.
#[derive(Debug)]
pub(crate) struct DirectoryWatch(OwnedFd);

impl DirectoryWatch {
    /// Watches for files that appear, vanish or are written.
    pub(crate) fn for_changes(directory: &Path) -> io::Result<Self> {
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE;
        Self::new(directory, changes)
    }

    /// Watches for files that any process opens, this one too.
    pub(crate) fn for_openings(directory: &Path) -> io::Result<Self> {
        Self::new(directory, WatchFlags::OPEN)
    }

    fn new(directory: &Path, events: WatchFlags) -> io::Result<Self> {
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        add_watch(&watch, directory, events | WatchFlags::ONLYDIR)?;
        Ok(Self(watch))
    }

    /// Takes up all events that have come. Tells whether there was one.
    pub(crate) fn drain(&self) -> io::Result<bool> {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut room);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(_) => any = true,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for DirectoryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

    #[test]
    fn a_reader_that_opens_a_fifo_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let openings = DirectoryWatch::for_openings(folder.path()).unwrap();
        let changes = DirectoryWatch::for_changes(folder.path()).unwrap();
        assert!(!changes.drain().unwrap() && !openings.drain().unwrap());
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(changes.drain().unwrap() && !openings.drain().unwrap());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let _reader = open(&fifo, flags, Mode::empty()).unwrap();
        assert!(openings.drain().unwrap() && !changes.drain().unwrap());
        assert!(!openings.drain().unwrap());
    }
}
