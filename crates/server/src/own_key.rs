//! The server's own raw public key, which boot clients can pin: made at the first start, kept beside the state
//! with mode 0600.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nightlatch_proto::tls::{RawKey, RawKeyError, RawKeyKind};
use zeroize::Zeroizing;

const FILE_NAME: &str = "server-key.pem";

/// True when `folder` has a key.
pub(crate) fn exists(folder: &Path) -> bool {
    folder.join(FILE_NAME).exists()
}

/// Loads the key in `folder`, or makes one.
pub(crate) fn load_or_make(folder: &Path) -> Result<RawKey, OwnKeyError> {
    let path = folder.join(FILE_NAME);
    match fs::read(&path).map(Zeroizing::new) {
        Ok(pem) => {
            RawKey::from_pem(&pem, None).map_err(|source| OwnKeyError::Unusable { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, path),
        Err(source) => Err(OwnKeyError::File { path, source }),
    }
}

fn make(folder: &Path, path: PathBuf) -> Result<RawKey, OwnKeyError> {
    let key = RawKey::generate(RawKeyKind::Ed25519).map_err(OwnKeyError::Generate)?;
    let unfinished = folder.join(format!("{FILE_NAME}.new"));
    // A crash may have left one; it was never used.
    let _ = fs::remove_file(&unfinished);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(key.private_pem().expose())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            fs::File::open(folder)?.sync_all()
        });
    written.map_err(|source| OwnKeyError::File { path, source })?;
    Ok(key)
}

/// There is no key to use.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// The file cannot be read or written.
    #[error("{}: cannot be read or made", path.display())]
    File {
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file does not hold a key.
    #[error("{}: holds no usable key; remove it to have a new one made, then enrol the clients that pin it again", path.display())]
    Unusable {
        path: PathBuf,
        /// The error of the parser.
        source: RawKeyError,
    },
    /// No key could be made.
    #[error("cannot make a key")]
    Generate(#[source] RawKeyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_make(folder.path()).unwrap();
        let again = load_or_make(folder.path()).unwrap();
        assert_eq!(first.key_id(), again.key_id());
        let mode = fs::metadata(folder.path().join(FILE_NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, "no key").unwrap();
        assert!(matches!(
            load_or_make(folder.path()),
            Err(OwnKeyError::Unusable { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }
}
