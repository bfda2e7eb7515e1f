//! Prepares machines: packages by apt, images of both boot systems, disks that are encrypted in user space, and the
//! enrolment of the machine. Once for each hash of the inputs.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightlatch_core::digits::Hex;
use nightlatch_core::key_id::KeyId;
use nightlatch_interop::programs::Project;
use nightlatch_proto::tls::{RawKey, RawKeyKind};
use sha2::{Digest, Sha256};

use crate::chroot::{run, run_logged};
use crate::images::{DATA_UUID, DebianRelease, MachineKind, ROOT_UUID, TYPED};
use crate::paths::tree;

/// A password that does not open the disk.
pub const WRONG: &str = "released, but not what opens the disk";

/// File of a machine's folder: the private key of the server that it trusts.
pub const SERVER_KEY: &str = "server-key.pem";

/// File of a machine's folder: the key of the administrator whose named secrets it believes.
pub const ADMIN_KEY: &str = "admin-key";

/// The fewest iterations of LUKS2: no attacker is here, and the emulator is slow.
const KDF: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/// Megabytes of LUKS2 before the data.
const HEADER_MB: u64 = 32;

const INIT: &str = include_str!("../guest/init");
const BASE: &str = include_str!("../guest/base.sh");
const STOCK: &str = include_str!("../guest/stock.sh");
const OURS: &str = include_str!("../guest/ours.sh");
const REACHABLE: &str = include_str!("../guest/reachable.sh");
const ENROL: &str = include_str!("../guest/enrol.sh");
const IMAGES: &str = include_str!("../guest/images.sh");
const BOOTED: &str = include_str!("../guest/booted.sh");
const BOOTED_IMAGES: &str = include_str!("../guest/booted-images.sh");
const BOOTED_ENROL: &str = include_str!("../guest/booted-enrol.sh");

/// A hash of all that goes into a machine.
pub fn recipe(suite: DebianRelease, kind: MachineKind) -> String {
    let mut hash = Sha256::new();
    hash.update(std::fs::read(tree("scripts/guest-root")).unwrap());
    hash.update(suite.name());
    hash.update(format!("{kind:?}"));
    for text in [
        INIT,
        BASE,
        include_str!("making.rs"),
        include_str!("chroot.rs"),
    ] {
        hash.update(text);
    }
    let scripts = MakingScripts::of(kind);
    for text in scripts.before_disk().into_iter().chain([scripts.enrol]) {
        hash.update(text);
    }
    if kind.project() == Project::Ours {
        for package in packages() {
            hash.update(std::fs::read(package).unwrap());
        }
    }
    Hex(&hash.finalize()).to_string()
}

/// Our Debian packages, as `make deb` built them: those that bring our names, not Mandos's.
fn packages() -> Vec<PathBuf> {
    let folder = tree("target/deb");
    let mut packages: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.ends_with(".deb") && !name.starts_with("nightlatch-mandos")
        })
        .collect();
    assert!(
        !packages.is_empty(),
        "no packages in {}: run `make deb` first",
        folder.display()
    );
    packages.sort();
    packages
}

/// Makes a machine in `folder`, in place of what is there.
///
/// # Panics
/// When it cannot be made, after the end of what was said.
pub fn make(suite: DebianRelease, kind: MachineKind, folder: &Path) {
    let log_file = folder.with_extension("log");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let log = File::create(&log_file).unwrap();
    let made = std::panic::catch_unwind(|| make_logged(suite, kind, folder, &log));
    if let Err(panic) = made {
        eprintln!("{}", crate::tail(&std::fs::read(&log_file).unwrap(), 30));
        eprintln!(
            "cannot make the machine; all that was said: {}",
            log_file.display()
        );
        std::panic::resume_unwind(panic);
    }
}

