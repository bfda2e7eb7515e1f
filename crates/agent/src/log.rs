//! Messages on standard error, which systemd takes into the journal. No secret is ever written.

use std::io::Write as _;

/// The name of the program.
pub(crate) const PROGRAM: &str = "nightlatch-agent";

/// Set where standard error leads to the journal (systemd.exec(5)).
const JOURNAL: &str = "JOURNAL_STREAM";

/// Writes messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    debug: bool,
}

impl Log {
    /// With `debug`, messages about each step are written too.
    pub(crate) const fn new(debug: bool) -> Self {
        Self { debug }
    }

    /// A message that the administrator should read.
    pub(crate) fn info(self, what: &str) {
        line(&format!("{PROGRAM}: {what}"));
    }

    /// A message about somebody who attacks this machine. The journal shows it as an alert (sd-daemon(3)).
    pub(crate) fn alarm(self, what: &str) {
        let level = match std::env::var_os(JOURNAL) {
            Some(_) => "<1>",
            None => "",
        };
        line(&format!("{level}{PROGRAM}: ALARM: {what}"));
    }

    /// Advice on how to mend what the last message says.
    pub(crate) fn hint(self, what: &str) {
        self.info(&format!("hint: {what}"));
    }

    /// A message of `--debug`.
    pub(crate) fn debug(self, what: impl FnOnce() -> String) {
        if self.debug {
            self.info(&what());
        }
    }
}

/// Makes a panic print its place only: its message may quote a secret.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        line(&format!("{PROGRAM}: fault of this program at {place}"));
    }));
}

/// Writes one line to standard error. An error is ignored: a closed stream must not end the program.
fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
}
