//! Detects a chroot, where the kernel belongs to another system than the files.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// The root of the first process, for whom the network is set up.
const FIRST: &str = "/proc/1/root";

/// The mounts that a process sees, from its own root (proc_pid_mountinfo(5)).
const MOUNTS: [&str; 2] = ["/proc/1/mountinfo", "/proc/self/mountinfo"];

/// True when the root is another one than the first process's. Where that cannot be told, as without /proc, it is taken for
/// a chroot: there nothing is learned.
pub(super) fn is_chroot() -> bool {
    let identity = |path: &str| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    match (identity(FIRST), identity("/")) {
        (Some(first), Some(own)) => first != own,
        // Some systems let not even root look there.
        _ => {
            let [first, own] = MOUNTS.map(|path| fs::read_to_string(path).ok());
            is_other_root(first.as_deref(), own.as_deref())
        }
    }
}

/// The same by the mounts that both see.
fn is_other_root(first: Option<&str>, own: Option<&str>) -> bool {
    let own = own.and_then(root_mount);
    match (first, own) {
        // Below a folder that is no mount there is no mount at the root.
        (_, None) => true,
        (Some(first), own) => root_mount(first) != own,
        (None, Some(_)) => false,
    }
}

/// The device that is mounted at the root, and which folder of it.
fn root_mount(mounts: &str) -> Option<(&str, &str)> {
    let mut roots = mounts.lines().rev().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (device, folder, place) = (fields.next()?, fields.next()?, fields.next()?);
        (place == "/").then_some((device, folder))
    });
    roots.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chroot_is_known_by_its_mounts() {
        let first = "27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw\n";
        let plain =
            "126 84 254:0 /usr /usr rw - ext4 /dev/vda rw\n127 84 0:49 / /proc rw - proc none rw\n";
        let mounted = "40 27 254:1 / / rw - ext4 /dev/vdb rw\n";
        let bound = "40 27 254:0 /srv/root / rw - ext4 /dev/vda rw\n";
        for chroot in [Some(plain), Some(mounted), Some(bound), None] {
            assert!(is_other_root(Some(first), chroot), "{chroot:?}");
        }
        // A mount namespace of its own has the same root.
        let namespace = first.replace("27 1", "140 1") + "141 140 0:50 / /mnt rw - tmpfs x rw\n";
        assert!(!is_other_root(Some(first), Some(&namespace)));
        assert!(!is_other_root(None, Some(first)));
    }
}
