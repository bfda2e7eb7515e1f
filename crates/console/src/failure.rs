//! Errors and notes on standard error: `nightlatch: ERROR`, `hint: COMMAND`, `nightlatch: NOTE`.
//!
//! Lower case, no full stop, colour only on a terminal. Never carries a secret.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};

use nightlatch_core::error_chain::format_error;

/// The command line is wrong (sysexits.h).
pub const EX_USAGE: u8 = 64;
/// The input data are wrong.
pub const EX_DATAERR: u8 = 65;
/// A file to be read is not there or cannot be read.
pub const EX_NOINPUT: u8 = 66;
/// There is no such client.
pub const EX_NOUSER: u8 = 67;
/// A service or program that is needed is missing.
pub const EX_UNAVAILABLE: u8 = 69;
/// A fault of our own.
pub const EX_SOFTWARE: u8 = 70;
/// The operating system failed at something.
pub const EX_OSERR: u8 = 71;
/// A file cannot be made, or is there already.
pub const EX_CANTCREAT: u8 = 73;
/// Reading or writing failed.
pub const EX_IOERR: u8 = 74;
/// A time-out; a later attempt may succeed.
pub const EX_TEMPFAIL: u8 = 75;
/// The peer's answer violates its protocol.
pub const EX_PROTOCOL: u8 = 76;
/// A file or call is refused to this user.
pub const EX_NOPERM: u8 = 77;
/// A configuration has faults.
pub const EX_CONFIG: u8 = 78;
/// Nobody reads the output any more: the exit status of a shell's command that SIGPIPE ended.
const UNREAD: u8 = 128 + 13;

/// An error for a person, with its exit status and a hint that tells how to mend it.
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    what: String,
    source: Option<Box<dyn Error>>,
    hint: Option<String>,
}

impl Failure {
    /// A failure with its exit status and what went wrong.
    pub fn new(exit: u8, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            source: None,
            hint: None,
        }
    }

    /// The reader closed the output: nothing is printed about it.
    pub fn unread() -> Self {
        Self::new(UNREAD, "")
    }

    /// Puts the subject before the message.
    pub fn about(mut self, subject: &str) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }

    /// Adds the error behind it.
    pub fn because(mut self, source: impl Error + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Adds what the administrator can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit status of the program (sysexits.h).
    pub const fn exit(&self) -> u8 {
        self.exit
    }

    /// The text of the `hint:` line.
    pub fn hint_text(&self) -> Option<String> {
        self.hint.clone()
    }

    /// Prints the error and its hint on standard error.
    pub fn report(&self) {
        if self.exit == UNREAD {
            return;
        }
        print_message(RED, "nightlatch:", &self.to_string());
        if let Some(text) = &self.hint {
            print_message(YELLOW, "hint:", text);
        }
    }
}

impl fmt::Display for Failure {
    /// The whole chain in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.source.as_deref() {
            Some(source) => write!(f, ": {}", format_error(source)),
            None => Ok(()),
        }
    }
}

/// Prints a line on standard error.
pub fn note(text: impl fmt::Display) {
    print_message(PLAIN, "nightlatch:", &text.to_string());
}

/// Prints a warning on standard error.
pub fn warn(text: impl fmt::Display) {
    print_message(YELLOW, "nightlatch: warning:", &text.to_string());
}

const PLAIN: &str = "";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const RESET: &str = "\x1b[0m";

fn print_message(colour: &str, prefix: &str, text: &str) {
    let stderr = io::stderr();
    let coloured = !colour.is_empty()
        && stderr.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut line = String::new();
    let _ = if coloured {
        writeln!(line, "{colour}{prefix}{RESET} {text}")
    } else {
        writeln!(line, "{prefix} {text}")
    };
    // In one write, so that lines of several programs do not mix. A closed stream is no reason to
    // stop what was asked for.
    let _ = stderr.lock().write_all(line.as_bytes());
}
