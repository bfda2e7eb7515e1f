//! The host keys of a machine: a second pair of the same kinds as its boot keys, on the encrypted root only, by which
//! its agent proves that it is up (docs/decisions/0171-host-keys.md). Never part of a boot image.

use std::path::{Path, PathBuf};

use nightlatch_console::failure::{EX_DATAERR, EX_UNAVAILABLE, Failure};
use nightlatch_core::agent_files::{HOST_KEYS, TRUSTED_SERVERS};
use nightlatch_core::key_id::KeyId;

use crate::file_system::Mount;
use crate::keys::{Existing, KeyDirectory, NewKeys};
use crate::section::HostIdentity;

/// The agent's list holds no secret, and the agent need not be root.
const LIST_MODE: u32 = 0o644;

/// The place of a machine's host keys, whether they exist or not.
#[derive(Debug)]
pub(crate) struct HostKeys<'r> {
    /// The machine's files are below it.
    root: &'r Path,
    directory: KeyDirectory,
    /// True for the directory that the agent reads.
    is_agents: bool,
}

impl<'r> HostKeys<'r> {
    /// In the directory that the agent reads, on the machine whose files are below `root`.
    pub(crate) fn of(root: &'r Path) -> Self {
        Self {
            root,
            directory: KeyDirectory::new(&below(root, HOST_KEYS)),
            is_agents: true,
        }
    }

    /// In another directory.
    pub(crate) fn elsewhere(root: &'r Path, directory: &Path) -> Self {
        Self {
            root,
            directory: KeyDirectory::new(directory),
            is_agents: false,
        }
    }

    pub(crate) fn root(&self) -> &'r Path {
        self.root
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// True for the directory that the agent reads.
    pub(crate) fn is_agents(&self) -> bool {
        self.is_agents
    }

    /// True when at least one key file is there.
    pub(crate) fn exist(&self) -> bool {
        self.directory.holds_any()
    }

    /// Their key id. Changes nothing.
    pub(crate) fn key_id(&self) -> Result<KeyId, Failure> {
        self.identity().map(|identity| identity.key_id)
    }

    /// Their public halves. Changes nothing.
    pub(crate) fn identity(&self) -> Result<HostIdentity, Failure> {
        let shown = self.path().display();
        self.directory.identity().map_err(|failure| {
            Failure::new(
                EX_DATAERR,
                format!("the host keys in {shown} cannot be used: {failure}"),
            )
            .hint("make new ones: nightlatch rotate --host-key")
        })
    }

    /// Makes them unless they are there; their public halves, and true when they are new.
    pub(crate) fn make_missing(&self, name: &str) -> Result<(HostIdentity, bool), Failure> {
        let made = match self.exist() {
            true => None,
            // A set whose placing was cut short is finished here, and is then no reason to fail.
            false => self.directory.make_missing(&NewKeys::usual(name))?,
        };
        Ok((self.identity()?, made.is_some()))
    }

    /// Makes new ones in the place of those that are there.
    pub(crate) fn replace(&self, name: &str) -> Result<HostIdentity, Failure> {
        self.directory
            .make(&NewKeys::usual(name), Existing::Replace)?;
        self.identity()
    }

