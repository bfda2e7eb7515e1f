//! Errors of a store, with hints for the administrator.

use std::io;
use std::path::PathBuf;

/// A store that could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another server has it open.
    #[error("{} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// Users other than the owner may read the file or write to the directory.
    #[error("{} is open to other users (mode {mode:04o})", path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits it may have at most.
        allowed: u32,
    },
    /// The file is no database, or one of another program.
    #[error("{} is not a state file of this server", .0.display())]
    Foreign(PathBuf),
    /// A later release wrote it.
    #[error(
        "{} has format {found}, written by a later release; this one knows formats up to {known}",
        path.display()
    )]
    Newer {
        path: PathBuf,
        /// The format it has.
        found: i32,
        /// The latest format known here.
        known: i32,
    },
    /// It is damaged.
    #[error("{} is damaged: {detail}", path.display())]
    Corrupt { path: PathBuf, detail: String },
    /// No space is left.
    #[error("no space is left for {}", .0.display())]
    Full(PathBuf),
    /// The file system or the permissions forbid writing.
    #[error("{} cannot be written", .0.display())]
    ReadOnly(PathBuf),
    /// An operation on a file or directory failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// An operation of the database failed for another reason.
    #[error("cannot {doing} {}", path.display())]
    Database {
        /// The operation, as a verb.
        doing: &'static str,
        path: PathBuf,
        /// The error of SQLite.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// The command or action by which the administrator can mend it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse(_) => {
                "stop the other server, or give this one a state directory of its own with \
                 --statedir"
                    .to_owned()
            }
            Self::Exposed { path, allowed, .. } => {
                format!("run: chmod {allowed:04o} {}", path.display())
            }
            Self::Foreign(_) => "move the file away, or name another directory with --statedir; \
                                 nothing was changed in it"
                .to_owned(),
            Self::Newer { .. } => {
                "install that release again, or restore a backup made by this one; nothing was \
                 changed in the file"
                    .to_owned()
            }
            Self::Corrupt { path, .. } => format!(
                "restore a backup, or move {0} and {0}-wal away to begin without a state; either way every \
                 client waits until it is enabled again; nothing was changed in them",
                path.display()
            ),
            Self::Full(_) => "make room on that file system".to_owned(),
            Self::ReadOnly(path) => format!(
                "let the server's user own {} and write to it",
                path.parent().unwrap_or(path).display()
            ),
            Self::File { .. } | Self::Database { .. } => return None,
        })
    }

    /// The error of doing something to a file or directory.
    pub(crate) fn file(doing: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly(path)
            }
            _ => Self::File {
                doing,
                path,
                source,
            },
        }
    }
}
