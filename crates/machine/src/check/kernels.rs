//! Finds the kernels of a machine and their images by the names of files. Pure.

use std::collections::BTreeSet;

/// Names of kernels in /boot, before the version.
const KERNELS: [&str; 3] = ["vmlinuz-", "vmlinux-", "kernel-"];

/// Endings of files that package managers and people leave beside an image.
const LEFT_BEHIND: [&str; 6] = [".old", ".bak", ".dpkg-bak", ".dpkg-new", ".dpkg-old", "~"];

/// The content of /boot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Installed {
    /// Each kernel's version and the names of its images, which may be none.
    pub(super) kernels: Vec<(String, Vec<String>)>,
    /// Files that may be images, of no kernel that is there: nothing boots them, but they may hold keys.
    pub(super) others: Vec<String>,
}

/// Sorts the names of the files in /boot.
pub(super) fn installed(names: &BTreeSet<String>) -> Installed {
    let versions = names.iter().filter_map(|name| version(name));
    let versions: BTreeSet<&str> = versions.collect();
    let mut found = Installed::default();
    for version in versions {
        let images = image_names(version).into_iter();
        let images: Vec<String> = images.filter(|name| names.contains(name)).collect();
        found.kernels.push((version.to_owned(), images));
    }
    let known = |name: &&String| {
        let mut kernels = found.kernels.iter();
        kernels.any(|(_, images)| images.contains(name))
    };
    let others = names.iter().filter(|name| is_like_an_image(name));
    found.others = others.filter(|name| !known(name)).cloned().collect();
    found
}

fn version(name: &str) -> Option<&str> {
    let version = KERNELS.iter().find_map(|kind| name.strip_prefix(kind))?;
    let is_left = LEFT_BEHIND.iter().any(|end| version.ends_with(end));
    (!version.is_empty() && !is_left).then_some(version)
}

/// Names for the image of a kernel: of initramfs-tools, of dracut and mkinitcpio, with mkinitcpio's second one, and of
/// others.
fn image_names(version: &str) -> [String; 5] {
    [
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initramfs-{version}-fallback.img"),
        format!("initrd-{version}"),
        format!("initrd-{version}.img"),
    ]
}

fn is_like_an_image(name: &str) -> bool {
    name.starts_with("initrd") || name.starts_with("initramfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_belong_to_their_kernels_whoever_makes_them() {
        let names = [
            "vmlinuz-6.1.0-1",
            "initrd.img-6.1.0-1",
            "vmlinuz-6.1.0-2",
            "initrd.img-6.1.0-2.dpkg-bak",
            "vmlinuz-linux",
            "initramfs-linux.img",
            "initramfs-linux-fallback.img",
            "vmlinuz-6.1.0-1.old",
            "vmlinux-6.4-s390x",
            "initrd-6.4-s390x",
            "config-6.1.0-1",
            "grub",
        ];
        let found = installed(&names.into_iter().map(str::to_owned).collect());
        let shown: Vec<(&str, Vec<&str>)> = found
            .kernels
            .iter()
            .map(|(version, images)| {
                (
                    version.as_str(),
                    images.iter().map(String::as_str).collect(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("6.1.0-1", vec!["initrd.img-6.1.0-1"]),
                ("6.1.0-2", vec![]),
                ("6.4-s390x", vec!["initrd-6.4-s390x"]),
                (
                    "linux",
                    vec!["initramfs-linux.img", "initramfs-linux-fallback.img"]
                ),
            ]
        );
        assert_eq!(found.others, ["initrd.img-6.1.0-2.dpkg-bak"]);
    }
}