    /// Removes them. May be cut short and called again.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        self.directory.remove_keys()
    }

    /// The file system that they are on; `None` when the machine does not tell.
    pub(crate) fn mount(&self) -> Option<Mount> {
        let path = self.path();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = match self.is_agents {
            true => PathBuf::from(HOST_KEYS),
            false => path,
        };
        Mount::holding(self.root, &path)
    }

    /// Refuses a file system from which whoever holds the disk could copy them.
    pub(crate) fn check_encryption(&self) -> Result<(), Failure> {
        let mount = self.mount();
        if mount.as_ref().is_some_and(|it| it.is_encrypted(self.root)) {
            return Ok(());
        }
        let found = mount.map_or_else(
            || "of which nothing is known".to_owned(),
            |it| it.to_string(),
        );
        Err(Failure::new(
            EX_UNAVAILABLE,
            format!(
                "{} is on a file system that is not encrypted ({found}): expected one on dm-crypt, as host keys that \
                 can be copied from the disk prove nothing",
                self.path().display()
            ),
        )
        .hint("--force, if it is encrypted in another way, as by ZFS or by the disk itself"))
    }

    /// Refuses host keys that are the boot keys too.
    pub(crate) fn check_difference(&self, host: KeyId, boot: KeyId) -> Result<(), Failure> {
        if host != boot {
            return Ok(());
        }
        Err(Failure::new(
            EX_DATAERR,
            format!(
                "the host keys in {} are the boot keys, key id {boot}: expected others, as the boot image holds those",
                self.path().display()
            ),
        )
        .hint("make new ones: nightlatch rotate --host-key"))
    }

    /// The agent's list of trusted servers.
    pub(crate) fn list(&self) -> PathBuf {
        below(self.root, TRUSTED_SERVERS)
    }

    /// Adds to the agent's list what it does not have yet.
    pub(crate) fn trust(&self, servers: &[KeyId]) -> Result<(), Failure> {
        self.directory.trust_in(&self.list(), servers, LIST_MODE)
    }
}

/// The absolute `path` on the machine whose files are below `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::block_device::tests::{add, link};

    /// A machine with an encrypted root, or with a plain one.
    fn machine(is_encrypted: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let uuid = if is_encrypted {
            "CRYPT-LUKS2-x"
        } else {
            "LVM-x"
        };
        add(root, "sda", None, &[]);
        add(root, "dm-0", Some(["root", uuid]), &["sda"]);
        link(root, "dm-0", "sys/dev/block/254:0");
        fs::create_dir_all(root.join("proc/self")).unwrap();
        let mounts = "21 1 254:0 / / rw - ext4 /dev/mapper/root rw\n";
        fs::write(root.join("proc/self/mountinfo"), mounts).unwrap();
        folder
    }

    #[test]
    fn they_are_made_once_and_for_root_only() {
        let folder = machine(true);
        let host = HostKeys::of(folder.path());
        host.check_encryption().unwrap();
        let (first, new) = host.make_missing("web1").unwrap();
        assert!(new);
        assert_eq!(host.make_missing("web1").unwrap(), (first.clone(), false));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(host.path()), 0o700);
        for file in crate::keys::FILES {
            assert_eq!(mode(&host.path().join(file)), 0o600, "{file}");
        }
        assert_ne!(host.replace("web1").unwrap(), first);
        host.remove().unwrap();
        assert!(!host.exist());
    }

    #[test]
    fn a_file_system_that_is_not_encrypted_is_refused_and_named() {
        let folder = machine(false);
        let failure = HostKeys::of(folder.path()).check_encryption().unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("(ext4 of /dev/mapper/root at /)"), "{text}");
        assert!(failure.hint_text().unwrap().contains("--force"));
        let nothing = tempfile::tempdir().unwrap();
        let failure = HostKeys::of(nothing.path()).check_encryption();
        assert!(failure.is_err(), "what is not known is not encrypted");
    }

    #[test]
    fn boot_keys_are_no_host_keys() {
        let folder = machine(true);
        let host = HostKeys::of(folder.path());
        let id = host.make_missing("web1").unwrap().0.key_id;
        assert!(host.check_difference(id, id).is_err());
        let other = KeyId::from_bytes([1; 32]).unwrap();
        host.check_difference(id, other).unwrap();
    }

    #[test]
    fn the_agents_list_grows_and_can_be_read_by_all() {
        let folder = machine(true);
        let host = HostKeys::of(folder.path());
        let server = |byte| KeyId::from_bytes([byte; 32]).unwrap();
        host.trust(&[server(1)]).unwrap();
        host.trust(&[server(1), server(2)]).unwrap();
        let list = folder.path().join("etc/nightlatch/agent-trusted-servers");
        assert_eq!(host.list(), list);
        let ids = crate::keys::trusted::read(&list).unwrap();
        assert_eq!(ids, [server(1), server(2)]);
        let mode = fs::metadata(&list).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o644);
    }
}
