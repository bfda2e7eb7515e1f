//! The errors that end nightlatchd.

use std::io;
use std::path::PathBuf;

use nightlatch_core::registry::MassRemoval;
use nightlatch_handover::HandoverError;
use nightlatch_store::StoreError;

use crate::accounts::AccountError;
use crate::config::InvalidConfig;
use crate::listen::ListenError;
use crate::own_key::OwnKeyError;

/// An error of any type.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is faulty.
    #[error("{0}")]
    Config(InvalidConfig),
    /// Settings contradict each other, or one has no meaning.
    #[error("{0}")]
    Usage(String),
    /// There is no socket to listen on.
    #[error(transparent)]
    Listen(ListenError),
    /// The configuration misses all known clients, or most of them.
    #[error("not started: {0}")]
    MassRemoval(MassRemoval),
    /// The store cannot be opened or written.
    #[error(transparent)]
    Store(StoreError),
    /// The server's own key cannot be read or created.
    #[error(transparent)]
    OwnKey(OwnKeyError),
    /// A state could not be imported.
    #[error(transparent)]
    Import(ImportError),
    /// The operating system refused something: what, and its error.
    #[error("{0}")]
    Host(&'static str, #[source] BoxError),
}

impl RunError {
    /// The exit status, from sysexits.h.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Config(_) | Self::MassRemoval(_) => 78,
            Self::Listen(_) => 69,
            Self::Store(_) | Self::OwnKey(_) => 74,
            Self::Import(error) => error.status(),
            Self::Host(..) => 71,
        }
    }

    /// Tells the administrator how to mend it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::MassRemoval(_) => Some(
                "if a file was emptied, or a link leads to what is not mounted, correct that and start again; if \
                 it is meant, start once with --accept-fewer-clients. What they were is remembered either way"
                    .to_owned(),
            ),
            Self::Import(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<AccountError> for RunError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::LookUp(_) => host("cannot choose the account to run as")(error),
            _ => Self::Usage(error.to_string()),
        }
    }
}

/// Makes a [`RunError::Host`] of an error: `what` failed.
pub(crate) fn host<E>(what: &'static str) -> impl FnOnce(E) -> RunError
where
    E: Into<BoxError>,
{
    move |error| RunError::Host(what, error.into())
}

/// Largest document in bytes. 100,000 clients take some 150 MB.
pub(crate) const MAX_DOCUMENT: u64 = 1 << 30;

/// Nothing was imported; the state is as before.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The document cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The document is larger than `MAX_DOCUMENT`.
    #[error("the document is too large: expected at most {MAX_DOCUMENT} bytes")]
    TooLarge,
    /// The document is malformed.
    #[error(transparent)]
    Document(#[from] HandoverError),
    /// The state holds clients or named secrets already.
    #[error("{} holds {clients} clients{} already", statedir.display(), and_secrets(*.secrets))]
    NotEmpty {
        /// The state directory.
        statedir: PathBuf,
        /// Number of clients in it.
        clients: usize,
        /// Number of named secrets in it, with those of which only the serial is remembered.
        secrets: usize,
    },
}

/// Named secrets beside clients, if there are any.
pub(crate) fn and_secrets(number: usize) -> String {
    match number {
        0 => String::new(),
        number => format!(" and {number} named secrets"),
    }
}

impl ImportError {
    /// The exit status, from sysexits.h.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Unreadable { .. } => 66,
            Self::TooLarge | Self::Document(_) => 65,
            Self::NotEmpty { .. } => 73,
        }
    }

    /// Tells the administrator how to mend it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty { .. } => {
                Some("give --replace-state to forget them, or another --statedir".to_owned())
            }
            Self::Document(HandoverError::Newer(_)) => {
                Some("use the nightlatch and nightlatchd of one release".to_owned())
            }
            _ => None,
        }
    }
}

impl From<ImportError> for RunError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}
