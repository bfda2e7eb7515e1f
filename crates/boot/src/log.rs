//! What the user reads: messages on standard error, each with the name of the applet, and help on
//! standard output. A stream that is closed is no reason to end. Never anything secret.

use std::io::Write as _;
use std::process::ExitCode;

pub use nightlatch_core::chain::chain;

use crate::exit::Exit;

/// The messages of one applet.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    applet: &'static str,
    debug: bool,
}

impl Log {
    /// Messages of `applet`; with `debug`, those about each step too.
    pub const fn new(applet: &'static str, debug: bool) -> Self {
        Self { applet, debug }
    }

    /// What the administrator should know.
    pub fn say(&self, what: &str) {
        line(&format!("nightlatch-boot {}: {what}", self.applet));
    }

    /// What could mend what was said last.
    pub fn hint(&self, what: &str) {
        self.say(&format!("hint: {what}"));
    }

    /// What only helps to find a fault.
    pub fn debug(&self, what: impl FnOnce() -> String) {
        if self.debug {
            self.say(&what());
        }
    }
}

/// From now on a panic tells its place only: its message may quote what was being worked on.
pub fn silence_panics(applet: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        line(&format!(
            "nightlatch-boot {applet}: fault of this program at {place}"
        ));
    }));
}

/// One line on standard error.
pub fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
}

/// What was asked for, on standard output.
pub fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                line(&format!(
                    "nightlatch-boot: cannot write to standard output: {error}"
                ));
            }
            Exit::Output.into()
        }
    }
}
