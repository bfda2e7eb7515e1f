//! Plymouth's daemon: whether there is one, which it is, and how it is replaced by a new one, since it
//! cannot take a question back (plymouth(8mandos), BUGS).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_sys::signals::release_in;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::wait;

/// Where the daemon writes its process id.
const PID_FILE: &str = "/run/plymouth/pid";

/// Its name.
const NAME: &str = "plymouthd";

/// How long the old one may take to end, and the new one to be ready.
const GRACE: Duration = Duration::from_secs(2);

/// Whether Plymouth has the screen: it has left its process id, or there is a process of its name
/// (password-prompt(8mandos)).
pub fn is_running() -> bool {
    Path::new(PID_FILE).exists() || has_process()
}

fn has_process() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let name = fs::read_to_string(entry.path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == NAME)
    })
}

/// The very process that listens at a socket, whatever number it has later.
#[derive(Debug)]
pub(super) struct Daemon {
    handle: OwnedFd,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Daemon {
    /// The daemon at the other end.
    ///
    /// # Errors
    /// When it is not a program called plymouthd, or cannot be looked at, which needs root.
    pub(super) fn at(stream: &UnixStream) -> io::Result<Self> {
        let pid = socket_peercred(stream)?.pid;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let program = fs::read_link(folder.join("exe"))?;
        if program.file_name() != Some(OsStr::new(NAME)) {
            return Err(io::Error::other(format!(
                "expected {NAME} at the socket, found {}",
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

    /// Ends it and starts another with the same arguments.
    pub(super) fn replace(self) -> io::Result<()> {
        let _ = pidfd_send_signal(&self.handle, Signal::TERM);
        if !is_over(&self.handle, GRACE)? {
            pidfd_send_signal(&self.handle, Signal::KILL)?;
            is_over(&self.handle, GRACE)?;
        }
        let mut arguments = self.arguments.into_iter();
        let mut command = Command::new(self.program);
        command
            .arg0(arguments.next().unwrap_or_else(|| NAME.into()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is sent to the group of this applet, as by Ctrl-C, is not meant for it.
            .process_group(0);
        let child = release_in(&mut command).spawn()?;
        // It goes on in the background, and its first process ends when it is ready.
        let pid = i32::try_from(child.id()).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let handle = pidfd_open(pid.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
        wait::for_any([handle.as_fd()], Some(GRACE))
    }
}

fn is_over(handle: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut waited = [PollFd::new(handle, PollFlags::IN)];
    loop {
        match poll(&mut waited, Some(&limit)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
