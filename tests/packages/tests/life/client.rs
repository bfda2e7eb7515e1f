//! The machine's package: its keys, and the images that are built when it comes and goes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nightlatch_packages::system::TestSystem;

const KEYS: &str = "/etc/nightlatch/keys";

fn keys(system: &TestSystem) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(system.file(KEYS))
        .into_iter()
        .flatten()
        .flatten();
    let mut keys: Vec<_> = files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    keys.sort();
    keys
}

/// The images of all kernels: path in the system, inode and mode.
fn images(system: &TestSystem) -> Vec<(String, u64, u32)> {
    let files = std::fs::read_dir(system.file("/boot")).unwrap().flatten();
    let images = files.filter_map(|file| {
        let name = file.file_name().into_string().unwrap();
        let data = file.metadata().unwrap();
        name.starts_with("initrd.img-")
            .then(|| (name, data.ino(), data.permissions().mode() & 0o7777))
    });
    images.collect()
}

/// The images, each made since there were those of `before`, and for root alone.
fn new_images(system: &TestSystem, before: &[(String, u64, u32)]) -> Vec<(String, u64, u32)> {
    let with = images(system);
    assert!(
        !with.is_empty() && with.iter().all(|image| !before.contains(image)),
        "{with:?}"
    );
    assert!(
        with.iter().all(|(_, _, mode)| *mode == 0o600),
        "an image is readable: {with:?}"
    );
    with
}

#[test]
#[ignore = "make deb-test builds the packages first"]
fn keys_are_made_once_and_kept_until_the_purge_wipes_them() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    let before = images(&system);
    system.install(&["nightlatch-client", "nightlatch"]);
    let made = keys(&system);
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "pubkey.txt",
            "seckey.txt",
            "tls-privkey.pem",
            "tls-pubkey.pem"
        ]
    );
    let stat = system.run(&["find", KEYS, "-printf", "%u %m\n"]);
    assert_eq!(stat, "root 700\n".to_owned() + &"root 600\n".repeat(4));

    let with = new_images(&system, &before);

    let said = system.upgrade(&["nightlatch-client", "nightlatch"]);
    assert_eq!(keys(&system), made, "{said}");
    system.apt(&["remove", "nightlatch-client"]);
    assert_eq!(keys(&system), made);
    let without = images(&system);
    assert!(
        without.iter().all(|image| !with.contains(image)),
        "{without:?}"
    );
    system.upgrade(&["nightlatch-client"]);
    assert_eq!(keys(&system), made);

    system.apt(&["purge", "nightlatch-client", "nightlatch"]);
    assert!(!system.file("/etc/nightlatch").exists());
}

/// Two kernels: the image of each is built, and only the newest by the trigger of initramfs-tools too.
#[test]
#[ignore = "make deb-test builds the packages first"]
fn the_image_of_every_kernel_is_built() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.sh("set -- /lib/modules/*; v=$(basename $1); o=$v-old
         cp -r /lib/modules/$v /lib/modules/$o; depmod $o
         cp /boot/config-$v /boot/config-$o; cp /boot/vmlinuz-$v /boot/vmlinuz-$o
         update-initramfs -c -k $o");
    let before = images(&system);
    let said = system.install(&["nightlatch-client", "nightlatch"]);
    let after = images(&system);
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|image| !before.contains(image)), "{said}");
    assert!(
        said.matches("update-initramfs: Generating").count() <= 3,
        "{said}"
    );
    assert!(images(&system).iter().all(|(_, _, mode)| *mode == 0o600));
}

/// dracut alone, as where initramfs-tools was never installed.
#[test]
#[ignore = "make deb-test builds the packages first"]
fn dracut_s_images_are_built_too() {
    let Some(system) = TestSystem::booted("bookworm") else {
        return;
    };
    system.install(&["dracut"]);
    assert!(!system.file("/usr/sbin/update-initramfs").exists());
    let before = images(&system);
    system.install(&["nightlatch-client", "nightlatch"]);
    new_images(&system, &before);
}
