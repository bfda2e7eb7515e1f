//! Why nightlatchd could not start, ended, or took nothing over.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nightlatch_core::registry::MassRemoval;
use nightlatch_handover::HandoverError;
use nightlatch_store::StoreError;

use crate::accounts::AccountError;
use crate::config::ConfigError;
use crate::listen::ListenError;
use crate::own_key::OwnKeyError;

/// Why the server could not start, or ended.
#[derive(Debug)]
pub enum RunError {
    /// The configuration.
    Config(ConfigError),
    /// Settings that exclude each other, or a value that means nothing.
    Usage(String),
    /// The listening socket.
    Listen(ListenError),
    /// The configuration misses all clients that are known, or most of them.
    MassRemoval(MassRemoval),
    /// The state.
    Store(StoreError),
    /// The server's own key.
    OwnKey(OwnKeyError),
    /// A state that was to be taken over.
    Import(ImportError),
    /// Anything of the host: what failed, and why.
    Host(&'static str, Box<dyn std::error::Error + Send + Sync>),
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

    /// How to mend it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::MassRemoval(_) => Some(
                "if a file was emptied, or a link leads to what is not mounted, mend that and start again; if \
                 it is meant, start once with --accept-fewer-clients. What they were is remembered either way"
                    .to_owned(),
            ),
            Self::Import(error) => error.hint(),
            _ => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Usage(what) => f.write_str(what),
            Self::Listen(error) => error.fmt(f),
            Self::MassRemoval(drops) => write!(f, "not started: {drops}"),
            Self::Store(error) => error.fmt(f),
            Self::OwnKey(error) => error.fmt(f),
            Self::Import(error) => error.fmt(f),
            Self::Host(what, _) => f.write_str(what),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(_) | Self::Usage(_) | Self::MassRemoval(_) => None,
            Self::Listen(error) => error.source(),
            Self::Store(error) => error.source(),
            Self::OwnKey(error) => error.source(),
            Self::Import(error) => error.source(),
            Self::Host(_, error) => Some(&**error),
        }
    }
}

impl From<AccountError> for RunError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::LookUp(_) => host("cannot choose whom to become")(error),
            _ => Self::Usage(error.to_string()),
        }
    }
}

pub(crate) fn host<E>(what: &'static str) -> impl FnOnce(E) -> RunError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |error| RunError::Host(what, error.into())
}

/// A document of more than this is none. 100,000 clients take some 150 MB.
pub(crate) const MAX_DOCUMENT: u64 = 1 << 30;

/// Why nothing was taken over. The state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The document cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any.
    #[error("the document is too large: expected at most {MAX_DOCUMENT} bytes")]
    TooLarge,
    /// It is no document.
    #[error(transparent)]
    Document(#[from] HandoverError),
    /// The state holds clients.
    #[error("{} holds {clients} clients already", statedir.display())]
    NotEmpty {
        /// Where the state is.
        statedir: PathBuf,
        /// How many clients it holds.
        clients: usize,
    },
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

    /// How to mend it.
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
