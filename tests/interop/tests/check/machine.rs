//! A machine to be checked: its files below a folder of the test, laid over those of this host in a mount
//! namespace for as long as a command runs.
//!
//! What makes images is no more than a name here, so that the check knows who does: images are made by the test.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cpio::newc;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{Lan, NetnsHost, cable};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::site::{Site, SiteKind};
use tempfile::TempDir;

const PASSWORD: &str = "a password of the machine";

/// Lays the folder `$0` over this host's files, and runs the rest.
const LAY: &str = r#"set -e
mount --bind "$0/boot" /boot
mount -t tmpfs none "$0/over"
for folder in etc usr var/lib; do
    over=$0/over/$folder
    mkdir -p "$over" "$over/work"
    cp -a "$0/$folder" "$over/upper"
    mount -t overlay none -o "lowerdir=/$folder,upperdir=$over/upper,workdir=$over/work" "/$folder"
done
exec "$@""#;

/// The scripts that initramfs-tools takes along.
const SCRIPTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../dist/initramfs-tools/scripts"
);

/// Their path on the machine.
const TOOLS: &str = "usr/share/initramfs-tools/scripts";

pub(crate) struct CheckedMachine {
    folder: TempDir,
    lan: Lan,
    /// At the end of a cable, without a server.
    nobody: NetnsHost,
    site: RefCell<Option<Site>>,
    /// Each volume's line in crypttab, and whether the image opens it.
    volumes: RefCell<Vec<(String, bool)>>,
}

impl CheckedMachine {
    /// A machine that its server knows, with these settings there. `None`, and said so, without root.
    pub(crate) fn new(settings: &str) -> Option<Self> {
        Self::with(SiteKind::OursAlone, settings)
    }

