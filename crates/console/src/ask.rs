//! Questions before something is done that cannot be taken back, or to many at once.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::{EX_USAGE, Failure};

/// Exit status after a question that was not answered with yes.
const DECLINED: u8 = 1;

/// Makes sure that `what` (as `remove foo`) is meant: by `--yes` (`yes_given`), or by a person at the terminal.
pub fn confirm(what: &str, yes_given: bool) -> Result<(), Failure> {
    if yes_given {
        return Ok(());
    }
    match yes(&format!("{}{}?", what[..1].to_uppercase(), &what[1..])) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(DECLINED, "nothing was changed")),
        None => Err(Failure::new(EX_USAGE, format!("this would {what}")).hint(
            "there is no terminal to ask on: add --yes to confirm, or --dry-run to see what it would do",
        )),
    }
}

/// Asks at the terminal; true for y or yes, `None` when standard input or error is not a terminal.
pub fn yes(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut stderr = io::stderr().lock();
    // A question that nobody sees is not answered with yes.
    if write!(stderr, "{question} [y/N] ").is_err() {
        return None;
    }
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Some(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
