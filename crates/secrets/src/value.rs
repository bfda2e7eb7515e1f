//! The value of a named secret: read, typed or made.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, EX_OSERR, EX_USAGE, Failure};
use nightlatch_core::sealed_secret::MAX_VALUE;
use nightlatch_core::secret::Secret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_sys::random;
use zeroize::Zeroizing;

use crate::{input, passphrase};

/// The characters of a random value. None needs quotes in a shell.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The least number of characters of a random value, 47 bits. A shorter one could be guessed.
const LEAST: usize = 8;
const MOST: usize = 4096;

/// The source of the value.
#[derive(Args, Debug, Default)]
pub(crate) struct ValueOptions {
    /// Read the value from this file, byte for byte; - is standard input [default: standard input; on a terminal it is
    /// typed twice]
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,

    /// Leave out a line feed at the end of what is read, as echo writes it
    #[arg(long)]
    pub(crate) trim: bool,

    /// Make a random value of LENGTH letters and digits [default: 32]
    #[arg(
        long,
        value_name = "LENGTH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "32",
        value_parser = length,
        conflicts_with_all = ["from", "trim"]
    )]
    pub(crate) generate: Option<usize>,

    /// With --generate: print the value to standard output
    #[arg(long, requires = "generate")]
    pub(crate) print: bool,
}

/// Reads the value of `--generate`.
fn length(text: &str) -> Result<usize, String> {
    let length = text.parse().ok();
    let length = length.filter(|length| (LEAST..=MOST).contains(length));
    length.ok_or_else(|| format!("expected a number from {LEAST} to {MOST}, found {text:?}"))
}

impl ValueOptions {
    /// True when the value comes from standard input.
    pub(crate) fn uses_stdin(&self) -> bool {
        match &self.from {
            Some(file) => file == Path::new("-"),
            None => self.generate.is_none() && !io::stdin().is_terminal(),
        }
    }

    /// Refuses a passphrase from standard input beside a value from there.
    pub(crate) fn check_stdin(&self, passphrase: Option<&Path>) -> Result<(), Failure> {
        match passphrase {
            Some(file) if file == Path::new("-") && self.uses_stdin() => Err(Failure::new(
                EX_USAGE,
                "the passphrase and the value cannot both come from standard input",
            )
            .hint("give the value by --from FILE, or the passphrase on the terminal")),
            _ => Ok(()),
        }
    }

    /// Reads, asks for or makes the value.
    pub(crate) fn get(&self, name: &SecretName) -> Result<Secret, Failure> {
        if let Some(length) = self.generate {
            return generate(length);
        }
        if self.from.is_none() && io::stdin().is_terminal() {
            let prompt = format!("Value of {name}: ");
            return passphrase::ask_twice(&prompt, "Repeat the value: ");
        }
        let file = self.from.as_deref().unwrap_or(Path::new("-"));
        let shown = match file == Path::new("-") {
            true => "standard input".to_owned(),
            false => file.display().to_string(),
        };
        let value = input::read(file, MAX_VALUE).map_err(|error| {
            Failure::new(EX_NOINPUT, format!("cannot read the value from {shown}")).because(error)
        })?;
        let value = match self.trim {
            true => input::without_line_feed(value),
            false => value,
        };
        if value.is_empty() {
            return Err(Failure::new(
                EX_DATAERR,
                format!("there is no value in {shown}: expected at least one byte"),
            ));
        }
        Ok(value)
    }
}

/// Makes a random value of `length` characters of [`LETTERS`], each as likely as the others.
pub(crate) fn generate(length: usize) -> Result<Secret, Failure> {
    /// The greatest multiple of the number of letters up to 256. Bytes from there on are skipped: they would make the
    /// first letters more likely.
    const FAIR: usize = 256 / LETTERS.len() * LETTERS.len();
    let mut value = Zeroizing::new(Vec::with_capacity(length));
    while value.len() < length {
        let bytes = random::bytes::<64>().map_err(|error| {
            Failure::new(EX_OSERR, "the system gives no random bytes").because(error)
        })?;
        let bytes = Zeroizing::new(bytes);
        let fair = bytes.iter().map(|byte| usize::from(*byte));
        let fair = fair.filter(|number| *number < FAIR);
        let letters = fair.map(|number| LETTERS[number % LETTERS.len()]);
        let missing = length - value.len();
        value.extend(letters.take(missing));
    }
    Ok(Secret::new(std::mem::take(&mut *value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_made_has_letters_and_digits_only() {
        let value = generate(2000).unwrap();
        assert_eq!(value.len(), 2000);
        assert!(value.expose().iter().all(u8::is_ascii_alphanumeric));
        // Each letter is there: the chance that one of 62 is missing is below 1 in 10^12.
        let missing = LETTERS.iter().find(|it| !value.expose().contains(it));
        assert_eq!(missing, None);
        assert_ne!(generate(32).unwrap(), generate(32).unwrap());
    }

    #[test]
    fn a_short_value_is_refused() {
        assert_eq!(length("8"), Ok(8));
        for text in ["7", "5000", "-1", "web1"] {
            assert!(length(text).is_err(), "{text}");
        }
    }
}