    /// The same with another server.
    pub(crate) fn with(kind: SiteKind, settings: &str) -> Option<Self> {
        let lan = Lan::new("check")?;
        let machine = TestMachine::new(
            "tower",
            Project::Ours,
            MachineKeys::Curve25519,
            PASSWORD.as_bytes(),
        );
        let site = kind.serve(&lan.server, &machine.section(settings));
        lan.client.wait_for_link_local("cli0");
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "boot",
            "etc/nightlatch",
            "over",
            "stage",
            "usr/sbin",
            "usr/share",
            "var/lib",
        ] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let fixture = Self {
            folder,
            lan,
            nobody: NetnsHost::new("nobody"),
            site: RefCell::new(Some(site)),
            volumes: RefCell::default(),
        };
        fixture.copy_keys(&machine);
        fs::write(fixture.path("boot/vmlinuz-6.1"), "").unwrap();
        fs::write(fixture.path("usr/sbin/update-initramfs"), "").unwrap();
        fixture.install_scripts();
        fixture.add_volume("root", "none luks,initramfs", true);
        fixture.lock_volume_with("root", PASSWORD);
        fixture.make_image(&[]);
        Some(fixture)
    }

    /// As the package does.
    fn install_scripts(&self) {
        let place = self.path(TOOLS);
        fs::create_dir_all(&place).unwrap();
        let copied = Command::new("cp")
            .args(["-r", &format!("{SCRIPTS}/.")])
            .arg(place)
            .status();
        assert!(copied.unwrap().success());
    }

    pub(crate) fn wait_for_link_local(&self, interface: &str) {
        self.lan.client.wait_for_link_local(interface);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("boot/initrd.img-6.1")
    }

    fn copy_keys(&self, machine: &TestMachine) {
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
    fn run(&self, host: &NetnsHost, arguments: &[&str]) -> (Option<i32>, String) {
        host.run_laid(LAY, self.folder.path(), arguments)
    }

    /// `nightlatch check` on the machine.
    pub(crate) fn check(&self, options: &[&str]) -> (Option<i32>, String) {
        self.run(&self.lan.client, &[&["check"], options].concat())
    }

    pub(crate) fn configure(&self, settings: &str) {
        fs::write(self.path("etc/nightlatch/client.conf"), settings).unwrap();
        self.make_image(&[]);
    }

    /// Writes a file of the machine, and makes a new image. Removes initramfs-tools, this host's too.
    pub(crate) fn without_initramfs_tools(&self) {
        let path = self.path("usr/sbin/update-initramfs");
        fs::remove_file(&path).unwrap();
        // An overlay file system shows it as a missing file.
        let made = Command::new("mknod")
            .arg(&path)
            .args(["c", "0", "0"])
            .status();
        assert!(made.unwrap().success());
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self.make_image(&[]);
    }

    /// Runs `ip` on the machine, or where its server is.
    pub(crate) fn ip(&self, at_server: bool, arguments: &str) {
        let host = match at_server {
            true => &self.lan.server,
            false => &self.lan.client,
        };
        host.ip(&arguments.split_whitespace().collect::<Vec<_>>());
    }

    /// Learns the network of the next image, and makes it.
    pub(crate) fn learn(&self) {
        self.run_kept(&["network", "--learn", "--wait", "60", "--force"]);
        self.make_image(&[]);
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.site.borrow().as_ref().unwrap().server.port()
    }

    /// Runs our program on the machine, and keeps what it leaves in /etc/nightlatch.
    fn run_kept(&self, arguments: &[&str]) {
        let mut command = self.lan.client.command("unshare");
        let lay = "mount --bind \"$0/etc/nightlatch\" /mnt\n".to_owned()
            + LAY.trim_end_matches("exec \"$@\"")
            + "mount --bind /mnt /etc/nightlatch\nexec \"$@\"";
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", &lay])
            .arg(self.folder.path())
            .arg(ours("nightlatch"))
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Adds a volume to crypttab, with its key and its options. The image has to be made again afterwards.
    pub(crate) fn add_volume(&self, name: &str, how: &str, in_image: bool) {
        let disk = self.path(name);
        let line = format!("{name} {} {how}\n", disk.display());
        self.volumes.borrow_mut().push((line, in_image));
        let volumes = self.volumes.borrow();
        let lines: String = volumes.iter().map(|(line, _)| line.as_str()).collect();
        fs::write(self.path("etc/crypttab"), lines).unwrap();
    }

    /// A file of the machine in /etc/nightlatch, as a key file: its path there.
    pub(crate) fn add_file(&self, name: &str, content: &str) -> String {
        let file = self.path("etc/nightlatch").join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        format!("/etc/nightlatch/{name}")
    }

    /// A LUKS2 container with one password.
    pub(crate) fn lock_volume_with(&self, name: &str, password: &str) {
        let disk = self.path(name);
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

    /// Gives the machine host keys; the content of a private file.
    pub(crate) fn add_host_keys(&self) -> Vec<u8> {
        let place = self.path("var/lib/nightlatch-agent/keys");
        let made = Command::new(ours("nightlatch"))
            .args(["keygen", "--name", "tower", "--dir"])
            .arg(&place)
            .status();
        assert!(made.unwrap().success());
        fs::read(place.join("tls-privkey.pem")).unwrap()
    }

    /// Makes a new image, with these unexpected files in it.
    pub(crate) fn make_image(&self, more: &[&str]) {
        let more: Vec<(&str, &[u8])> = more.iter().map(|name| (*name, &b"stray"[..])).collect();
        self.make_image_with(&more);
    }

    /// The same, with what is in the files.
    pub(crate) fn make_image_with(&self, more: &[(&str, &[u8])]) {
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
        self.add_boot_system(&stage);
        for (name, content) in more {
            let file = stage.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
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

    /// Adds the files of initramfs-tools that matter here.
    fn add_boot_system(&self, stage: &Path) {
        for folder in ["conf", "cryptroot"] {
            fs::create_dir_all(stage.join(folder)).unwrap();
        }
        fs::write(stage.join("conf/initramfs.conf"), "").unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.path(TOOLS))
            .arg(stage.join("scripts"))
            .status();
        assert!(copied.unwrap().success());
        let volumes = self.volumes.borrow();
        let opened = volumes.iter().filter(|(_, in_image)| *in_image);
        let lines: String = opened.map(|(line, _)| line.as_str()).collect();
        fs::write(stage.join("cryptroot/crypttab"), lines).unwrap();
    }

    /// As after an image was made while the package was half installed.
    pub(crate) fn forget_scripts_in_the_image(&self) {
        fs::rename(self.path(TOOLS), self.path("scripts")).unwrap();
        fs::create_dir_all(self.path(TOOLS)).unwrap();
        self.make_image(&[]);
        fs::remove_dir(self.path(TOOLS)).unwrap();
        fs::rename(self.path("scripts"), self.path(TOOLS)).unwrap();
    }

    /// A second interface, with a cable to nobody.
    pub(crate) fn add_a_wrong_cable(&self) {
        let host = &self.lan.client;
        cable((host, "aaa0"), (&self.nobody, "aaa1"));
        self.nobody.ip(&["link", "set", "aaa1", "up"]);
        // A container on a bridge: both ends are here.
        host.ip(&["link", "add", "in0", "type", "veth", "peer", "name", "in1"]);
        host.ip(&["link", "add", "docker0", "type", "bridge"]);
        host.ip(&["link", "set", "in1", "master", "docker0"]);
        for name in ["aaa0", "in0", "in1", "docker0"] {
            host.ip(&["link", "set", name, "up"]);
        }
        // An interface that comes up later would look like a change by the check.
        for name in ["aaa0", "in0", "in1", "docker0"] {
            host.wait_for_link_local(name);
        }
    }

    pub(crate) fn add_an_interface_that_is_down(&self) {
        let host = &self.lan.client;
        cable((host, "down0"), (&self.nobody, "down1"));
    }

    /// Everything that a check must not change.
    pub(crate) fn network(&self) -> String {
        self.lan.client.network()
    }

    pub(crate) fn leave_an_image_behind(&self) {
        let old = self.path("boot/initrd.img-6.0.dpkg-bak");
        fs::copy(self.image(), &old).unwrap();
        fs::set_permissions(old, fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn make_new_keys_after_the_image(&self) {
        let other = TestMachine::new("other", Project::Ours, MachineKeys::Curve25519, b"password");
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

/// Appends the files of `folder` to an archive whose root is `root`.
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
