//! Messages on standard error, each with the name of the applet, and help on standard output. A closed stream ends
//! nothing. No secret is ever written.

use std::io::Write as _;

pub(crate) use nightlatch_core::error_chain::format_error;

use crate::exit::Exit;

/// Writes the messages of one applet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppletLog {
    applet: &'static str,
    debug: bool,
}

impl AppletLog {
    /// With `debug`, messages about each step are written too.
    pub(crate) const fn new(applet: &'static str, debug: bool) -> Self {
        Self { applet, debug }
    }

    pub(crate) const fn applet(&self) -> &'static str {
        self.applet
    }

    /// A message that the administrator should read.
    pub(crate) fn info(&self, what: &str) {
        line(&format!("nightlatch-boot {}: {what}", self.applet));
    }

    /// Advice on how to mend what the last message says.
    pub(crate) fn hint(&self, what: &str) {
        self.info(&format!("hint: {what}"));
    }

    /// A message of `--debug`.
    pub(crate) fn debug(&self, what: impl FnOnce() -> String) {
        if self.debug {
            self.info(&what());
        }
    }
}

/// Makes a panic print its place only: its message may quote a secret.
pub(crate) fn silence_panics(applet: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        line(&format!(
            "nightlatch-boot {applet}: fault of this program at {place}"
        ));
    }));
}

/// One line on standard error.
pub(crate) fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
}

/// Prints what was asked for to standard output.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Success,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                line(&format!(
                    "nightlatch-boot: cannot write to standard output: {error}"
                ));
            }
            Exit::Output
        }
    }
}
