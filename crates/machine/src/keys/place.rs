//! The directory of a client's keys.

use std::path::{Path, PathBuf};

use super::FILES;

const OWN: &str = "etc/nightlatch/keys";

/// Directories of mandos-keygen(8), of today and of earlier versions. Used only when they hold keys.
const MANDOS: [&str; 2] = ["etc/keys/mandos", "etc/mandos/keys"];

/// The directory of a client's keys. It need not exist yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyDirectory(PathBuf);

impl KeyDirectory {
    /// The directory at `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Our own place, unless keys are only in one of Mandos's.
    pub(crate) fn default_place() -> Self {
        Self::place_under(Path::new("/"))
    }

    /// The same on a machine whose files are below `root`.
    pub(crate) fn place_under(root: &Path) -> Self {
        let own = Self(root.join(OWN));
        if own.holds_any() {
            return own;
        }
        MANDOS
            .into_iter()
            .map(|place| Self(root.join(place)))
            .find(Self::holds_any)
            .unwrap_or(own)
    }

    /// True for our own place on the machine whose files are below `root`.
    pub(crate) fn is_own_place(&self, root: &Path) -> bool {
        self.0 == root.join(OWN)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// True when at least one key file is in it.
    pub fn holds_any(&self) -> bool {
        FILES
            .iter()
            .any(|file| self.0.join(file).symlink_metadata().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_mandos_are_found_where_we_have_none() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let chosen = || KeyDirectory::place_under(root);
        for place in MANDOS {
            std::fs::create_dir_all(root.join(place)).unwrap();
        }
        assert_eq!(
            chosen().path(),
            root.join(OWN),
            "empty directories are no keys"
        );
        std::fs::write(root.join("etc/mandos/keys/seckey.txt"), "").unwrap();
        assert_eq!(chosen().path(), root.join("etc/mandos/keys"));
        std::fs::write(root.join("etc/keys/mandos/seckey.txt"), "").unwrap();
        assert_eq!(chosen().path(), root.join("etc/keys/mandos"));
        std::fs::create_dir_all(root.join(OWN)).unwrap();
        std::fs::write(root.join(OWN).join("pubkey.txt"), "").unwrap();
        assert_eq!(chosen().path(), root.join(OWN));
    }
}
