//! The connection to the system bus, and the errors of calls with hints for the administrator.

use nightlatch_bus::error::BusError;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{
    EX_CONFIG, EX_DATAERR, EX_IOERR, EX_NOPERM, EX_NOUSER, EX_PROTOCOL, EX_TEMPFAIL,
    EX_UNAVAILABLE, Failure, warn,
};
use nightlatch_console::output::table::visible;

/// Connects to the system bus.
///
/// # Errors
/// When there is no bus.
pub async fn connect() -> Result<MandosProxy, Failure> {
    MandosProxy::connect().await.map_err(failure)
}

/// Prints the warnings of the server. One without our interface has none.
pub(crate) async fn print_warnings(server: &MandosProxy) {
    if let Ok(about) = server.about().await {
        about.warnings.iter().for_each(|line| warn(visible(line)));
    }
}

/// The error of a call with its exit status and hint.
pub fn failure(error: BusError) -> Failure {
    let exit = match &error {
        BusError::NoBus(_)
        | BusError::BusLost(_)
        | BusError::NoServer
        | BusError::ServerGone
        | BusError::NoAnswer
        | BusError::NotSupported => EX_UNAVAILABLE,
        BusError::AccessDenied(_) => EX_NOPERM,
        BusError::NoSuchClient(_) => EX_NOUSER,
        BusError::BadSection(_) | BusError::Taken(_) | BusError::HasAgent(_) => EX_DATAERR,
        BusError::NotReloaded(_) => EX_CONFIG,
        BusError::NotDurable(_) => EX_IOERR,
        BusError::NoRequest(_) | BusError::SeveralRequests(_) => EX_TEMPFAIL,
        BusError::Refused { .. } | BusError::Malformed(_) => EX_PROTOCOL,
    };
    let hint = match &error {
        BusError::NoBus(_) | BusError::BusLost(_) => {
            Some("the server is reached over the system bus: is dbus running on this host?")
        }
        BusError::NoServer => Some(
            "is the server running on this host? try: systemctl status nightlatchd (or mandos)",
        ),
        BusError::NoAnswer => Some(
            "the server may still carry the order out: look before you repeat it. An approval that is not wanted any more \
             is taken back by: nightlatch deny NAME",
        ),
        BusError::ServerGone => Some("whether the order was carried out is not known: look again"),
        BusError::HasAgent(_) => Some(
            "when its agent was heard, and what a boot would get, is shown by: nightlatch why NAME. If it was disabled, and \
             the machine is in order, run: nightlatch enable NAME",
        ),
        BusError::NotReloaded(text) if text.contains("known clients are missing") => Some(
            "if a file was emptied by mistake, correct that; if it is meant: nightlatch reload \
             --accept-fewer-clients",
        ),
        BusError::AccessDenied(_) => {
            Some("run it as root; a server of Mandos also lets members of the group _mandos in")
        }
        _ => None,
    };
    let what = match &error {
        BusError::Refused { name, text } => refusal(name, text),
        // Its text holds that of its own source already.
        BusError::NoBus(source) | BusError::BusLost(source) => format!("{error}: {source}"),
        error => error.to_string(),
    };
    let failure = Failure::new(exit, what);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The text of a refusal. A stock server answers with a Python traceback, whose last line has the message.
fn refusal(name: &str, text: &str) -> String {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    match last {
        Some(last) => format!("the server refuses: {last}"),
        None => format!("the server refuses: {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_trace_only_the_last_line_is_shown() {
        let text = "Traceback (most recent call last):\n  File \"x\"\nValueError: bad\n\n";
        assert_eq!(refusal("a.b", text), "the server refuses: ValueError: bad");
        assert_eq!(refusal("a.b", ""), "the server refuses: a.b");
    }
}
