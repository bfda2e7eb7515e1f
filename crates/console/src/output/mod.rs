//! Standard output: colours, tables, JSON, times.

use std::io::{self, IsTerminal, Write};

use crate::failure::{EX_IOERR, Failure};

pub mod human;
pub mod json;
pub mod table;

/// Prints what was asked for to standard output.
///
/// Fails quietly when nobody reads it any more, as `head` does.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush()).map_err(failure)
}

/// The error of writing to standard output; silent when the reader closed it.
pub fn failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::unread();
    }
    Failure::new(EX_IOERR, "cannot write to standard output").because(error)
}

/// The columns of the terminal that standard output is; `None` when it is none.
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints to standard error, as it is and in one write. A closed stream is no reason to stop what was
/// asked for.
pub fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// True when standard output is a terminal and NO_COLOR (no-color.org) is not set.
pub fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The meaning of a colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// As it is.
    Plain,
    Bold,
    /// Of less importance.
    Dim,
    /// As it should be.
    Good,
    /// Needs a look.
    Warning,
    /// Not as it should be.
    Bad,
}

impl Style {
    /// `text` in this style, when colours are wanted.
    pub fn paint(self, text: &str, coloured: bool) -> String {
        let code = match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        };
        if code.is_empty() || !coloured {
            return text.to_owned();
        }
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
