//! A daemon that has the screen, and how it is replaced by a new one: none of them can take a question
//! back (plymouth(8mandos), usplash(8mandos), splashy(8mandos); BUGS).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_sys::signals::release_in;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::wait;

/// How long the old one may take to end, and the new one to be ready.
const GRACE: Duration = Duration::from_secs(2);

/// One very process, whatever its number means later.
#[derive(Debug)]
pub(crate) struct Daemon {
    handle: OwnedFd,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Daemon {
    /// The process `pid`.
    ///
    /// # Errors
    /// When its program is not called `name`, or cannot be looked at, which needs root.
    pub(crate) fn of_process(pid: Pid, name: &str) -> io::Result<Self> {
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let program = fs::read_link(folder.join("exe"))?;
        if program.file_name() != Some(OsStr::new(name)) {
            return Err(io::Error::other(format!(
                "expected {name}, found {}",
                program.display()
            )));
        }
        let line = fs::read(folder.join("cmdline"))?;
        let words = line.split(|byte| *byte == 0);
        let mut arguments: Vec<OsString> = words
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect();
        // Each word ends with NUL, the last one too.
        arguments.pop();
        Ok(Self {
            handle,
            program,
            arguments,
        })
    }

    /// A process of the program at `path`, if there is one.
    pub(crate) fn of_program(path: &Path) -> io::Result<Option<Self>> {
        // As the kernel tells it, where /sbin is a link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else {
                continue;
            };
            if fs::read_link(entry.path().join("exe")).is_ok_and(|program| program == path) {
                return Self::of_process(pid, name).map(Some);
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
        let mut command = Command::new(self.program);
        command
            .arg0(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is sent to the group of this applet, as by Ctrl-C, is not meant for it.
            .process_group(0);
        let child = release_in(&mut command).spawn()?;
        // It goes on in the background, and its first process ends when it is ready.
        let pid = i32::try_from(child.id()).ok();
        let pid = pid.and_then(Pid::from_raw);
        let handle = pidfd_open(pid.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
        wait::for_any([handle.as_fd()], Some(GRACE))
    }
}