fn make_logged(suite: DebianRelease, kind: MachineKind, folder: &Path, log: &File) {
    // In `PATH` of a service or a bare `ssh` the folders of the administrator's programs may be missing.
    if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::create_dir_all(folder).unwrap();
    let stock_root = Command::new(tree("scripts/guest-root"))
        .arg(suite.name())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&stock_root.stderr);
    assert!(stock_root.status.success(), "scripts/guest-root: {errors}");
    let stock_root = String::from_utf8(stock_root.stdout).unwrap();

    let root = folder.join("root");
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto", stock_root.trim()])
        .arg(&root);
    run_logged(&mut copy, log);

    // A key of its own for the stock server to hand out, beside what a person types.
    write_private(&folder.join("served"), &random());
    write_private(&folder.join("typed"), TYPED);
    write_private(&folder.join("wrong"), WRONG);
    let deb = folder.join("packages");
    std::fs::create_dir(&deb).unwrap();
    if kind.project() == Project::Ours {
        for package in packages() {
            std::fs::copy(&package, deb.join(package.file_name().unwrap())).unwrap();
        }
    }
    let binds: [(&Path, &str); 1] = [(folder, "/run/machine")];
    let module = match kind.project() {
        Project::Ours => "nightlatch",
        Project::Stock => "mandos",
    };
    let mut settings = format!(
        "NAME={}\nROOT_UUID={ROOT_UUID}\nDATA_UUID={DATA_UUID}\nDRACUT_MODULE={module}\n",
        kind.name()
    );
    let scripts = MakingScripts::of(kind);
    if kind == MachineKind::Booted {
        let server = server_key(folder);
        settings.push_str(&format!("SERVER_KEY_ID={server}\n"));
    }
    if kind == MachineKind::Reachable {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]);
        run_logged(keygen.arg(folder.join("ssh-key")), log);
    }
    for script in scripts.before_disk() {
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

    let volumes = [
        Volume {
            name: "root.luks",
            uuid: ROOT_UUID,
            content: Some(&root),
            // A power cut must not damage it.
            journal: kind == MachineKind::Booted,
        },
        Volume {
            name: "data.luks",
            uuid: DATA_UUID,
            content: None,
            journal: false,
        },
    ];
    for volume in volumes {
        encrypted(folder, &volume, log);
    }
    if !scripts.enrol.is_empty() {
        run(&root, &binds, &format!("{settings}{}", scripts.enrol), log);
    }
    std::fs::remove_dir_all(root).unwrap();
}

/// An encrypted volume that is to be made.
struct Volume<'a> {
    /// Its file.
    name: &'static str,
    uuid: &'static str,
    /// The files on it; none for an empty one.
    content: Option<&'a Path>,
    /// With a journal, for guests that write to it.
    journal: bool,
}

/// Makes a LUKS2 volume in user space: ext4, encrypted in place. What a person types opens it, and so does the file
/// `served`.
fn encrypted(folder: &Path, volume: &Volume<'_>, log: &File) {
    let disk = folder.join(volume.name);
    let size = volume
        .content
        .map_or(8, |root| megabytes(root) * 5 / 4 + 64);
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
        match volume.journal {
            true => "has_journal",
            false => "^has_journal",
        },
        "-E",
        "root_owner=0:0",
    ]);
    if let Some(root) = volume.content {
        format.arg("-d").arg(root);
    }
    run_logged(format.arg(&disk).arg(format!("{size}M")), log);

    let mut encrypt = Command::new("cryptsetup");
    encrypt.args(["reencrypt", "--encrypt", "--type", "luks2", "--batch-mode"]);
    encrypt.args([
        "--force-offline-reencrypt",
        "--resilience",
        "none",
        "--uuid",
        volume.uuid,
    ]);
    encrypt
        .args(["--reduce-device-size", &format!("{HEADER_MB}M")])
        .args(KDF);
    run_logged(
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
    run_logged(&mut add, log);
}

/// The size of a folder.
fn megabytes(folder: &Path) -> u64 {
    let output = Command::new("du")
        .args(["-sxm"])
        .arg(folder)
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    output.split_whitespace().next().unwrap().parse().unwrap()
}

/// 128 random bits in hexadecimal notation.
pub fn random() -> String {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    Hex(&bytes).to_string()
}

/// Creates a file for its owner only.
fn write_private(path: &Path, text: &str) {
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Makes the key of the server that the machine will trust: its key id.
fn server_key(folder: &Path) -> KeyId {
    let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let pem = std::str::from_utf8(key.private_pem().expose())
        .unwrap()
        .to_owned();
    write_private(&folder.join(SERVER_KEY), &pem);
    key.key_id()
}

/// The scripts that make a machine.
struct MakingScripts {
    /// Installs its client.
    install: &'static str,
    /// Installs what is beside it.
    beside: &'static str,
    /// Makes its images.
    images: &'static str,
    /// Gives it its place on a server, when its disks are made.
    enrol: &'static str,
}

impl MakingScripts {
    fn of(kind: MachineKind) -> Self {
        let (install, beside, images, enrol) = match kind {
            MachineKind::Ours | MachineKind::Second => (OURS, "", IMAGES, ENROL),
            MachineKind::Reachable => (OURS, REACHABLE, IMAGES, ENROL),
            MachineKind::Booted => (OURS, BOOTED, BOOTED_IMAGES, BOOTED_ENROL),
            MachineKind::Stock => (STOCK, "", IMAGES, ""),
        };
        Self {
            install,
            beside,
            images,
            enrol,
        }
    }

    /// Those that are run before the disks are made, in this order.
    fn before_disk(&self) -> [&'static str; 4] {
        [BASE, self.install, self.beside, self.images]
    }
}
