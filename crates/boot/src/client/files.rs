//! The privilege with which the client reads its files.
//!
//! In the image they belong to root alone, and the client is started as another real user with root as the effective
//! one. So it reads those of the image's own folder by a capability, which it gives up before it listens to the
//! network. Every other file is read as the real user: if this program were set-user-ID, `--seckey` could read any
//! file otherwise.

use std::io;
use std::path::Path;

use nightlatch_sys::capabilities::{self, Capabilities, Capability};
use zeroize::Zeroizing;

use crate::files::{configuration, read_bounded};

/// Reads files, as long as the capability is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    capabilities: Option<Capabilities>,
    is_root: bool,
}

impl Files {
    #[cfg(test)]
    pub(super) const AS_OURSELVES: Self = Self {
        capabilities: None,
        is_root: false,
    };

    pub(super) const NEEDED: Capability = Capability::DacReadSearch;

    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities: Some(capabilities),
            is_root: capabilities::is_root(),
        }
    }

    /// Reads a file of at most `max` bytes.
    pub(super) fn read(self, path: &Path, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        match self.capabilities {
            Some(capabilities) if self.is_root || is_of_image(path) => {
                capabilities.with(&[Self::NEEDED], || read_bounded(path, max))
            }
            _ => read_bounded(path, max),
        }
    }
}

/// True when a file lies in the image's own folder, in which only root can put anything.
fn is_of_image(path: &Path) -> bool {
    path.parent() == Some(configuration()) && path.file_name().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_of_the_image_itself_is_read_with_more_rights() {
        let folder = configuration();
        assert!(is_of_image(&folder.join("seckey.txt")));
        for other in [
            "sub/seckey.txt",
            "../x",
            "..",
            "../nightlatch/../../../etc/shadow",
        ] {
            assert!(!is_of_image(&folder.join(other)), "{other}");
        }
        for other in ["/etc/shadow", "seckey.txt", "/", ""] {
            assert!(!is_of_image(Path::new(other)), "{other}");
        }
    }
}
