//! A block device and the devices that it lies on, as sysfs describes them. Opens no device.

use std::fs;
use std::path::{Path, PathBuf};

/// Devices that may lie above each other: LVM on LUKS on RAID on partitions are four.
pub(crate) const MAX_DEPTH: usize = 16;

/// cryptsetup(8) begins the UUID of its devices with this for others to know (libcryptsetup's `DM_UUID_PREFIX`).
const CRYPTSETUP: &str = "CRYPT-";

/// Devices of cryptsetup's other tools, which authenticate but do not encrypt.
const UNENCRYPTED: [&str; 3] = ["CRYPT-VERITY-", "CRYPT-INTEGRITY-", "CRYPT-SUBDEV-"];

/// One block device of the machine whose files are below `root`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BlockDevice<'r> {
    root: &'r Path,
    /// Its folder in sysfs, without symbolic links.
    folder: PathBuf,
}

impl<'r> BlockDevice<'r> {
    /// The device with this name of the kernel: `sda1`, `dm-0`.
    pub(crate) fn named(root: &'r Path, name: &str) -> Option<Self> {
        Self::at(root, &root.join("sys/class/block").join(name))
    }

    /// The device with these numbers: `254:1`.
    pub(crate) fn numbered(root: &'r Path, numbers: &str) -> Option<Self> {
        Self::at(root, &root.join("sys/dev/block").join(numbers))
    }

    fn at(root: &'r Path, folder: &Path) -> Option<Self> {
        let folder = fs::canonicalize(folder).ok()?;
        Some(Self { root, folder })
    }

    /// Its folder in sysfs: equal for equal devices.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of the devices that it was made of.
    pub(crate) fn slaves(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join("slaves"));
        let entries = entries.into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }

    /// The devices that it lies on: those that it was made of, and of a partition the whole device.
    pub(crate) fn below(&self) -> Vec<Self> {
        let whole = self.folder.join("partition").exists();
        let whole = whole.then(|| self.folder.parent()).flatten();
        let whole = whole.and_then(|folder| Self::at(self.root, folder));
        let slaves = self.slaves();
        let slaves = slaves
            .iter()
            .filter_map(|name| Self::named(self.root, name));
        whole.into_iter().chain(slaves).collect()
    }

    /// The name that the device mapper knows it by, empty for another device.
    pub(crate) fn mapper_name(&self) -> String {
        self.mapper("name").trim().to_owned()
    }

    /// True for a device that encrypts what is written to it.
    pub(crate) fn encrypts(&self) -> bool {
        let uuid = self.mapper("uuid");
        let is_other = UNENCRYPTED.iter().any(|prefix| uuid.starts_with(prefix));
        uuid.starts_with(CRYPTSETUP) && !is_other
    }

    /// True when it encrypts, or every device that it lies on is encrypted. One of several that is not is enough to
    /// make it false: a file may lie there.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.is_encrypted_within(MAX_DEPTH)
    }

    fn is_encrypted_within(&self, depth: usize) -> bool {
        if self.encrypts() {
            return true;
        }
        // A slave that sysfs lists and does not describe is none of `below`, and nothing is known about it.
        let expected = self.slaves().len();
        let below = self.below();
        depth > 0
            && !below.is_empty()
            && below.len() >= expected
            && below
                .iter()
                .all(|device| device.is_encrypted_within(depth - 1))
    }

    fn mapper(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join("dm").join(name)).unwrap_or_default()
    }
}

/// A folder that stands in for sysfs.
#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Adds a device with its name and UUID of the device mapper and what it lies on. `place` is `NAME`, or
    /// `DISK/NAME` for a partition.
    pub(crate) fn add(root: &Path, place: &str, mapper: Option<[&str; 2]>, below: &[&str]) {
        let folder = root.join("sys/devices").join(place);
        fs::create_dir_all(folder.join("slaves")).unwrap();
        for name in below {
            fs::write(folder.join("slaves").join(name), "").unwrap();
        }
        if let Some([name, uuid]) = mapper {
            fs::create_dir(folder.join("dm")).unwrap();
            fs::write(folder.join("dm/name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("dm/uuid"), format!("{uuid}\n")).unwrap();
        }
        let name = Path::new(place).file_name().unwrap().to_str().unwrap();
        if name != place {
            fs::write(folder.join("partition"), "1").unwrap();
        }
        link(root, place, &format!("sys/class/block/{name}"));
    }

    /// Gives the device at `place` another name below `root`.
    pub(crate) fn link(root: &Path, place: &str, at: &str) {
        let at = root.join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(root.join("sys/devices").join(place), at).unwrap();
    }

    fn is_encrypted(root: &Path, name: &str) -> bool {
        BlockDevice::named(root, name).unwrap().is_encrypted()
    }

    #[test]
    fn a_device_is_encrypted_when_all_that_it_lies_on_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        add(root, "sda", None, &[]);
        add(root, "sda/sda1", None, &[]);
        let luks = |name: &str| [format!("{name}_crypt"), format!("CRYPT-LUKS2-{name}")];
        for (device, below) in [("dm-0", "sda1"), ("dm-1", "sdb1")] {
            let [name, uuid] = luks(device);
            add(root, device, Some([&name, &uuid]), &[below]);
        }
        add(root, "dm-2", Some(["vg-root", "LVM-x"]), &["dm-0", "dm-1"]);
        add(root, "dm-3", Some(["vg-mixed", "LVM-y"]), &["dm-0", "sda1"]);
        add(root, "md0", None, &["dm-0"]);
        add(root, "md0/md0p1", None, &[]);
        for encrypted in ["dm-0", "dm-2", "md0", "md0p1"] {
            assert!(is_encrypted(root, encrypted), "{encrypted}");
        }
        for plain in ["sda", "sda1", "dm-3"] {
            assert!(!is_encrypted(root, plain), "{plain}");
        }
        // The volume group has a physical volume that nothing is known about.
        add(root, "dm-4", Some(["vg-odd", "LVM-z"]), &["dm-0", "gone"]);
        assert!(!is_encrypted(root, "dm-4"));
    }

    #[test]
    fn what_only_authenticates_is_not_encrypted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        add(root, "sda", None, &[]);
        for (index, kind) in ["VERITY", "INTEGRITY", "SUBDEV"].into_iter().enumerate() {
            let name = format!("dm-{index}");
            let uuid = format!("CRYPT-{kind}-x");
            add(root, &name, Some(["x", &uuid]), &["sda"]);
            assert!(!is_encrypted(root, &name), "{kind}");
        }
        add(root, "dm-9", Some(["x", "CRYPT-LUKS2-y"]), &["dm-2"]);
        assert!(is_encrypted(root, "dm-9"));
    }

    #[test]
    fn devices_in_a_circle_have_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        add(root, "dm-0", None, &["dm-1"]);
        add(root, "dm-1", None, &["dm-0"]);
        assert!(!is_encrypted(root, "dm-0"));
    }
}
