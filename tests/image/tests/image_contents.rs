//! Files that are added to the images of real boot systems: all that the machine needs to get its password, nothing
//! else, and readable by root only. People review the lists in `golden/`.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nightlatch_image_tests::builder::{BuiltImage, build_image};
use nightlatch_image_tests::cpio::{self, CpioEntry};

/// Limit of the bytes added to an image that initramfs-tools compresses as shipped (docs/decisions/0053).
const MAX_ADDED: u64 = 1_300_000;

/// A program of this size is the one of `make boot`, not that of a debug build.
const MAX_SMALL: usize = 8_000_000;

/// Stands in files that no image may hold.
const FORBIDDEN: &[u8] = b"not-for-any-image";

/// A server's configuration, another machine's keys and leftovers, where they could be found.
const FORBIDDEN_FILES: &str = "
mkdir -p /etc/nightlatch/keys.old /etc/nightlatch/keys
for file in clients.conf nightlatch.conf keys.old/seckey.txt keys/seckey.txt.bak keys/luks-header-x.img; do
    echo not-for-any-image > /etc/nightlatch/$file
done
";

/// With keys made, as they are on an enrolled machine.
const ENROL: &str = "nightlatch keygen --name guest; cp /etc/nightlatch/keys/seckey.txt /out/\n";

/// An image without keys and one with them, by the same command.
fn before_and_after(suite: &str, image: &str) -> (BuiltImage, [BTreeMap<String, CpioEntry>; 2]) {
    let script =
        format!("image() {{ {image}\n}}\n{FORBIDDEN_FILES}image before\n{ENROL}image after\n");
    let made = build_image(suite, &script);
    let images = ["before", "after"].map(|name| {
        let file = made.file(name);
        let mode = fs::metadata(&file).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}");
        cpio::read(&file)
    });
    let warning = "THIS MACHINE WILL NOT FETCH ITS DISK PASSWORD AT BOOT";
    assert!(made.log.contains(warning), "without keys: {}", made.log);
    let [before, after] = &images;
    assert!(!before.keys().any(|name| name.contains("nightlatch/")));
    let secret = fs::read(made.file("seckey.txt")).unwrap();
    assert_eq!(
        after["conf/conf.d/nightlatch/seckey.txt"].content, secret,
        "this machine's key"
    );
    for (name, entry) in after {
        let mut windows = entry.content.windows(FORBIDDEN.len());
        assert!(!windows.any(|window| window == FORBIDDEN), "{name}");
    }
    (made, images)
}

/// Compares with the list; `NIGHTLATCH_UPDATE_GOLDEN=1` writes it anew, for a person to review.
fn assert_list(name: &str, added: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if std::env::var_os("NIGHTLATCH_UPDATE_GOLDEN").is_some() {
        fs::write(&path, added).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        added == expected,
        "the image is not as {} says:\n{added}",
        path.display()
    );
}

/// Boot systems make indexes of what is there.
fn counts(name: &str) -> bool {
    !name.ends_with("/ORDER") && !name.contains("/modules.")
}

#[test]
fn initramfs_tools_of_debian_12_adds_what_is_needed() {
    initramfs_tools("bookworm");
}

#[test]
fn initramfs_tools_of_debian_13_adds_what_is_needed() {
    initramfs_tools("trixie");
}

fn initramfs_tools(suite: &str) {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let (made, [before, after]) = before_and_after(suite, "mkinitramfs -o /out/$1 $kernel");
    let program = after["usr/bin/nightlatch-boot"].content.len();
    let is_small = program <= MAX_SMALL;
    // A debug build brings this library along, which images of Debian 13 lack.
    let library = ["/libgcc_s.so.1", "/ld.so.cache"];
    let of_library = |name: &str| library.iter().any(|file| name.ends_with(file));
    let counts = |name: &str| counts(name) && (is_small || !of_library(name));
    let added = cpio::difference(&before, &after, counts);
    assert_list("initramfs-tools.txt", &added);
    let [size, larger] = ["before", "after"].map(|name| fs::metadata(made.file(name)).unwrap());
    let added = larger.len() - size.len();
    eprintln!("{suite}: {added} bytes are added, by a program of {program} bytes");
    if is_small {
        assert!(added <= MAX_ADDED, "{added}, expected at most {MAX_ADDED}");
    }
}

