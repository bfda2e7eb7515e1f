//! A thief on the network: a host of its own, with the boot keys out of a machine's boot image.

use std::path::{Path, PathBuf};

use nightlatch_interop::netns::NetnsHost;
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, boot_client, mandos_client};
use tempfile::TempDir;

use crate::images::GuestMachine;
use crate::lan::GuestNetwork;

/// The files of the boot keys, with the options of both clients that name them.
const KEYS: [(&str, &str); 4] = [
    ("--pubkey", "pubkey.txt"),
    ("--seckey", "seckey.txt"),
    ("--tls-privkey", "tls-privkey.pem"),
    ("--tls-pubkey", "tls-pubkey.pem"),
];

/// A host with copied boot keys.
#[derive(Debug)]
pub struct Thief {
    host: NetnsHost,
    keys: TempDir,
}

impl Thief {
    /// Copies the boot keys out of the image that `machine` boots, which no password protects.
    pub fn with_image_of(machine: &GuestMachine, lan: &GuestNetwork) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let image = nightlatch_image_tests::cpio::read(&machine.file("initramfs-tools.img"));
        for (_, name) in KEYS {
            let found = image
                .iter()
                .find(|(path, _)| Path::new(path).file_name().is_some_and(|it| it == name));
            let (_, entry) = found.unwrap_or_else(|| panic!("no {name} in the image"));
            std::fs::write(keys.path().join(name), &entry.content).unwrap();
        }
        Self {
            host: lan.host("thief"),
            keys,
        }
    }

    /// Asks for the secret with the program of `project`, each time as a machine that was started anew: with a boot
    /// nonce of its own. It searches for the server.
    pub fn ask(&self, project: Project) -> RunningProgram {
        let (program, arguments): (PathBuf, &[&str]) = match project {
            Project::Ours => (boot_client(), &["client"]),
            Project::Stock => (mandos_client(), &[]),
        };
        let mut command = self.host.command("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg(r#"mount -t tmpfs none /run && exec "$@""#);
        command.arg("sh").arg(program).args(arguments);
        command.args(["--retry", "1", "--network-hook-dir", "/nonexistent"]);
        for (option, name) in KEYS {
            command.arg(option).arg(self.keys.path().join(name));
        }
        RunningProgram::start(&format!("{project:?} client of a thief"), &mut command)
    }
}
