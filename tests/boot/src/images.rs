//! Prepared machines: kernel, images of both boot systems, encrypted disks, and the section for a server.

use std::path::PathBuf;

use nightlatch_interop::programs::Project;

use crate::making;
use crate::paths::tree;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, clap::ValueEnum)]
pub enum DebianRelease {
    Bookworm,
    Trixie,
}

/// A machine by its client and its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MachineKind {
    Ours,
    /// Another machine with our client, with keys and a disk of its own.
    Second,
    /// The stock client.
    Stock,
    /// Our client beside others that use the network before the root is open: dropbear-initramfs, and the network
    /// module of dracut.
    Reachable,
    /// Our client, and systemd as init of the opened root with our agent. Its host key is known to [`GuestMachine::section`],
    /// and the key of the server that it trusts is in its file `server-key.pem`.
    Booted,
}

/// The software in the image that unlocks the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootSystem {
    /// Debian's own, with the scripts of cryptsetup.
    InitramfsTools,
    /// dracut with systemd in the initrd.
    Dracut,
    /// dracut with nothing but its shell scripts. It says little on the console.
    DracutWithoutSystemd,
}

impl BootSystem {
    /// As scenarios call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
            Self::DracutWithoutSystemd => "dracut-without-systemd",
        }
    }

    /// Console output at the beginning of the unlocking.
    pub fn begins(self) -> &'static str {
        match self {
            Self::InitramfsTools => "Begin: Running /scripts/init-premount",
            Self::Dracut => "Setup for root_crypt...",
            Self::DracutWithoutSystemd => self.asks(),
        }
    }

    /// Console output that asks for a passphrase.
    pub fn asks(self) -> &'static str {
        match self {
            Self::InitramfsTools => "Please unlock disk root_crypt",
            Self::Dracut => "Please enter passphrase for disk root_crypt",
            Self::DracutWithoutSystemd => "Enter passphrase: ",
        }
    }

    /// Console output when the disk is open.
    pub fn opened(self) -> &'static str {
        match self {
            Self::InitramfsTools => "cryptsetup: root_crypt: set up successfully",
            Self::Dracut => "Setup for root_crypt.\r",
            // The first output of the opened root.
            Self::DracutWithoutSystemd => "NETWORK-BEGIN",
        }
    }
}

/// The UUID of a root volume.
pub const ROOT_UUID: &str = "6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0001";
/// The UUID of a second volume.
pub const DATA_UUID: &str = "6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0002";

/// The passphrase of every machine's disk.
pub const TYPED: &str = "typed by a person";

/// A machine that can be booted as often as one likes.
#[derive(Debug)]
pub struct GuestMachine {
    pub kind: MachineKind,
    pub suite: DebianRelease,
    /// A random text that is only on its root.
    pub mark: String,
    section: String,
    folder: PathBuf,
}

impl GuestMachine {
    /// Takes it from the shelf; makes it first where it is not there, or not as it would be made now.
    pub fn get(suite: DebianRelease, kind: MachineKind) -> Self {
        let folder = tree("target/boot-test/machines").join(format!("{}-{kind:?}", suite.name()));
        let recipe = making::recipe(suite, kind);
        if std::fs::read_to_string(folder.join("recipe")).ok() != Some(recipe.clone()) {
            making::make(suite, kind, &folder);
            std::fs::write(folder.join("recipe"), recipe).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        Self {
            kind,
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

    /// The name of its client on the server.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }
}

impl DebianRelease {
    /// As Debian calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

impl MachineKind {
    /// The name of its client on the server.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "guest",
            Self::Second => "second",
            Self::Stock => "stock",
            Self::Reachable => "reachable",
            Self::Booted => "booted",
        }
    }

    pub fn project(self) -> Project {
        match self {
            Self::Ours | Self::Second | Self::Reachable | Self::Booted => Project::Ours,
            Self::Stock => Project::Stock,
        }
    }
}
