//! Errors of D-Bus calls, by cause.

use std::io;
use std::time::Duration;

use crate::names::{MANDOS, NIGHTLATCH, errors};

/// Time for an answer. Whoever calls a server that hangs must not wait for ever: a stock one can dead-lock.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A call without the wanted answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BusError {
    /// There is no bus to connect to.
    #[error("cannot connect to the system bus")]
    NoBus(#[source] zbus::Error),
    /// The connection to the bus broke.
    #[error("lost the connection to the system bus")]
    BusLost(#[source] zbus::Error),
    /// No process owns the server's bus name.
    #[error("no server has the name {MANDOS} on the system bus")]
    NoServer,
    /// The server went away before it answered.
    #[error("the server went away before it answered")]
    ServerGone,
    /// It is there, and gave no answer in time.
    #[error("the server did not answer within {} seconds: it hangs, is very busy, or waits for its disk", ANSWER_LIMIT.as_secs())]
    NoAnswer,
    /// The bus does not let us.
    #[error("the system bus does not allow it: {0}")]
    AccessDenied(String),
    /// The object is not there (any more).
    #[error("the server has no such client: {0}")]
    NoSuchClient(String),
    /// The server has no such thing: it is a stock one.
    #[error("this server has no {NIGHTLATCH}")]
    NotSupported,
    /// `AddClient`: the text is no valid section.
    #[error("{0}")]
    BadSection(String),
    /// `AddClient`: name or key belongs to another client.
    #[error("{0}")]
    Taken(String),
    /// A check, or a declaration in its place, of a machine whose agent is its proof of life.
    #[error("{0}")]
    HasAgent(String),
    /// No request waits, or none of this number.
    #[error("{0}")]
    NoRequest(String),
    /// Several requests of a client wait, and one must be named.
    #[error("{0}")]
    SeveralRequests(String),
    /// The order is in force, but not durable yet.
    #[error("{0}")]
    NotDurable(String),
    /// `Reload`: nothing changed.
    #[error("not reloaded, everything stays as it was: {0}")]
    NotReloaded(String),
    /// Any other error that the server answered.
    #[error("the server answers {name}: {text}")]
    Refused {
        /// The error's name on the bus.
        name: String,
        /// The error's message.
        text: String,
    },
    /// An answer that is not in the form of the interface.
    #[error("cannot understand the server's answer: {0}")]
    Malformed(String),
}

impl BusError {
    /// From what a call ended with.
    pub(crate) fn of_call(error: zbus::Error) -> Self {
        use zbus::fdo::Error as Fdo;
        match error {
            zbus::Error::FDO(error) => match *error {
                Fdo::ServiceUnknown(_) | Fdo::NameHasNoOwner(_) => Self::NoServer,
                Fdo::NoReply(_) => Self::ServerGone,
                Fdo::AccessDenied(text) => Self::AccessDenied(text),
                Fdo::UnknownObject(text) => Self::NoSuchClient(text),
                Fdo::ZBus(error) => Self::of_call(error),
                other => refused(&other),
            },
            zbus::Error::MethodError(name, text, _) => {
                Self::of_name(name.as_str(), text.unwrap_or_default())
            }
            zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => {
                Self::NoAnswer
            }
            error @ (zbus::Error::InputOutput(_) | zbus::Error::Handshake(_)) => {
                Self::BusLost(error)
            }
            error => Self::Malformed(error.to_string()),
        }
    }

    fn of_name(name: &str, text: String) -> Self {
        match name {
            errors::BAD_SECTION => Self::BadSection(text),
            errors::TAKEN => Self::Taken(text),
            errors::NO_SUCH_CLIENT => Self::NoSuchClient(text),
            errors::HAS_AGENT => Self::HasAgent(text),
            errors::NO_REQUEST => Self::NoRequest(text),
            errors::SEVERAL_REQUESTS => Self::SeveralRequests(text),
            errors::NOT_DURABLE => Self::NotDurable(text),
            errors::NOT_RELOADED => Self::NotReloaded(text),
            name => Self::Refused {
                name: name.to_owned(),
                text,
            },
        }
    }
}

fn refused(error: &zbus::fdo::Error) -> BusError {
    use zbus::DBusError;
    BusError::Refused {
        name: error.name().to_string(),
        text: error.description().unwrap_or_default().to_owned(),
    }
}
