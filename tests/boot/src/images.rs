//! Machines as they lie on the shelf: kernel, images of both boot systems, encrypted disks, and the section
//! that a server needs. Made once for each hash of what goes in.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_interop::programs::Whose;
use sha2::{Digest, Sha256};

use crate::chroot::{run, to_its_end};
use crate::places::tree;

/// A release of Debian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, clap::ValueEnum)]
pub enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

/// Which machine: whose client it has, and which of several it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// Our client.
    Ours,
    /// Another machine with our client, with keys and a disk of its own.
    Second,
    /// The stock client.
    Stock,
}

/// What unlocks the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootSystem {
    /// Debian's own, with the scripts of cryptsetup.
    InitramfsTools,
    /// dracut with systemd in the initrd.
    Dracut,
}

impl BootSystem {
    /// As scenarios call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
        }
    }

    /// What is said on the console when the scripts begin that end with an open disk.
    pub fn begins(self) -> &'static str {
        match self {
            Self::InitramfsTools => "Begin: Running /scripts/init-premount",
            Self::Dracut => "Cryptography Setup for root_crypt...",
        }
    }

    /// How a person is asked.
    pub fn asks(self) -> &'static str {
        match self {
            Self::InitramfsTools => "Please unlock disk root_crypt",
            Self::Dracut => "Please enter passphrase for disk root_crypt",
        }
    }

    /// What is said when the disk is open.
    pub fn opened(self) -> &'static str {
        match self {
            Self::InitramfsTools => "cryptsetup: root_crypt: set up successfully",
            Self::Dracut => "Cryptography Setup for root_crypt.\r\n",
        }
    }
}

/// The UUID of a root volume.
pub const ROOT_UUID: &str = "6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0001";
/// The UUID of a second volume.
pub const DATA_UUID: &str = "6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0002";

/// What a person types to open a machine's disk.
pub const TYPED: &str = "typed by a person";

/// The least that LUKS2 takes: nobody guesses here, and the emulator is slow.
const KDF: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/// How much room LUKS2 takes before the data, MB.
const HEADER_MB: u64 = 32;

const INIT: &str = include_str!("../guest/init");
const BASE: &str = include_str!("../guest/base.sh");
const STOCK: &str = include_str!("../guest/stock.sh");
const OURS: &str = include_str!("../guest/ours.sh");
const ENROL: &str = include_str!("../guest/enrol.sh");
const IMAGES: &str = include_str!("../guest/images.sh");

/// A machine that can be booted as often as one likes.
#[derive(Debug)]
pub struct Machine {
    /// Which it is.
    pub who: Who,
    /// What it runs.
    pub suite: Suite,
    /// What is on its root and nowhere else.
    pub mark: String,
    section: String,
    folder: PathBuf,
}

impl Machine {
    /// Takes it from the shelf; makes it first where it is not there, or not as it would be made now.
    pub fn get(suite: Suite, who: Who) -> Self {
        let folder = tree("target/boot-test/machines").join(format!("{}-{who:?}", suite.name()));
        let recipe = recipe(suite, who);
        if std::fs::read_to_string(folder.join("recipe")).ok() != Some(recipe.clone()) {
            make(suite, who, &folder);
            std::fs::write(folder.join("recipe"), recipe).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        Self {
            who,
            suite,
            mark: read("mark"),
            section: read("section"),
            folder,
        }
    }

    /// Its file `name`, as `root.luks`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its section for a server, with `settings` (lines of `key = value`) added. Checks succeed.
    pub fn section(&self, settings: &str) -> String {
        format!("{}\nchecker = true\n{settings}\n", self.section.trim_end())
    }

    /// As [`Self::section`], with a payload that this machine decrypts, but that does not open its disk.
    pub fn section_of_wrong_password(&self, settings: &str) -> String {
        let section = std::fs::read_to_string(self.file("wrong-section")).unwrap();
        format!("{}\nchecker = true\n{settings}\n", section.trim_end())
    }

    /// What its client is called on the server.
    pub fn name(&self) -> &'static str {
        self.who.name()
    }
}

impl Suite {
    /// As Debian calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "guest",
            Self::Second => "second",
            Self::Stock => "stock",
        }
    }

    /// Whose client it has.
    pub fn whose(self) -> Whose {
        match self {
            Self::Ours | Self::Second => Whose::Ours,
            Self::Stock => Whose::Stock,
        }
    }

    /// The scripts that install its client, and that give it its place on a server.
    fn scripts(self) -> [&'static str; 2] {
        match self.whose() {
            Whose::Ours => [OURS, ENROL],
            Whose::Stock => [STOCK, ""],
        }
    }
}

