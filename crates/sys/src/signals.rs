//! Signals that end a program, as something it can wait for (signalfd(2)), so that it can put things
//! back first and then die of the same signal.
//!
//! Never runs code in a signal handler.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK};

/// A signal that asks a program to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// `SIGINT`, sent by Ctrl-C.
    Interrupt,
    /// `SIGHUP`, sent when a terminal closes.
    HangUp,
    /// `SIGTERM`, the usual request to end.
    Terminate,
    /// `SIGQUIT`. Never held by [`EndSignals`]: it is for finding out what the program does.
    Quit,
}

impl Signal {
    /// Those that are held.
    const ALL: [Self; 3] = [Self::Interrupt, Self::HangUp, Self::Terminate];

    /// Its number on this system.
    pub const fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::HangUp => libc::SIGHUP,
            Self::Terminate => libc::SIGTERM,
            Self::Quit => libc::SIGQUIT,
        }
    }
}

/// The ending signals, held back and ready to be read.
#[derive(Debug)]
pub struct EndSignals(OwnedFd);

impl EndSignals {
    /// Holds back SIGINT, SIGHUP and SIGTERM from now on, except those that are ignored already, as by nohup(1).
    ///
    /// Call it before the first thread is started: a thread inherits the mask. So does a program that is started,
    /// unless [`release_in`] is used.
    pub fn hold() -> io::Result<Self> {
        let mut set = empty_set();
        for signal in Signal::ALL {
            if !is_ignored(signal)? {
                // SAFETY: `set` is an initialised signal set and the number is a valid signal.
                unsafe { libc::sigaddset(&raw mut set, signal.number()) };
            }
        }
        change_mask(SIG_BLOCK, &set)?;
        // SAFETY: -1 asks for a new descriptor; `set` lives through the call.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us `fd`, and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that came, without waiting.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` has room for `size` bytes, and the descriptor is ours.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            };
        }
        if read as usize != size {
            return Ok(None);
        }
        // SAFETY: the kernel filled in the whole structure.
        let number = unsafe { info.assume_init() }.ssi_signo as i32;
        Ok(Signal::ALL.into_iter().find(|s| s.number() == number))
    }
}

impl AsFd for EndSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes `command` start its program with no signal held back, whatever is held back here.
pub fn release_in(command: &mut Command) -> &mut Command {
    // SAFETY: the closure makes one system call: nothing is allocated and no lock is taken between
    // fork(2) and execve(2).
    unsafe { command.pre_exec(|| change_mask(SIG_SETMASK, &empty_set())) }
}

/// Ends this process by `signal`, which its parent then sees as the reason.
pub fn die_of(signal: Signal) -> ! {
    let mut set = empty_set();
    // SAFETY: `set` is an initialised signal set and the number is a valid signal; restoring the
    // default disposition installs no handler; raising a signal of ours in ourselves is always allowed.
    unsafe {
        libc::sigaddset(&raw mut set, signal.number());
        libc::signal(signal.number(), SIG_DFL);
        libc::kill(libc::getpid(), signal.number());
    }
    let _ = change_mask(SIG_UNBLOCK, &set);
    // Not reached: the default of each of these signals is to end the process. The shell's number
    // for it is the next best answer.
    std::process::exit(128 + signal.number())
}

fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; `old` has room for the answer.
    let result = unsafe { libc::sigaction(signal.number(), std::ptr::null(), old.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so `old` is filled in.
    Ok(unsafe { old.assume_init() }.sa_sigaction == SIG_IGN)
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set and cannot fail on a valid pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn change_mask(how: i32, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(how, set, std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The tests of nightlatch-boot show what a held signal does to a whole process.
    #[test]
    fn a_held_signal_is_read_once() {
        // The mask is the thread's own, and so is a signal sent to the thread.
        std::thread::spawn(|| {
            let signals = EndSignals::hold().unwrap();
            assert_eq!(signals.next().unwrap(), None);
            // SAFETY: SIGHUP is held back in this thread, so it only becomes pending here.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
            assert_eq!(signals.next().unwrap(), Some(Signal::HangUp));
            assert_eq!(signals.next().unwrap(), None);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_program_that_is_started_holds_nothing_back() {
        std::thread::spawn(|| {
            let _signals = EndSignals::hold().unwrap();
            let mut command = Command::new("cat");
            command.arg("/proc/self/status");
            let output = release_in(&mut command).output().unwrap();
            let status = String::from_utf8(output.stdout).unwrap();
            assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
        })
        .join()
        .unwrap();
    }
}
