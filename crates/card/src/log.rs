//! Messages of the agent on standard error, which systemd takes into the journal. No secret is ever written.

use std::io::Write as _;

/// Set where standard error leads to the journal (systemd.exec(5)).
const JOURNAL: &str = "JOURNAL_STREAM";

/// Writes a message.
pub(crate) fn info(what: &str) {
    line(&format!("nightlatch-card: {what}"));
}

/// Writes a message about something that a person should look at. The journal shows it as an alert (sd-daemon(3)).
pub(crate) fn alarm(what: &str) {
    let level = match std::env::var_os(JOURNAL) {
        Some(_) => "<1>",
        None => "",
    };
    line(&format!("{level}nightlatch-card: ALARM: {what}"));
}

/// Makes a panic print its place only: its message may quote a secret.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        line(&format!(
            "nightlatch-card: fault of this program at {place}"
        ));
    }));
}

/// A closed stream must not end the program.
fn line(text: &str) {
    let text = text.trim_end().replace('\n', " ");
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
