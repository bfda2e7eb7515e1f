//! The key folders of an import, as the machine's crate reads and writes them: the two crates do not know each other.

use std::path::Path;

use nightlatch_console::failure::Failure;
use nightlatch_core::key_id::KeyId;
use nightlatch_import::KeyFolders;
use nightlatch_machine::keys::{Existing, KeyDirectory};

pub(crate) struct MachineKeys;

impl KeyFolders for MachineKeys {
    fn holds_any(&self, folder: &Path) -> bool {
        KeyDirectory::new(folder).holds_any()
    }

    fn key_id(&self, folder: &Path) -> Result<KeyId, Failure> {
        KeyDirectory::new(folder).key_id()
    }

    fn copy(&self, from: &Path, to: &Path, replace: bool) -> Result<(), Failure> {
        let existing = if replace {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        KeyDirectory::new(to).copy_from(&KeyDirectory::new(from), existing)
    }
}
