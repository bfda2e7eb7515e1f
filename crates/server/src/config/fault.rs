//! The faults of a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nightlatch_core::settings::{Location, SettingLocation, SettingsError};
use nightlatch_proto::priority::PriorityError;
use nightlatch_sys::privileges;

/// A faulty configuration, of which nothing is used.
#[derive(Debug)]
pub struct InvalidConfig {
    /// Each fault with its hint, in the order of files and lines.
    pub faults: Vec<ConfigFault>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingsError),
    /// A file or directory cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file is too large.
    #[error("{}: expected at most {limit} bytes", path.display())]
    TooLarge {
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file with secrets can be read by other users.
    #[error("{}: holds secrets, and others can read it (mode {mode:04o})", path.display())]
    Exposed {
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A priority string that is not supported.
    #[error("{place} {problem}")]
    Priority {
        /// The place of the setting.
        place: SettingLocation,
        problem: PriorityError,
    },
    /// A client's secret file cannot be read.
    #[error("{origin}: [{client}] secfile: {}: cannot be read", path.display())]
    Secret {
        /// The place of the setting.
        origin: Location,
        /// The client's name.
        client: String,
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A client's secret file is empty.
    #[error("{origin}: [{client}] secfile: {}: expected an encrypted secret, found an empty file", path.display())]
    EmptySecret {
        /// The place of the setting.
        origin: Location,
        /// The client's name.
        client: String,
        path: PathBuf,
    },
    /// Any other fault of a client's secret file.
    #[error("{origin}: [{client}] secfile: {fault}")]
    BadSecretFile {
        /// The place of the setting.
        origin: Location,
        /// The client's name.
        client: String,
        fault: Box<ConfigFault>,
    },
}

impl ConfigFault {
    /// The configuration file that has the fault.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Setting(SettingsError { place, .. }) | Self::Priority { place, .. } => {
                Some(PathBuf::from(&*place.location.file))
            }
            Self::Unreadable { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Exposed { path, .. } => Some(path.clone()),
            Self::Secret { origin, .. }
            | Self::EmptySecret { origin, .. }
            | Self::BadSecretFile { origin, .. } => Some(PathBuf::from(&*origin.file)),
        }
    }

    /// Tells the administrator how to mend it, if the message does not.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Priority { .. } => Some(format!(
                "leave the line out, for {}",
                nightlatch_proto::priority::DEFAULT
            )),
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::BadSecretFile { fault, .. } => fault.hint(),
            Self::Unreadable { source, .. } | Self::Secret { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && !privileges::is_root() =>
            {
                Some("only root can read it: restart the server, which reads it as root".into())
            }
            Self::Unreadable { source, path } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!(
                    "make {} or name another folder with --configdir",
                    path.display()
                ))
            }
            _ => None,
        }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the configuration has a fault"),
            number => write!(f, "the configuration has {number} faults"),
        }
    }
}

impl std::error::Error for InvalidConfig {}

impl From<ConfigFault> for InvalidConfig {
    fn from(fault: ConfigFault) -> Self {
        Self {
            faults: vec![fault],
        }
    }
}
