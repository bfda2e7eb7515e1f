//! The file system of a directory, and the devices below it. Reads `/proc` and sysfs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::block_device::BlockDevice;

/// One line of `/proc/self/mountinfo` (proc(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    /// Major and minor number, `0:N` where no device of the kernel has them.
    numbers: String,
    /// The mount point.
    pub(crate) place: PathBuf,
    kind: String,
    source: String,
}

impl Mount {
    /// All mounts of the machine whose files are below `root`, in the order in which they were made.
    pub(crate) fn all(root: &Path) -> Vec<Self> {
        let text = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
        text.lines().filter_map(Self::parse).collect()
    }

    /// The mount that holds the file or directory at `path`, which need not exist yet.
    pub(crate) fn holding(root: &Path, path: &Path) -> Option<Self> {
        let path = real(root, path);
        let mounts = Self::all(root).into_iter();
        let mounts = mounts.filter(|mount| path.starts_with(&mount.place));
        // Of several at one place the last one hides the others.
        mounts.max_by_key(|mount| mount.place.components().count())
    }

    fn parse(line: &str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(2);
        let mut file_system = file_system.split(' ');
        Some(Self {
            numbers: place.next()?.to_owned(),
            place: unescaped(place.nth(1)?).into(),
            kind: file_system.next()?.to_owned(),
            source: unescaped(file_system.next()?),
        })
    }

    /// The device that it is on. `None` where there is none, as for a tmpfs, or where it cannot be told.
    pub(crate) fn device<'r>(&self, root: &'r Path) -> Option<BlockDevice<'r>> {
        // Some file systems have numbers of their own, as btrfs: then the source is what tells.
        if self.numbers.starts_with("0:") {
            let source = root.join(self.source.strip_prefix('/')?);
            let device = fs::canonicalize(source).ok()?;
            return BlockDevice::named(root, device.file_name()?.to_str()?);
        }
        BlockDevice::numbered(root, &self.numbers)
    }

    /// True when every device that it is on is encrypted.
    pub(crate) fn is_encrypted(&self, root: &Path) -> bool {
        let Some(device) = self.device(root) else {
            return false;
        };
        let others = match self.kind.as_str() {
            "btrfs" => devices_of_btrfs(root, &device),
            _ => Vec::new(),
        };
        device.is_encrypted() && others.iter().all(BlockDevice::is_encrypted)
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} at {}",
            self.kind,
            self.source,
            self.place.display()
        )
    }
}

/// All devices of the btrfs that one of them belongs to: a mount names only one.
fn devices_of_btrfs<'r>(root: &'r Path, device: &BlockDevice<'_>) -> Vec<BlockDevice<'r>> {
    let folder = fs::read_dir(root.join("sys/fs/btrfs"));
    for file_system in folder.into_iter().flatten().flatten() {
        let devices = fs::read_dir(file_system.path().join("devices"));
        let names = devices.into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let devices: Vec<_> = names
            .filter_map(|name| BlockDevice::named(root, &name))
            .collect();
        if devices.iter().any(|one| one.folder() == device.folder()) {
            return devices;
        }
    }
    Vec::new()
}

/// The path without symbolic links, as the machine below `root` has it. What does not exist yet is where its nearest
/// parent is.
fn real(root: &Path, path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let existing = path.ancestors().find_map(|parent| {
        let found = fs::canonicalize(root.join(parent)).ok()?;
        let missing = path.strip_prefix(parent).ok()?;
        let inside = found.strip_prefix(&root).unwrap_or(&found);
        Some(Path::new("/").join(inside).join(missing))
    });
    existing.unwrap_or_else(|| Path::new("/").join(path))
}