#[test]
fn dracut_of_debian_12_adds_what_is_needed() {
    dracut("bookworm", "dracut.txt", "--add 'systemd nightlatch'");
}

#[test]
fn dracut_of_debian_13_adds_what_is_needed() {
    dracut(
        "trixie",
        "dracut-of-debian-13.txt",
        "--add 'systemd nightlatch'",
    );
}

#[test]
fn dracut_without_systemd_adds_what_is_needed() {
    let modules = "--omit 'systemd systemd-initrd dracut-systemd' --add nightlatch";
    dracut("bookworm", "dracut-without-systemd.txt", modules);
}

/// Without kernel modules: those for the devices of the machine that runs the test differ.
fn dracut(suite: &str, list: &str, modules: &str) {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let image = format!(
        "dracut --quiet --force --kver $kernel --no-kernel --hostonly --no-hostonly-cmdline \
         --no-hostonly-default-device --compress 'zstd -1 -q' {modules} /out/$1"
    );
    let (_, [before, after]) = before_and_after(suite, &image);
    // Files in which dracut describes the image.
    let counts = |name: &str| counts(name) && !name.starts_with("usr/lib/dracut/build");
    assert_list(list, &cpio::difference(&before, &after, counts));
}

#[test]
fn programs_of_the_administrator_come_along_and_mandos_steps_back() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    // Scripts of the names that mandos-client has: they stand in for the package.
    let script = format!(
        "{ENROL}
        mkdir -p /etc/nightlatch/plugins.d /etc/nightlatch/network-hooks.d
        cp /usr/bin/nproc /etc/nightlatch/plugins.d/own
        printf '#!/bin/sh\\n[ $1 != files ] || echo /usr/bin/cut\\n[ $1 != modules ] || echo tun\\n' \\
            > /etc/nightlatch/network-hooks.d/hook
        chmod 755 /etc/nightlatch/network-hooks.d/hook
        printf '[client]\\nconnect = [fe80::1]:4711\\n' > /etc/nightlatch/client.conf
        for stage in init-premount local-premount; do
            printf '#!/bin/sh\\necho\\n' > /usr/share/initramfs-tools/scripts/$stage/mandos
            chmod 755 /usr/share/initramfs-tools/scripts/$stage/mandos
        done
        echo COMPRESSLEVEL=1 > /etc/initramfs-tools/conf.d/quick
        mkinitramfs -o /out/image $kernel"
    );
    let made = build_image("bookworm", &script);
    let image = cpio::read(&made.file("image"));
    for name in [
        "usr/lib/mandos/plugins.d/own",
        "usr/lib/mandos/network-hooks.d/hook",
        "usr/bin/cut",
    ] {
        assert!(image.contains_key(name), "{name}");
    }
    let text = |name: &str| String::from_utf8_lossy(&image[name].content).into_owned();
    assert_eq!(
        text("conf/conf.d/nightlatch/client.options"),
        "--connect=[fe80::1]:4711\n"
    );
    assert!(text("conf/modules").contains("tun"));
    assert!(image.keys().any(|name| name.contains("/tun.ko")));
    let warned = made.log.contains("mandos-client is installed too");
    assert!(warned, "{}", made.log);
    let scripts = image.keys().filter(|name| name.starts_with("scripts/"));
    assert!(!scripts.into_iter().any(|name| name.ends_with("/mandos")));
    assert!(!text("scripts/init-premount/ORDER").contains("/mandos"));
}
