//! Asks for passphrases and values without echo, and reads passphrases from files.

use std::io;
use std::path::Path;

use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, Failure, note};
use nightlatch_core::secret::Secret;
use nightlatch_sys::terminal;

use crate::input;

/// Limit in bytes: a terminal gives no more in one line.
const MAX_PASSPHRASE: usize = 4096;

/// Asks twice, until both answers are the same and not empty.
pub(crate) fn ask_twice(prompt: &str, again: &str) -> Result<Secret, Failure> {
    loop {
        let first = ask(prompt)?;
        if first.is_empty() {
            note("nothing was typed, try again");
            continue;
        }
        if ask(again)? == first {
            return Ok(first);
        }
        note("the two were not the same, try again");
    }
}

/// Asks once. The answer may be empty.
pub(crate) fn ask(prompt: &str) -> Result<Secret, Failure> {
    terminal::read_password(prompt).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::new(EX_NOINPUT, "nothing was typed"),
        io::ErrorKind::InvalidData => Failure::new(EX_DATAERR, "cannot take this").because(error),
        _ => Failure::new(EX_NOINPUT, "cannot ask: there is no terminal")
            .because(error)
            .hint("run it from a terminal (ssh -t), or give the passphrase in a file: --passphrase-file FILE"),
    })
}

/// Reads the passphrase in `file`, without a line feed at its end; `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Secret, Failure> {
    let shown = file.display();
    let passphrase = input::read(file, MAX_PASSPHRASE).map_err(|error| {
        Failure::new(EX_NOINPUT, format!("cannot read the passphrase in {shown}")).because(error)
    })?;
    let passphrase = input::without_line_feed(passphrase);
    if passphrase.is_empty() {
        return Err(Failure::new(
            EX_DATAERR,
            format!("there is no passphrase in {shown}: expected at least one character"),
        ));
    }
    Ok(passphrase)
}
