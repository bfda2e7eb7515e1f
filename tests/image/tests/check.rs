//! `nightlatch check` opens the images that real boot systems make, and finds faults in them. Its checks of the
//! network are tested elsewhere: here there is none.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::fs;

use nightlatch_image_tests::builder::build_image;

/// In a guest with keys, with an image that `image` puts into its argument: what is said of it as it is, and after each of
/// some changes.
fn checked(suite: &str, image: &str) -> Option<String> {
    if !nightlatch_test_support::is_root() {
        return None;
    }
    let script = format!(
        "image() {{ {image}\n}}
        nightlatch keygen --name guest
        image=$(ls /boot/vmlinuz-* | sed 's/vmlinuz/initrd.img/')
        check() {{
            echo \"== $1\" >>/out/said
            unshare --net nightlatch check --wait 1 2>&1 | grep '  image  ' >>/out/said || true
        }}
        rm -f \"$image\"; check missing
        image \"$image\"; check good
        chmod 644 \"$image\"; check readable; chmod 600 \"$image\"
        printf '[client]\\nconnect = [fe80::1]:4711\\n' >/etc/nightlatch/client.conf; check stale
        printf 'menuentry x {{\\n linux /vmlinuz root=x ip=dhcp\\n}}\\n' >/boot/grub.cfg
        printf '[client]\\nconnect = 192.0.2.1:4711\\n' >/etc/nightlatch/client.conf
        mkdir -p /boot/grub; mv /boot/grub.cfg /boot/grub/; check addresses; rm -r /boot/grub
        rm /etc/nightlatch/client.conf
        cp /etc/crypttab /out/
        echo more UUID=6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0002 none luks,initramfs >>/etc/crypttab; check volume
        cp /out/crypttab /etc/
        rm -r /etc/nightlatch/keys; nightlatch keygen --name other; check other
        truncate -s $(($(stat -c %s \"$image\") / 2)) \"$image\"; check cut"
    );
    let made = build_image(suite, &script);
    Some(fs::read_to_string(made.file("said")).unwrap())
}

/// The output after `change`.
fn after<'s>(said: &'s str, change: &str) -> &'s str {
    let (_, rest) = said.split_once(&format!("== {change}\n")).unwrap();
    rest.split("== ").next().unwrap()
}

fn assert_said(said: &str, change: &str, parts: &[&str]) {
    let lines = after(said, change);
    for part in parts {
        assert!(lines.contains(part), "{change}: {part}\n{said}");
    }
    let count = lines.lines().count();
    assert_eq!(count, parts.len(), "{change}: nothing else\n{said}");
}

fn assert_all(said: &str, opens_by_list: bool) {
    assert_said(said, "missing", &["FAIL  image     the kernel "]);
    assert_said(said, "good", &["ok    image     /boot/initrd.img-"]);
    assert_said(said, "readable", &["can be read by everybody"]);
    let lacks = "lacks /conf/conf.d/nightlatch/client.options";
    assert_said(said, "stale", &[lacks]);
    match opens_by_list {
        true => assert_said(said, "addresses", &[lacks]),
        // Its network module is not in these images.
        false => assert_said(said, "addresses", &["configures addresses", lacks]),
    }
    match opens_by_list {
        true => assert_said(said, "volume", &["does not open the volume more"]),
        false => assert_said(said, "volume", &["ok    image "]),
    }
    let names = [
        "pubkey.txt",
        "seckey.txt",
        "tls-privkey.pem",
        "tls-pubkey.pem",
    ];
    let parts = names.map(|name| format!("has another /conf/conf.d/nightlatch/{name}"));
    assert_said(said, "other", &parts.each_ref().map(String::as_str));
    assert_said(said, "cut", &["cannot be decompressed by zstd"]);
}

#[test]
fn images_of_initramfs_tools_are_opened_and_compared() {
    for suite in ["bookworm", "trixie"] {
        let Some(said) = checked(suite, "mkinitramfs -o $1 $kernel") else {
            return;
        };
        assert_all(&said, true);
    }
}

fn dracut(modules: &str) -> String {
    format!(
        "dracut --quiet --force --kver $kernel --hostonly --no-hostonly-cmdline \
         --no-hostonly-default-device --filesystems ext4 --compress zstd \
         --add-drivers 'virtio_net dm_crypt' {modules} $1"
    )
}

#[test]
fn images_of_dracut_with_systemd_are_opened_and_compared() {
    for suite in ["bookworm", "trixie"] {
        let image = dracut("--add 'systemd nightlatch'");
        let Some(said) = checked(suite, &image) else {
            return;
        };
        assert_all(&said, false);
    }
}

#[test]
fn images_of_dracut_without_systemd_are_opened_and_compared() {
    let image = dracut("--omit 'systemd systemd-initrd dracut-systemd' --add nightlatch");
    let Some(said) = checked("bookworm", &image) else {
        return;
    };
    assert_all(&said, false);
}
