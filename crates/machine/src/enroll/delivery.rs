//! The section on its way out: what is lost here is known to nobody.

use std::io::{self, Write as _};
use std::time::Duration;

use nightlatch_console::failure::{EX_IOERR, EX_USAGE, Failure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatvfs, fsync, major, minor};
use rustix::io::Errno;

/// Of the kernel's memory devices (Documentation/admin-guide/devices.txt): `/dev/null` and `/dev/full`.
const MEMORY: u32 = 1;
const NULL: u32 = 3;
const FULL: u32 = 7;

/// Time between two looks at a pipe that is still being read.
const AGAIN: Duration = Duration::from_millis(20);

/// A standard output that seems to take the section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    kind: FileType,
}

impl Delivery {
    /// Looks at standard output before anything is changed. One that is closed was opened as `/dev/null` when the
    /// program started.
    pub(super) fn check() -> Result<Self, Failure> {
        let out = io::stdout();
        let failed = |errno: Errno| cannot_write(errno.into());
        let file = fstat(&out).map_err(failed)?;
        let kind = FileType::from_raw_mode(file.st_mode);
        let device = (major(file.st_rdev), minor(file.st_rdev));
        if kind == FileType::CharacterDevice && device == (MEMORY, NULL) {
            return Err(Failure::new(
                EX_USAGE,
                "standard output is closed, or /dev/null: the section for the server would be lost",
            )
            .hint("keep it: nightlatch ... > section, or ... | ssh server nightlatch add"));
        }
        if fcntl_getfl(&out).map_err(failed)? & OFlags::ACCMODE == OFlags::RDONLY {
            return Err(cannot_write(Errno::BADF.into()));
        }
        let is_full = match kind {
            FileType::RegularFile => {
                fstatvfs(&out).is_ok_and(|it| it.f_bavail == 0 && it.f_blocks > 0)
            }
            _ => kind == FileType::CharacterDevice && device == (MEMORY, FULL),
        };
        if is_full {
            return Err(cannot_write(Errno::NOSPC.into()));
        }
        if reader_is_gone()? {
            return Err(cannot_write(Errno::PIPE.into()));
        }
        Ok(Self { kind })
    }

    /// Writes all of it and waits until it is on the disk, or read from the pipe. `check` fails when the program
    /// is to end.
    pub(super) fn deliver(
        self,
        section: &str,
        mut check: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(section.as_bytes());
        written.and_then(|()| out.flush()).map_err(cannot_write)?;
        match self.kind {
            FileType::RegularFile => match fsync(&out) {
                Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
                Err(errno) => Err(cannot_write(errno.into())),
            },
            FileType::Fifo => loop {
                let left = rustix::io::ioctl_fionread(&out);
                if left.map_err(|errno| cannot_write(errno.into()))? == 0 {
                    return Ok(());
                }
                if reader_is_gone()? {
                    return Err(cannot_write(Errno::PIPE.into()));
                }
                check()?;
                std::thread::sleep(AGAIN);
            },
            _ => Ok(()),
        }
    }
}

/// True when the other end of the pipe that standard output may be was closed.
fn reader_is_gone() -> Result<bool, Failure> {
    let out = io::stdout();
    let mut looked = [PollFd::new(&out, PollFlags::empty())];
    match poll(&mut looked, Some(&Timespec::default())) {
        Ok(_) => Ok(looked[0].revents().contains(PollFlags::ERR)),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(cannot_write(errno.into())),
    }
}

fn cannot_write(error: io::Error) -> Failure {
    Failure::new(EX_IOERR, "cannot write the section to standard output").because(error)
}