/// A hash of all that goes into a machine.
fn recipe(suite: Suite, who: Who) -> String {
    let mut hash = Sha256::new();
    hash.update(std::fs::read(tree("scripts/guest-root")).unwrap());
    hash.update(suite.name());
    hash.update(format!("{who:?}"));
    for text in [
        INIT,
        BASE,
        IMAGES,
        include_str!("images.rs"),
        include_str!("chroot.rs"),
    ] {
        hash.update(text);
    }
    who.scripts().iter().for_each(|text| hash.update(text));
    if who.whose() == Whose::Ours {
        for package in packages() {
            hash.update(std::fs::read(package).unwrap());
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Our Debian packages, as `make deb` built them.
fn packages() -> Vec<PathBuf> {
    let folder = tree("target/deb");
    let mut packages: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    assert!(
        !packages.is_empty(),
        "no packages in {}: run `make deb` first",
        folder.display()
    );
    packages.sort();
    packages
}

fn make(suite: Suite, who: Who, folder: &Path) {
    let log_file = folder.with_extension("log");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let log = File::create(&log_file).unwrap();
    let made = std::panic::catch_unwind(|| make_logged(suite, who, folder, &log));
    if let Err(panic) = made {
        eprintln!("{}", crate::tail(&std::fs::read(&log_file).unwrap(), 30));
        eprintln!(
            "cannot make the machine; all that was said: {}",
            log_file.display()
        );
        std::panic::resume_unwind(panic);
    }
}

fn make_logged(suite: Suite, who: Who, folder: &Path, log: &File) {
    // In `PATH` of a service or a bare `ssh` the folders of the administrator's programs may be missing.
    if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::create_dir_all(folder).unwrap();
    let stock_root = Command::new(tree("scripts/guest-root"))
        .arg(suite.name())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&stock_root.stderr);
    assert!(stock_root.status.success(), "scripts/guest-root: {said}");
    let stock_root = String::from_utf8(stock_root.stdout).unwrap();

    let root = folder.join("root");
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto", stock_root.trim()])
        .arg(&root);
    to_its_end(&mut copy, log);

    // A key of its own for the stock server to hand out, beside what a person types.
    write_private(&folder.join("served"), &random());
    write_private(&folder.join("typed"), TYPED);
    write_private(&folder.join("wrong"), "not what opens the disk");
    let deb = folder.join("packages");
    std::fs::create_dir(&deb).unwrap();
    if who.whose() == Whose::Ours {
        for package in packages() {
            std::fs::copy(&package, deb.join(package.file_name().unwrap())).unwrap();
        }
    }
    let binds: [(&Path, &str); 1] = [(folder, "/run/machine")];
    let module = match who.whose() {
        Whose::Ours => "nightlatch",
        Whose::Stock => "mandos",
    };
    let settings = format!(
        "NAME={}\nROOT_UUID={ROOT_UUID}\nDATA_UUID={DATA_UUID}\nDRACUT_MODULE={module}\n",
        who.name()
    );
    let [install, enrol] = who.scripts();
    for script in [BASE, install, IMAGES] {
        run(&root, &binds, &format!("{settings}{script}"), log);
    }
    std::fs::remove_dir_all(deb).unwrap();

    let mark = random();
    std::fs::write(folder.join("mark"), &mark).unwrap();
    write_private(&root.join("nightlatch-boot-test.mark"), &mark);
    let mut init = OpenOptions::new();
    init.write(true).create_new(true).mode(0o755);
    let mut init = init.open(root.join("nightlatch-boot-test-init")).unwrap();
    init.write_all(INIT.as_bytes()).unwrap();
    drop(init);

    encrypted(folder, "root.luks", ROOT_UUID, Some(&root), log);
    encrypted(folder, "data.luks", DATA_UUID, None, log);
    if !enrol.is_empty() {
        run(&root, &binds, &format!("{settings}{enrol}"), log);
    }
    std::fs::remove_dir_all(root).unwrap();
}

/// A LUKS2 volume, made in user space: `content` or nothing on ext4, encrypted in place. What a person types
/// opens it, and so does the file `served`.
fn encrypted(folder: &Path, name: &str, uuid: &str, content: Option<&Path>, log: &File) {
    let disk = folder.join(name);
    let size = content.map_or(8, |root| megabytes(root) * 5 / 4 + 64);
    File::create(&disk)
        .unwrap()
        .set_len((size + HEADER_MB) << 20)
        .unwrap();
    let mut format = Command::new("mke2fs");
    format.args([
        "-q",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-E",
        "root_owner=0:0",
    ]);
    if let Some(root) = content {
        format.arg("-d").arg(root);
    }
    to_its_end(format.arg(&disk).arg(format!("{size}M")), log);

    let mut encrypt = Command::new("cryptsetup");
    encrypt.args(["reencrypt", "--encrypt", "--type", "luks2", "--batch-mode"]);
    encrypt.args([
        "--force-offline-reencrypt",
        "--resilience",
        "none",
        "--uuid",
        uuid,
    ]);
    encrypt
        .args(["--reduce-device-size", &format!("{HEADER_MB}M")])
        .args(KDF);
    to_its_end(
        encrypt
            .arg("--key-file")
            .arg(folder.join("typed"))
            .arg(&disk),
        log,
    );

    let mut add = Command::new("cryptsetup");
    add.args(["luksAddKey", "--batch-mode"]).args(KDF);
    add.arg("--key-file")
        .arg(folder.join("typed"))
        .arg(&disk)
        .arg(folder.join("served"));
    to_its_end(&mut add, log);
}

/// How much is in a folder.
fn megabytes(folder: &Path) -> u64 {
    let output = Command::new("du")
        .args(["-sxm"])
        .arg(folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_whitespace().next().unwrap().parse().unwrap()
}

/// 128 random bits in hexadecimal notation.
fn random() -> String {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Born private.
fn write_private(path: &Path, text: &str) {
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}
