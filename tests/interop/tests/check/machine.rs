//! A machine to be checked: its files below a folder of the test, laid over those of this host in a mount
//! namespace for as long as a command runs.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cpio::newc;
use nightlatch_interop::machine::{Keys, Machine};
use nightlatch_interop::netns::{Host, Lan};
use nightlatch_interop::programs::{Whose, ours};
use nightlatch_interop::site::{Kind, Site};
use tempfile::TempDir;

const PASSWORD: &str = "a password of the machine";

/// Lays the folder `$0` over this host's files, and runs the rest.
const LAY: &str = r#"set -e
mount --bind "$0/boot" /boot
mount -t tmpfs none "$0/over"
mkdir "$0/over/work"
cp -a "$0/etc" "$0/over/upper"
mount -t overlay none -o "lowerdir=/etc,upperdir=$0/over/upper,workdir=$0/over/work" /etc
exec "$@""#;

pub(crate) struct House {
    folder: TempDir,
    lan: Lan,
    site: RefCell<Option<Site>>,
}

impl House {
    /// A machine that its server knows, with these settings there. `None`, and said so, without root.
    pub(crate) fn new(settings: &str) -> Option<Self> {
        let lan = Lan::new("check")?;
        let machine = Machine::new("tower", Whose::Ours, Keys::Curve25519, PASSWORD.as_bytes());
        let site = Kind::OursAlone.serve(&lan.server, &machine.section(settings));
        lan.client.wait_for_link_local("cli0");
        let folder = tempfile::tempdir().unwrap();
        for name in ["boot", "etc/nightlatch", "over", "stage"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let house = Self {
            folder,
            lan,
            site: RefCell::new(Some(site)),
        };
        house.copy_keys(&machine);
        fs::write(house.path("boot/vmlinuz-6.1"), "").unwrap();
        let disk = house.path("disk");
        let crypttab = format!("root {} none luks\n", disk.display());
        fs::write(house.path("etc/crypttab"), crypttab).unwrap();
        house.lock_volume_with(PASSWORD);
        house.make_image(&[]);
        Some(house)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("boot/initrd.img-6.1")
    }

    fn copy_keys(&self, machine: &Machine) {
        let keys = self.path("etc/nightlatch/keys");
        let _ = fs::remove_dir_all(&keys);
        fs::create_dir(&keys).unwrap();
        for name in [
            "seckey.txt",
            "pubkey.txt",
            "tls-privkey.pem",
            "tls-pubkey.pem",
        ] {
            fs::copy(machine.key_file(name), keys.join(name)).unwrap();
        }
    }

    /// Runs our program on the machine: how it ended, and all that it said.
    fn run(&self, host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = host.command("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", LAY])
            .arg(self.folder.path())
            .arg(ours("nightlatch"))
            .args(arguments);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// `nightlatch check` on the machine.
    pub(crate) fn check(&self, options: &[&str]) -> (Option<i32>, String) {
        self.run(&self.lan.client, &[&["check"], options].concat())
    }

    pub(crate) fn configure(&self, settings: &str) {
        fs::write(self.path("etc/nightlatch/client.conf"), settings).unwrap();
        self.make_image(&[]);
    }

    /// A LUKS2 container with one password.
    pub(crate) fn lock_volume_with(&self, password: &str) {
        let disk = self.path("disk");
        let file = fs::File::create(&disk).unwrap();
        file.set_len(32 << 20).unwrap();
        let mut format = Command::new("cryptsetup")
            .args(["luksFormat", "--batch-mode", "--pbkdf", "pbkdf2"])
            .args(["--pbkdf-force-iterations", "1000", "--key-file", "-"])
            .arg(&disk)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = format.stdin.take().unwrap();
        input.write_all(password.as_bytes()).unwrap();
        drop(input);
        assert!(format.wait().unwrap().success());
    }

    /// Makes the image anew, with these files in it that belong into none.
    pub(crate) fn make_image(&self, more: &[&str]) {
        let stage = self.path("stage");
        fs::remove_dir_all(&stage).unwrap();
        fs::create_dir(&stage).unwrap();
        let place = stage.display().to_string();
        let (status, said) = self.run(&self.lan.client, &["image", "stage", &place]);
        assert_eq!(status, Some(0), "{said}");
        for line in said.lines() {
            if let ["program", source, place] = line.split('\t').collect::<Vec<_>>()[..] {
                let place = stage.join(place.trim_start_matches('/'));
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::copy(source, place).unwrap();
            }
        }
        for name in more {
            let file = stage.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "stray").unwrap();
        }
        let mut archive = Vec::new();
        pack(&stage, &stage, &mut archive);
        newc::trailer(&mut archive).unwrap();
        let plain = self.path("archive");
        fs::write(&plain, archive).unwrap();
        let image = self.image();
        let packed = Command::new("zstd")
            .args(["-q", "-f", "-1", "-o"])
            .args([&image, &plain])
            .status()
            .unwrap();
        assert!(packed.success());
        fs::set_permissions(&image, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn make_new_keys_after_the_image(&self) {
        let other = Machine::new("other", Whose::Ours, Keys::Curve25519, b"password");
        self.copy_keys(&other);
    }

    pub(crate) fn let_everybody_read_the_image(&self) {
        fs::set_permissions(self.image(), fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn remove_image(&self) {
        fs::remove_file(self.image()).unwrap();
    }

    pub(crate) fn stop_server(&self) {
        self.site.replace(None);
    }

    pub(crate) fn server_log(&self) -> String {
        let site = self.site.borrow();
        site.as_ref().unwrap().server.running().log().join("\n")
    }
}

/// Adds what is in `folder` to an archive whose root is `root`.
fn pack(root: &Path, folder: &Path, archive: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = match () {
            () if metadata.is_dir() => Vec::new(),
            () if metadata.is_symlink() => {
                let target = fs::read_link(&path).unwrap();
                target.into_os_string().into_encoded_bytes()
            }
            () => fs::read(&path).unwrap(),
        };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let builder = newc::Builder::new(name)
            .mode(metadata.mode())
            .uid(metadata.uid())
            .gid(metadata.gid());
        let length = u32::try_from(content.len()).unwrap();
        let mut writer = builder.write(&mut *archive, length);
        writer.write_all(&content).unwrap();
        writer.finish().unwrap();
        if metadata.is_dir() {
            pack(root, &path, archive);
        }
    }
}
