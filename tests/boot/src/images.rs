//! Machines as they lie on the shelf: kernel, images of both boot systems, encrypted disks, and the section
//! that a server needs.

use std::path::PathBuf;

use nightlatch_interop::programs::Project;

use crate::making;
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
    /// Our client beside others who use the network before the root is open: dropbear-initramfs, and the network
    /// module of dracut.
    Reachable,
}

/// What unlocks the root.
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

    /// What is said on the console when the scripts begin that end with an open disk.
    pub fn begins(self) -> &'static str {
        match self {
            Self::InitramfsTools => "Begin: Running /scripts/init-premount",
            Self::Dracut => "Setup for root_crypt...",
            Self::DracutWithoutSystemd => self.asks(),
        }
    }

    /// How a person is asked.
    pub fn asks(self) -> &'static str {
        match self {
            Self::InitramfsTools => "Please unlock disk root_crypt",
            Self::Dracut => "Please enter passphrase for disk root_crypt",
            Self::DracutWithoutSystemd => "Enter passphrase: ",
        }
    }

    /// What is said when the disk is open.
    pub fn opened(self) -> &'static str {
        match self {
            Self::InitramfsTools => "cryptsetup: root_crypt: set up successfully",
            Self::Dracut => "Setup for root_crypt.\r",
            // What the opened root says first.
            Self::DracutWithoutSystemd => "NETWORK-BEGIN",
        }
    }
}

/// The UUID of a root volume.
pub const ROOT_UUID: &str = "6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0001";
/// The UUID of a second volume.
pub const DATA_UUID: &str = "6a1f6a0e-6d0b-4c5a-9d3f-2b7d8a1c0002";

/// What a person types to open a machine's disk.
pub const TYPED: &str = "typed by a person";

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
        let recipe = making::recipe(suite, who);
        if std::fs::read_to_string(folder.join("recipe")).ok() != Some(recipe.clone()) {
            making::make(suite, who, &folder);
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
    /// What its client is called on the server.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "guest",
            Self::Second => "second",
            Self::Stock => "stock",
            Self::Reachable => "reachable",
        }
    }

    /// The project of its client.
    pub fn project(self) -> Project {
        match self {
            Self::Ours | Self::Second | Self::Reachable => Project::Ours,
            Self::Stock => Project::Stock,
        }
    }
}