/// `\040` stands for a space, `\011` for a tab, `\012` for a line break, `\134` for a backslash (proc_pid_mountinfo(5)).
pub(crate) fn unescaped(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..3).and_then(|digits| match digits {
            "040" => Some(' '),
            "011" => Some('\t'),
            "012" => Some('\n'),
            "134" => Some('\\'),
            _ => None,
        });
        match digits {
            Some(character) => {
                text.push(character);
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_device::tests::{add, link};

    /// A machine with an encrypted root, a plain /boot, a tmpfs, and btrfs on two devices.
    fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        add(root, "sda", None, &[]);
        add(root, "dm-0", Some(["root", "CRYPT-LUKS2-x"]), &["sda"]);
        add(root, "dm-1", Some(["more", "CRYPT-LUKS2-y"]), &["sda"]);
        link(root, "dm-0", "sys/dev/block/254:0");
        link(root, "sda", "sys/dev/block/8:0");
        fs::create_dir_all(root.join("dev/mapper")).unwrap();
        fs::write(root.join("dev/mapper/more"), "").unwrap();
        fs::write(root.join("dev/dm-1"), "").unwrap();
        fs::remove_file(root.join("dev/mapper/more")).unwrap();
        std::os::unix::fs::symlink("../dm-1", root.join("dev/mapper/more")).unwrap();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        let mounts = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw\n\
                      22 21 8:0 / /boot rw - ext4 /dev/sda rw\n\
                      23 21 0:44 / /srv/my\\040data rw - btrfs /dev/mapper/more rw\n\
                      24 21 0:5 / /run rw - tmpfs tmpfs rw\n\
                      25 21 0:6 / /pool rw - zfs tank/pool rw\n";
        fs::write(root.join("proc/self/mountinfo"), mounts).unwrap();
        fs::create_dir_all(root.join("var/lib")).unwrap();
        folder
    }

    #[test]
    fn what_the_kernel_escapes_is_read() {
        assert_eq!(unescaped(r"/a\040b\011c\012d\134040e"), "/a b\tc\nd\\040e");
        assert_eq!(unescaped(r"/a\04"), r"/a\04");
        assert_eq!(unescaped(r"\\"), r"\\");
    }

    fn is_encrypted(root: &Path, path: &str) -> bool {
        let mount = Mount::holding(root, Path::new(path)).unwrap();
        mount.is_encrypted(root)
    }

    #[test]
    fn a_directory_is_where_its_nearest_parent_is() {
        let folder = machine();
        let root = folder.path();
        assert!(is_encrypted(root, "/var/lib/nightlatch-agent/keys"));
        assert!(is_encrypted(root, "/srv/my data/keys"));
        for plain in ["/boot/keys", "/run/keys", "/pool/keys"] {
            assert!(!is_encrypted(root, plain), "{plain}");
        }
        let mount = Mount::holding(root, Path::new("/pool/keys")).unwrap();
        assert_eq!(mount.to_string(), "zfs of tank/pool at /pool");
    }

    #[test]
    fn a_link_to_another_file_system_is_followed() {
        let folder = machine();
        let root = folder.path();
        fs::create_dir_all(root.join("boot/agent")).unwrap();
        std::os::unix::fs::symlink(
            root.join("boot/agent"),
            root.join("var/lib/nightlatch-agent"),
        )
        .unwrap();
        assert!(!is_encrypted(root, "/var/lib/nightlatch-agent/keys"));
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one() {
        let folder = machine();
        let root = folder.path();
        let file = root.join("proc/self/mountinfo");
        let mounts = fs::read_to_string(&file).unwrap() + "26 21 0:7 / / rw - tmpfs tmpfs rw\n";
        fs::write(&file, mounts).unwrap();
        assert!(!is_encrypted(root, "/var/lib"));
    }

    #[test]
    fn every_device_of_a_btrfs_counts() {
        let folder = machine();
        let root = folder.path();
        let devices = root.join("sys/fs/btrfs/uuid/devices");
        fs::create_dir_all(&devices).unwrap();
        fs::write(devices.join("dm-1"), "").unwrap();
        assert!(is_encrypted(root, "/srv/my data"));
        fs::write(devices.join("sda"), "").unwrap();
        assert!(!is_encrypted(root, "/srv/my data"));
    }
}
