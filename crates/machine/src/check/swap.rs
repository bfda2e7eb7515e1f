//! The swap of a machine with named secrets: the kernel may write memory of the programs that have them to it, and a
//! hibernation writes all memory.

use std::fs;
use std::path::{Path, PathBuf};

use nightlatch_console::report::Report;

use crate::admin_keys::PinnedAdminKeys;
use crate::block_device::BlockDevice;
use crate::file_system::{Mount, unescaped};

/// The subject of these findings.
const ABOUT: &str = "swap";

/// Block devices with names that begin so are compressed memory.
const ZRAM: &str = "zram";

/// Checks the swap that is in use on the machine whose files are below `root`. Without pinned admin keys it has no named
/// secrets, and nothing is said.
pub(super) fn check(root: &Path, report: &mut Report) {
    for (place, is_encrypted) in judged(root) {
        let shown = place.display();
        if is_encrypted {
            report.good(ABOUT, format!("{shown} is encrypted"));
            continue;
        }
        let message = format!(
            "{shown} is not encrypted: named secrets that services have in memory may be written to it"
        );
        let hint = "encrypt it as the disk (crypttab(5)), or take it out of use: swapoff, and its line in /etc/fstab";
        report.doubtful(ABOUT, message, Some(hint.to_owned()));
    }
}

/// The devices and files that are swapped to, each with true where it is encrypted; empty on a machine without named secrets.
fn judged(root: &Path) -> Vec<(PathBuf, bool)> {
    if !PinnedAdminKeys::of(root).path().exists() {
        return Vec::new();
    }
    let judge = |place: PathBuf| {
        let is_encrypted = is_encrypted(root, &place);
        (place, is_encrypted)
    };
    in_use(root).into_iter().map(judge).collect()
}

/// The devices and files that are swapped to (proc_swaps(5)).
fn in_use(root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    // The first line names the columns.
    let names = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names.map(|name| unescaped(name).into()).collect()
}

fn is_encrypted(root: &Path, place: &Path) -> bool {
    if !place.starts_with("/dev") {
        return Mount::holding(root, place).is_some_and(|mount| mount.is_encrypted(root));
    }
    let inside = root.join(place.strip_prefix("/").unwrap_or(place));
    let device = fs::canonicalize(inside).ok();
    let name = device.as_deref().and_then(Path::file_name);
    name.and_then(|name| name.to_str()).is_some_and(|name| {
        is_memory(root, name)
            || BlockDevice::named(root, name).is_some_and(|device| device.is_encrypted())
    })
}

/// True of zram without a device to which it writes what it does not use (`backing_dev`).
fn is_memory(root: &Path, name: &str) -> bool {
    let backing = || fs::read_to_string(root.join("sys/block").join(name).join("backing_dev"));
    name.starts_with(ZRAM) && backing().map_or(true, |device| device.trim() == "none")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::block_device::tests::{add, link};

    #[test]
    fn swap_that_is_not_encrypted_is_doubtful_on_a_machine_with_named_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        add(root, "sda", None, &[]);
        add(root, "dm-0", Some(["root", "CRYPT-LUKS2-x"]), &["sda"]);
        add(root, "dm-1", Some(["vg-swap", "LVM-x"]), &["dm-0"]);
        link(root, "dm-0", "sys/dev/block/254:0");
        link(root, "sda", "sys/dev/block/8:0");
        for folder in ["dev/mapper", "proc/self", "boot"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for device in ["sda", "dm-1", "zram0", "zram1"] {
            fs::write(root.join("dev").join(device), "").unwrap();
        }
        for (zram, device) in [("zram0", "none\n"), ("zram1", "/dev/sda3\n")] {
            fs::create_dir_all(root.join("sys/block").join(zram)).unwrap();
            fs::write(
                root.join("sys/block").join(zram).join("backing_dev"),
                device,
            )
            .unwrap();
        }
        symlink("../dm-1", root.join("dev/mapper/vg-swap")).unwrap();
        let mounts = "21 1 254:0 / / rw - ext4 /dev/mapper/root rw\n22 21 8:0 / /boot rw - ext4 /dev/sda rw\n";
        fs::write(root.join("proc/self/mountinfo"), mounts).unwrap();
        let swaps = |places: &[&str]| {
            let lines: Vec<String> = places
                .iter()
                .map(|place| format!("{place}   partition  1048572  0  -2\n"))
                .collect();
            let head = "Filename    Type    Size    Used    Priority\n";
            fs::write(root.join("proc/swaps"), head.to_owned() + &lines.concat()).unwrap();
            judged(root)
        };
        let plain = [
            "/dev/sda",
            "/boot/swap",
            "/boot/my\\040swap",
            "/dev/gone",
            "/dev/zram1",
        ];
        let encrypted = ["/dev/mapper/vg-swap", "/dev/dm-1", "/swap", "/dev/zram0"];
        // It has no named secrets.
        assert_eq!(swaps(&plain), []);
        let pinned = PinnedAdminKeys::of(root);
        fs::create_dir_all(pinned.path().parent().unwrap()).unwrap();
        fs::write(pinned.path(), "").unwrap();
        for (places, is_encrypted) in [(&plain[..], false), (&encrypted[..], true)] {
            let expected: Vec<(PathBuf, bool)> = places
                .iter()
                .map(|place| (place.replace("\\040", " ").into(), is_encrypted))
                .collect();
            assert_eq!(swaps(places), expected);
        }
        assert_eq!(swaps(&[]), []);
    }
}
