//! A daemon that has the screen, and how it is replaced by a new one: none of them can take a question
//! back (plymouth(8mandos), usplash(8mandos), splashy(8mandos); BUGS).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nightlatch_sys::peers::only_user_of;
use nightlatch_sys::signals::release_in;
use nightlatch_sys::trusted::{Executable, TrustError};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use crate::files::is_trusted;
use crate::wait;

/// Time for the old daemon to end, and for the new one to be ready.
const GRACE: Duration = Duration::from_secs(2);

/// One very process, whatever its number means later, and the program that it runs.
#[derive(Debug)]
pub(crate) struct SplashDaemon {
    handle: OwnedFd,
    program: Executable,
    arguments: Vec<OsString>,
}

/// A process cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error("cannot look at the process {0}")]
    Look(i32, #[source] io::Error),
    #[error("cannot tell which process it is")]
    Peer(#[source] io::Error),
    #[error("cannot read /proc")]
    Proc(#[source] io::Error),
    #[error("the process {0} has ended")]
    Gone(i32),
    #[error("the process {0} is not root's alone")]
    Owner(i32),
    #[error("expected {expected}, found {}", found.display())]
    Name { expected: String, found: PathBuf },
    #[error("the process {0} runs another program than is at its place now")]
    Changed(i32),
    #[error("its program is not started again")]
    Program(#[from] TrustError),
}

impl SplashDaemon {
    /// The process `pid`, which `handle` refers to.
    ///
    /// # Errors
    /// When neither root nor this program's user runs it, its program is not called `name`, another user could have
    /// put that program into its place, or this program may not look at it, which needs root.
    pub(crate) fn of_process(handle: OwnedFd, pid: Pid, name: &str) -> Result<Self, DaemonError> {
        let number = pid.as_raw_nonzero().get();
        let look = |error| DaemonError::Look(number, error);
        if !only_user_of(number.unsigned_abs()).is_some_and(is_trusted) {
            return Err(DaemonError::Owner(number));
        }
        let folder = PathBuf::from(format!("/proc/{number}"));
        let running = File::open(folder.join("exe")).map_err(look)?;
        let path = fs::read_link(folder.join("exe")).map_err(look)?;
        let line = fs::read(folder.join("cmdline")).map_err(look)?;
        // All that was of the process that the handle refers to, if that is there still.
        if wait::for_end(handle.as_fd(), Duration::ZERO).map_err(look)? {
            return Err(DaemonError::Gone(number));
        }
        if path.file_name() != Some(OsStr::new(name)) {
            return Err(DaemonError::Name {
                expected: name.to_owned(),
                found: path,
            });
        }
        let program = Executable::open(&path, geteuid().as_raw())?;
        if !program.is(&running).map_err(look)? {
            return Err(DaemonError::Changed(number));
        }
        Ok(Self {
            handle,
            program,
            arguments: split_arguments(&line),
        })
    }

    /// A process of the program at `path`, if root (or this program's user) runs one. Those of others do not count.
    pub(crate) fn of_program(path: &Path) -> Result<Option<Self>, DaemonError> {
        // The kernel shows the path with all links resolved; /sbin may be one.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let entries = fs::read_dir("/proc").map_err(DaemonError::Proc)?;
        for entry in entries.filter_map(Result::ok) {
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else {
                continue;
            };
            let user = only_user_of(pid.as_raw_nonzero().get().unsigned_abs());
            let runs = || fs::read_link(entry.path().join("exe")).is_ok_and(|it| it == path);
            if user.is_some_and(is_trusted) && runs() {
                // One that has ended by now was none.
                let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
                    continue;
                };
                return Self::of_process(handle, pid, name).map(Some);
            }
        }
        Ok(None)
    }

    /// Ends it and starts another with the same arguments.
    pub(crate) fn replace(self) -> io::Result<()> {
        let arguments = self.arguments.clone();
        self.replace_with(&arguments)
    }

    /// Ends it and starts another; `arguments` begin with its name.
    pub(crate) fn replace_with(self, arguments: &[OsString]) -> io::Result<()> {
        let _ = pidfd_send_signal(&self.handle, Signal::TERM);
        if !wait::for_end(self.handle.as_fd(), GRACE)? {
            pidfd_send_signal(&self.handle, Signal::KILL)?;
            wait::for_end(self.handle.as_fd(), GRACE)?;
        }
        let (name, arguments) = arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = self.program.command();
        command
            .arg0(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals to the group of this applet, as from Ctrl-C, must not reach it.
            .process_group(0);
        let child = release_in(&mut command).spawn()?;
        // It goes on in the background, and its first process ends when it is ready.
        let pid = i32::try_from(child.id()).ok();
        let pid = pid.and_then(Pid::from_raw);
        let handle = pidfd_open(pid.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
        wait::for_any([handle.as_fd()], Some(GRACE))
    }
}

/// The arguments of a process (proc(5), cmdline): each ends with NUL, the last one too.
fn split_arguments(line: &[u8]) -> Vec<OsString> {
    let parts = line.split(|byte| *byte == 0);
    let mut arguments: Vec<OsString> = parts
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect();
    arguments.pop();
    arguments
}
