//! Asks a person for a password on the terminal that controls this process.
//!
//! Echo is off while they type and the terminal is put back on every way out: signals that would end
//! or stop the process are held until that is done. Never touches standard input or output.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nightlatch_core::secret::Secret;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal that controls this process (tty(4)), whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";

/// The longest line the kernel hands over in canonical mode is 4096 bytes (termios(3)).
const MAX_LINE: usize = 4096;

/// What a person or the system sends to end or stop a program: all would leave echo off.
const HELD: [i32; 5] = [
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGTSTP,
];

/// Shows `prompt` and reads one line without echo: every byte before the line feed, white space and
/// all. A stopped process asks again when it is continued.
///
/// # Errors
/// `ENXIO` without a controlling terminal; `UnexpectedEof` when the person ends the input;
/// `InvalidData` for a line that the terminal cut off.
pub fn read_password(prompt: &str) -> io::Result<Secret> {
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
    loop {
        // The signals are released last, after the terminal is itself again, and act at that moment.
        let held = HeldSignals::hold()?;
        let quiet = Quiet::begin(&terminal)?;
        (&terminal).write_all(prompt.as_bytes())?;
        let line = read_line(&terminal, &held)?;
        drop(quiet);
        if let Some(line) = line {
            return Ok(line);
        }
        (&terminal).write_all(b"\n")?;
        drop(held);
    }
}

/// One line, or `None` when a signal came first.
fn read_line(mut terminal: &File, held: &HeldSignals) -> io::Result<Option<Secret>> {
    let mut line = Zeroizing::new([0; MAX_LINE]);
    let mut length = 0;
    loop {
        let ready = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = [ready(held.queue.as_fd()), ready(terminal.as_fd())];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            return Ok(None);
        }
        let read = terminal.read(&mut line[length..])?;
        if read == 0 {
            return Err(if length == MAX_LINE {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the line is longer than 4095 bytes",
                )
            } else {
                io::ErrorKind::UnexpectedEof.into()
            });
        }
        length += read;
        if line[length - 1] == b'\n' {
            return Ok(Some(Secret::new(line[..length - 1].to_vec())));
        }
    }
}

/// A terminal that does not echo, until dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The line feed is shown all the same, so that the next output starts on a line of its own.
        quiet
            .local_modes
            .insert(LocalModes::ECHONL | LocalModes::ICANON);
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing better can be done when it fails: the terminal is gone then.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// [`HELD`], held back in this thread until dropped; `queue` is readable once one came (signalfd(2)).
struct HeldSignals {
    before: libc::sigset_t,
    queue: OwnedFd,
}

impl HeldSignals {
    fn hold() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, and the numbers added are valid signals.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in HELD {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        };
        // SAFETY: -1 asks for a new descriptor; `set` lives through the call.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us `fd`, and nobody else owns it.
        let queue = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut before = MaybeUninit::uninit();
        // SAFETY: `set` is initialised and `before` has room for the mask that was in force.
        let code =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        Ok(Self {
            // SAFETY: the call succeeded, so the old mask is filled in.
            before: unsafe { before.assume_init() },
            queue,
        })
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: `before` is the initialised mask that the kernel gave us.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}
