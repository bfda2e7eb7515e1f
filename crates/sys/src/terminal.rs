//! Asks a person for a password on a terminal.
//!
//! Echo is off while they type and the terminal is put back on every way out: signals that would end
//! or stop the process are held until that is done.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use nightlatch_core::secret::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal that controls this process (tty(4)), whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";

/// The longest line the kernel hands over in canonical mode is 4096 bytes (termios(3)).
const MAX_LINE: usize = 4096;

/// Signals that end or stop a program; each would leave echo off.
const HELD: [i32; 5] = [
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGTSTP,
];

/// Shows `prompt` on the terminal that controls this process and reads one line there without echo:
/// every byte before the line feed, white space and all. A stopped process asks again when it is
/// continued. Never touches standard input or output.
///
/// # Errors
/// `ENXIO` without a controlling terminal; `UnexpectedEof` when the person ends the input;
/// `InvalidData` for a line that the terminal cut off.
pub fn read_password(prompt: &str) -> io::Result<Secret> {
    let terminal = controlling()?;
    read_password_on(&terminal, &terminal, prompt)
}

/// Opens the terminal that controls this process.
///
/// # Errors
/// `ENXIO` when there is none.
pub fn controlling() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

/// As [`read_password`], on the terminal `input`, with the prompt on `output`.
///
/// # Errors
/// `ENOTTY` when `input` is no terminal; else as [`read_password`].
pub fn read_password_on(input: &File, output: &File, prompt: &str) -> io::Result<Secret> {
    loop {
        let mut question = PasswordPrompt::ask(input, output, prompt)?;
        while !question.is_interrupted()? {
            if let Some(line) = question.read()? {
                return Ok(line);
            }
            let ready = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut fds = question.descriptors().map(ready);
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The signal acts when the question is dropped. Whom it did not end asks again.
    }
}

/// A question that stands on a terminal. The terminal is itself again once it is dropped.
pub struct PasswordPrompt<'a> {
    // In this order: signals are released last, and act at that moment.
    quiet: EchoOff<'a>,
    output: &'a File,
    held: HeldSignals,
    line: Zeroizing<[u8; MAX_LINE]>,
    length: usize,
    answered: bool,
}

impl<'a> PasswordPrompt<'a> {
    /// Shows `prompt` on `output` and turns echo off on the terminal `input`. What was typed before
    /// is no answer, and is dropped.
    ///
    /// # Errors
    /// `ENOTTY` when `input` is no terminal.
    pub fn ask(input: &'a File, mut output: &'a File, prompt: &str) -> io::Result<Self> {
        let held = HeldSignals::hold()?;
        let quiet = EchoOff::begin(input)?;
        output.write_all(prompt.as_bytes())?;
        Ok(Self {
            quiet,
            output,
            held,
            line: Zeroizing::new([0; MAX_LINE]),
            length: 0,
            answered: false,
        })
    }

    /// Wait for these: the first is readable when a signal came, the second when a line was typed.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.held.queue.as_fd(), self.quiet.terminal.as_fd()]
    }

    /// True when a signal came that ends or stops the process. Drop the prompt to let it act.
    pub fn is_interrupted(&self) -> io::Result<bool> {
        is_readable(self.held.queue.as_fd())
    }

    /// The line, once it is there. Does not wait.
    ///
    /// # Errors
    /// `UnexpectedEof` when the person ends the input; `InvalidData` for a line that the terminal cut
    /// off.
    pub fn read(&mut self) -> io::Result<Option<Secret>> {
        let terminal = self.quiet.terminal;
        while is_readable(terminal.as_fd())? {
            let room = &mut self.line[self.length..];
            if room.is_empty() {
                let words = "the line is longer than 4095 bytes";
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            let read = rustix::io::read(terminal, room)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.length += read;
            if let Some(end) = self.line[..self.length]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                self.answered = true;
                return Ok(Some(Secret::new(self.line[..end].to_vec())));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for PasswordPrompt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordPrompt({} bytes typed)", self.length)
    }
}

impl Drop for PasswordPrompt<'_> {
    fn drop(&mut self) {
        if !self.answered {
            // The next output starts on a line of its own.
            let _ = self.output.write_all(b"\n");
        }
    }
}

fn is_readable(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    loop {
        match poll(&mut asked, Some(&now)) {
            Ok(_) => return Ok(!asked[0].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A terminal that does not echo, until dropped.
struct EchoOff<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> EchoOff<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The line feed is shown all the same, so that the next output starts on a line of its own.
        quiet
            .local_modes
            .insert(LocalModes::ECHONL | LocalModes::ICANON);
        // Input from before the question is dropped.
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoOff<'_> {
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
