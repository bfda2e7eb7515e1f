//! A machine that wants its password: its keys, and the section that a server needs for it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::programs::{Project, ours, peer};

/// The kind of a machine's OpenPGP keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineKeys {
    /// The default of Nightlatch.
    Curve25519,
    /// The stock default.
    Rsa4096,
}

/// A machine: keys in a folder of its own, and its section of `clients.conf`.
#[derive(Debug)]
pub struct TestMachine {
    /// The client's name.
    pub name: String,
    /// The password that its disk wants.
    pub password: Vec<u8>,
    keys: TempDir,
    section: String,
}

impl TestMachine {
    /// Makes keys with `keygen` and encrypts `password` to them. The stock key generator makes RSA
    /// keys only.
    pub fn new(name: &str, keygen: Project, kind: MachineKeys, password: &[u8]) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let dir = keys.path().to_str().unwrap();
        let size: &[&str] = match kind {
            MachineKeys::Curve25519 => &[],
            MachineKeys::Rsa4096 => &[
                "--type",
                "RSA",
                "--length",
                "4096",
                "--subtype",
                "RSA",
                "--sublength",
                "4096",
            ],
        };
        let program = || match keygen {
            Project::Ours => {
                let mut command = Command::new(ours("nightlatch"));
                command.arg("keygen");
                command
            }
            Project::Stock => Command::new(peer("usr/sbin/mandos-keygen")),
        };
        run(program().args(["--dir", dir, "--name", name]).args(size));
        let file = keys.path().join("password");
        std::fs::write(&file, password).unwrap();
        let section = run(program()
            .args(["--dir", dir, "--name", name, "--no-ssh", "--passfile"])
            .arg(&file));
        std::fs::remove_file(file).unwrap();
        let section = String::from_utf8(section).unwrap();
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            keys,
            section,
        }
    }

    /// Its section, with `settings` (lines of `key = value`) added.
    pub fn section(&self, settings: &str) -> String {
        format!("{}\n{settings}\n", self.section.trim_end())
    }

    /// As [`Self::section`], with the payload `file` instead of its own.
    pub fn section_serving(&self, file: &Path, settings: &str) -> String {
        let (head, _) = self.section.split_once("secret =").unwrap();
        format!("{head}secfile = {}\n{settings}\n", file.display())
    }

    /// The password encrypted to this machine by GnuPG, signed by the key of `signer` or by nobody.
    pub fn payload_of_gnupg(&self, signer: Option<&Self>) -> PathBuf {
        // Under /tmp in any case: a socket's path has room for 107 bytes only.
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let gpg = || {
            let mut command = Command::new("gpg");
            command.args(["--batch", "--quiet", "--trust-model", "always", "--homedir"]);
            command.arg(home.path());
            command
        };
        let (password, payload) = (home.path().join("password"), self.key_file("payload"));
        std::fs::write(&password, &self.password).unwrap();
        let mut encrypt = gpg();
        if let Some(signer) = signer {
            run(gpg().arg("--import").arg(signer.key_file("seckey.txt")));
            encrypt.arg("--sign");
        }
        encrypt
            .arg("--recipient-file")
            .arg(self.key_file("pubkey.txt"))
            .arg("--output")
            .arg(&payload)
            .arg("--encrypt")
            .arg(&password);
        run(&mut encrypt);
        // Our server refuses a file of secrets that others can read.
        std::fs::set_permissions(&payload, std::fs::Permissions::from_mode(0o600)).unwrap();
        // GnuPG has left its agent running.
        run(Command::new("gpgconf")
            .arg("--homedir")
            .arg(home.path())
            .args(["--kill", "all"]));
        payload
    }

    /// The file `name` among its keys.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// The folder of its keys.
    pub fn key_dir(&self) -> &Path {
        self.keys.path()
    }

    /// Its key id, as the section gives it.
    pub fn key_id(&self) -> &str {
        let line = self
            .section
            .lines()
            .find_map(|line| line.strip_prefix("key_id = "));
        line.unwrap_or_else(|| panic!("no key_id in the section of {}", self.name))
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// New OpenPGP keys of a machine's agent: both halves, and the public one in base64 as `host_openpgp` has it.
pub fn host_openpgp() -> (nightlatch_openpgp::KeyPair, String) {
    use nightlatch_openpgp::{Algorithm, GenerateOptions, PublicKey, generate};
    let pair = generate(&GenerateOptions {
        primary: Algorithm::Curve25519,
        encryption: Algorithm::Curve25519,
        name: "host",
        comment: "",
        email: "",
        created: nightlatch_core::time::Wall::from_unix_micros(0),
        expires: None,
    })
    .unwrap();
    let public = PublicKey::from_armored(pair.public_armored.as_bytes()).unwrap();
    let base64 = public.to_base64().unwrap();
    (pair, base64)
}
