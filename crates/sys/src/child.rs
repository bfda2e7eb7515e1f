//! A part of a program in a process of its own (fork(2)): what goes wrong there goes wrong there only,
//! and it can be ended at any moment.
//!
//! For programs of one thread. Whose code is run there, and what it may do, is the caller's to say.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitpid,
};
use rustix::thread::set_no_new_privs;

/// The status of a child that panicked, where panics unwind.
const PANICKED: i32 = 101;

/// A process that runs a part of this program. Ended and reaped on drop.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    handle: OwnedFd,
}

impl Child {
    /// Runs `part` in a copy of this process and answers with it and the end of a socket whose other end is
    /// `part`'s standard output. What is written to it `part` reads from there.
    ///
    /// The copy has every other descriptor closed but standard input and error, never gains
    /// privileges, and ends when this process ends. The signals that are held back here are held
    /// back there.
    ///
    /// # Errors
    /// When there are several threads: a copy of a program of which one thread holds a lock would
    /// wait for that lock for ever. Else what socketpair(2), fork(2) and pidfd_open(2) say.
    pub fn start(part: impl FnOnce()) -> io::Result<(Self, OwnedFd)> {
        if threads()? != 1 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a program of several threads cannot be copied",
            ));
        }
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let parent = getpid();
        // SAFETY: there is one thread only, so that the copy is whole and may run any code; it never
        // returns from here, so that nothing of the caller runs twice.
        let forked = unsafe { libc::fork() };
        match forked {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                let ran = catch_unwind(AssertUnwindSafe(|| run(parent, theirs, part)));
                let status = match ran {
                    Ok(Ok(())) => 0,
                    Ok(Err(_)) => 1,
                    Err(_) => PANICKED,
                };
                // SAFETY: ends this process and nothing else, without the parent's exit handlers.
                unsafe { libc::_exit(status) }
            }
            number => {
                let pid = Pid::from_raw(number).ok_or(io::ErrorKind::InvalidData)?;
                let handle = match pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(handle) => handle,
                    Err(error) => {
                        let _ = rustix::process::kill_process(pid, Signal::KILL);
                        let _ = waitpid(Some(pid), WaitOptions::empty());
                        return Err(error.into());
                    }
                };
                Ok((Self { pid, handle }, ours))
            }
        }
    }

    /// Ends it at once. It closes its end of the socket by that.
    pub fn kill(&self) {
        // One that has ended already is no error.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        while matches!(
            waitpid(Some(self.pid), WaitOptions::empty()),
            Err(Errno::INTR)
        ) {}
    }
}

/// Nobody may look into the copy either: it has the parent's dumpable state.
fn run(parent: Pid, output: OwnedFd, part: impl FnOnce()) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        // The parent ended before the signal was set.
        return Ok(());
    }
    set_no_new_privs(true)?;
    rustix::stdio::dup2_stdout(&output)?;
    // The copy never returns: what owned these here is never dropped.
    std::mem::forget(output);
    close_all_from(FIRST_OTHER);
    part();
    Ok(())
}

/// The first descriptor that is not a standard stream.
const FIRST_OTHER: libc::c_uint = 3;

/// Kernels before 5.9 have no such call: there they stay open, and do no harm.
fn close_all_from(first: libc::c_uint) {
    // SAFETY: closes descriptors of a process that never returns to code that owns any of them.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

pub(crate) fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The test harness has several threads. The tests of nightlatch-boot show a child of a program with one.
    #[test]
    fn a_program_of_several_threads_is_not_copied() {
        let error = Child::start(|| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
