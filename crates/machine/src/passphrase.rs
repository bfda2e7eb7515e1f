//! Reads a password from the terminal, a file, or standard input.
//!
//! Every byte counts: nothing is stripped, and nothing that was read leaves a `Secret`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nightlatch_console::failure::{EX_DATAERR, EX_IOERR, EX_NOINPUT, Failure, note};
use nightlatch_core::secret::Secret;
use nightlatch_sys::terminal;
use zeroize::Zeroizing;

/// The most bytes a password may have. All of it must fit into a pipe at once (pipe(7)), and into
/// what a boot client accepts.
pub(crate) const MAX_PASSWORD: usize = 64 * 1024;

/// Asks for a new password twice, until both answers are the same and not empty.
pub(crate) fn ask_new(prompt: &str) -> Result<Secret, Failure> {
    loop {
        let first = ask(prompt)?;
        if first.is_empty() {
            note("an empty password opens nothing, try again");
            continue;
        }
        if ask("Repeat passphrase: ")? == first {
            return Ok(first);
        }
        note("the two were not the same, try again");
    }
}

/// Asks for a password once.
pub(crate) fn ask(prompt: &str) -> Result<Secret, Failure> {
    terminal::read_password(prompt).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::new(EX_NOINPUT, "no password was typed"),
        io::ErrorKind::InvalidData => {
            Failure::new(EX_DATAERR, "cannot take this password").because(error)
        }
        _ => Failure::new(EX_NOINPUT, "cannot ask for a password: no terminal")
            .because(error)
            .hint("run it from a terminal (ssh -t), or give the password in a file"),
    })
}

/// Reads the password in `file`, byte for byte; `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Secret, Failure> {
    let shown = file.display();
    let secret = if file == Path::new("-") {
        read_all(io::stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| {
            Failure::new(EX_NOINPUT, format!("cannot open {shown}")).because(error)
        })?;
        read_all(opened)
    }
    .map_err(|error| Failure::new(EX_IOERR, format!("cannot read {shown}")).because(error))?;
    if secret.is_empty() {
        return Err(Failure::new(EX_DATAERR, format!("{shown} is empty"))
            .hint("a password needs at least one byte"));
    }
    if secret.len() > MAX_PASSWORD {
        return Err(Failure::new(
            EX_DATAERR,
            format!("{shown} is too large: expected at most {MAX_PASSWORD} bytes"),
        ));
    }
    Ok(secret)
}

/// One byte past the limit tells that there is more. All the room at once: a buffer that grows leaves
/// copies behind.
fn read_all(from: impl Read) -> io::Result<Secret> {
    let limit = MAX_PASSWORD + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    from.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}
