//! The command lines of `nightlatch enroll`, `rotate` and `unenroll`.

use std::path::{Path, PathBuf};

use clap::Args;
use nightlatch_core::key_id::KeyId;

use crate::host_keys::HostKeys;
use crate::keys::{DIR_HELP, KeyDirectory};

/// The files of this machine are below it.
const ROOT: &str = "/";

/// Places of a detached header and of the keys.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceOptions {
    /// File or device with the header of DEVICE, where that is detached
    #[arg(long, value_name = "FILE")]
    pub(crate) header: Option<PathBuf>,

    #[arg(short, long, value_name = "DIRECTORY", help = DIR_HELP)]
    pub(crate) dir: Option<PathBuf>,

    /// Directory of the host keys, which the agent reads only in its default place
    /// [default: /var/lib/nightlatch-agent/keys; with --dir there are no host keys unless this is given]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) host_key_dir: Option<PathBuf>,
}

impl PlaceOptions {
    /// The host keys of this machine. None are meant with boot keys in a directory of their own.
    pub(super) fn host_keys(&self) -> Option<HostKeys<'static>> {
        match (&self.host_key_dir, &self.dir) {
            (Some(directory), _) => Some(HostKeys::elsewhere(Path::new(ROOT), directory)),
            (None, Some(_)) => None,
            (None, None) => Some(HostKeys::of(Path::new(ROOT))),
        }
    }

    /// The host keys for a command that is about nothing else.
    pub(super) fn host_keys_alone(&self) -> HostKeys<'static> {
        self.host_keys()
            .unwrap_or_else(|| HostKeys::of(Path::new(ROOT)))
    }

    /// The boot keys of this machine.
    pub(super) fn boot_keys(&self) -> KeyDirectory {
        let directory = self.dir.as_deref();
        directory.map_or_else(KeyDirectory::default_place, KeyDirectory::new)
    }
}

/// Files for a change of a header.
#[derive(Args, Clone, Debug)]
pub(crate) struct HeaderChangeOptions {
    /// What opens the devices today, every byte of the file; - is standard input
    /// [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// Where to save the header before it is changed
    /// [default: luks-header-UUID.img beside the keys]
    #[arg(long, value_name = "FILE")]
    pub(crate) header_backup: Option<PathBuf>,
}

/// The options of `enroll`.
#[derive(Args, Debug)]
pub struct EnrollOptions {
    /// LUKS2 device or container file; several get the same key
    #[arg(required_unless_present = "host_key", value_name = "DEVICE")]
    pub(crate) device: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) place: PlaceOptions,

    /// Name of the client on the server [default: this machine's full host name]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    /// Address by which the server checks that this machine is alive [default: the name]
    #[arg(long)]
    pub(crate) host: Option<String>,

    /// Command by which the server checks that this machine is alive, as it is to be run:
    /// 'fping -q -- %(host)s' [default: by the SSH host key, if an SSH server answers here]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) checker: Option<String>,

    /// Do not look for an SSH server on this machine to make a checker from its host key
    #[arg(short = 'S', long)]
    pub(crate) no_ssh: bool,

    /// Make no host keys beside the boot keys
    #[arg(long)]
    pub(crate) no_host_key: bool,

    /// For a machine that is enrolled already: make host keys, and change no disk and no boot image
    #[arg(long, conflicts_with_all = ["device", "no_host_key", "header", "host", "checker", "no_ssh",
        "passphrase", "key_file", "header_backup", "add"])]
    pub(crate) host_key: bool,

    /// Make host keys on a file system that is not encrypted too. Host keys that are there stay:
    /// rotate --host-key replaces them
    #[arg(long)]
    pub(crate) force: bool,

    /// Believe only servers that prove this key when booting; may be repeated. Added to the file
    /// trusted-servers beside the keys, and to the agent's list; with --host-key to that list alone
    #[arg(long, value_name = "HEX", value_parser = server_key_id)]
    pub(crate) server_key_id: Vec<KeyId>,

    /// Believe named secrets that the owner of this public key has sealed, as admin-key show prints it; may be
    /// repeated. Added to /etc/nightlatch/admin-keys
    #[arg(long, value_name = "FILE", conflicts_with = "no_host_key")]
    pub(crate) admin_key: Vec<PathBuf>,

    /// Ask for the new passphrase instead of making a random key
    #[arg(long)]
    pub(crate) passphrase: bool,

    #[command(flatten)]
    pub(crate) change: HeaderChangeOptions,

    /// Keep the key slot of an earlier enrolment, instead of replacing it
    #[arg(long)]
    pub(crate) add: bool,

    /// Say each step, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The options of `rotate`.
#[derive(Args, Debug)]
pub struct RotateOptions {
    /// LUKS2 device or container file that is enrolled; several get the same key
    #[arg(required_unless_present = "host_key", value_name = "DEVICE")]
    pub(crate) device: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) place: PlaceOptions,

    /// Address by which the server checks that this machine is alive [default: the name]
    #[arg(long)]
    pub(crate) host: Option<String>,

    /// Command by which the server checks that this machine is alive, as it is to be run
    #[arg(long, value_name = "COMMAND")]
    pub(crate) checker: Option<String>,

    /// Do not look for an SSH server on this machine to make a checker from its host key
    #[arg(short = 'S', long)]
    pub(crate) no_ssh: bool,

    #[command(flatten)]
    pub(crate) change: HeaderChangeOptions,

    /// Replace the host keys, and change no disk
    #[arg(long, conflicts_with_all = ["device", "header", "host", "checker", "no_ssh", "key_file",
        "header_backup", "keep_old", "finish"])]
    pub(crate) host_key: bool,

    /// With --host-key: name of the client on the server [default: that of the enrolment of a disk, else
    /// this machine's full host name]
    #[arg(short, long, conflicts_with = "device")]
    pub(crate) name: Option<String>,

    /// With --host-key: on a file system that is not encrypted too
    #[arg(long, conflicts_with = "device")]
    pub(crate) force: bool,

    /// Keep the old key, until rotate --finish
    #[arg(long, conflicts_with = "finish")]
    pub(crate) keep_old: bool,

    /// Remove all of our key slots but the newest, and do nothing else
    #[arg(long)]
    pub(crate) finish: bool,

    /// Say each step, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The options of `unenroll`.
#[derive(Args, Debug)]
pub struct UnenrollOptions {
    /// LUKS2 device or container file that is enrolled
    #[arg(required = true, value_name = "DEVICE")]
    pub(crate) device: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) place: PlaceOptions,

    /// Keep this machine's keys, boot keys and host keys
    #[arg(long)]
    pub(crate) keep_keys: bool,

    /// Say each step, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn server_key_id(text: &str) -> Result<KeyId, String> {
    text.parse::<KeyId>().map_err(|error| error.to_string())
}
