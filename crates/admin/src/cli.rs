//! The command line, defined once: parser, help and (by clap) man page and completion.
//!
//! Only grammar stands here. What an option means is decided by the verb's own module.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use nightlatch_core::key_id::KeyId;

use crate::enroll::server_key_id;

pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod image;
mod import_mandos;
pub(crate) mod network;
use clients::{Call, CheckConfig, Complete, Completions};
use image::Image;
pub(crate) use import_mandos::ImportMandos;

/// Unattended reboots for encrypted machines: the administrator's command.
#[derive(Parser, Debug)]
#[command(name = "nightlatch", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Make a client's keys, or encrypt a password with them
    ///
    /// Makes seckey.txt and pubkey.txt (OpenPGP), tls-privkey.pem and tls-pubkey.pem (TLS). With
    /// --password or --passfile it makes no keys, but encrypts a password with those that are there
    /// and prints a section for clients.conf on the server.
    Keygen(Keygen),
    /// Let the server open this machine's disks
    ///
    /// Makes keys when there are none, makes a random key, adds it to a key slot of each DEVICE
    /// (LUKS2), and prints the section for clients.conf on the server, for example:
    /// nightlatch enroll /dev/sda3 | ssh server nightlatch add
    #[command(after_long_help = ENROLL_NOTES)]
    Enroll(Enroll),
    /// Give disks that are enrolled a new key
    ///
    /// Makes a random key, adds it to a free key slot of each DEVICE, prints the new section for the server, and
    /// then removes the key slot of the old one.
    #[command(after_help = "Examples:
  nightlatch rotate /dev/sda3 > section
  nightlatch rotate --keep-old /dev/sda3 > section; nightlatch rotate --finish /dev/sda3")]
    Rotate(Rotate),
    /// Take back what enroll did to disks
    ///
    /// Removes the key slots that enroll made in each DEVICE, asking for no passphrase, and the keys of this
    /// machine when no other disk needs them; says what is to be done on the server.
    #[command(after_help = "Examples:
  nightlatch unenroll --dry-run /dev/sda3
  nightlatch unenroll /dev/sda3")]
    Unenroll(Unenroll),
    /// Show all clients on one screen, and decide there
    ///
    /// Every key of mandos-monitor does the same here; only removing asks first. Press ? for all keys.
    Monitor(Monitor),
    #[command(flatten)]
    Call(Call),
    /// Take over a Mandos server or client
    ///
    /// Says line by line what becomes of its configuration, its clients' state and its keys, and what
    /// is not taken over; does it after --yes, or when it is answered so on a terminal. Mandos's own
    /// files are never changed. Stop the Mandos server first: it writes its state when it ends.
    ImportMandos(ImportMandos),
    /// Would this machine come back from a reboot?
    ///
    /// Opens every boot image and compares it with this machine, asks the server from each interface as a
    /// boot would (it counts as a rehearsal), tries the password on each volume, and compares how long a
    /// reboot takes with how long the server allows. Nothing is changed.
    #[command(after_help = "Examples:
  nightlatch check && systemctl reboot
  nightlatch check --all --max-age 30        on the server")]
    Check(check::Check),
    /// Show or write what goes into this machine's boot image
    ///
    /// The hooks of initramfs-tools, dracut and mkinitcpio all use this. Keys are copied, never shown.
    #[command(after_help = "Examples:
  nightlatch image plan
  nightlatch image stage \"$DESTDIR\"")]
    Image(Image),
    /// Show or learn the links, addresses and routes by which a boot reaches a server
    ///
    /// They are learned from the running system, which reaches the server now, and kept in
    /// /etc/nightlatch/network.conf. Each image has a copy of that file, and makes what it says.
    #[command(after_help = "Examples:
  nightlatch network --learn
  nightlatch network
  nightlatch network --learn --interface bond0.5 --dry-run")]
    Network(network::Network),
    /// Let the server's program read its configuration and say what it thinks
    #[command(after_help = "Examples:
  nightlatch check-config
  nightlatch check-config /etc/mandos")]
    CheckConfig(CheckConfig),
    /// Do what mandos-ctl does, by its own options
    Ctl(Ctl),
    /// Print a script that makes a shell complete verbs, options and names of machines
    #[command(after_help = "Examples:
  eval \"$(nightlatch completions bash)\"
  nightlatch completions fish | source")]
    Completions(Completions),
    /// What the scripts of completions call
    #[command(hide = true)]
    Complete(Complete),
}

/// `ctl`. Its options are read by [`crate::ctl`].
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Ctl {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

/// Where keys are when --dir does not say.
const DIR_HELP: &str = "Directory of the key files [default: /etc/nightlatch/keys; if that holds \
    no keys, /etc/keys/mandos or /etc/mandos/keys when one of them does]";

/// `keygen`.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
pub(crate) struct Keygen {
    #[arg(short, long, value_name = "DIRECTORY", help = DIR_HELP)]
    pub(crate) dir: Option<PathBuf>,

    /// OpenPGP key type: Curve25519 or RSA [default: Curve25519; RSA when --length is given]
    #[arg(short = 't', long = "type", value_name = "KEYTYPE")]
    pub(crate) key_type: Option<String>,

    /// Length of an RSA key, 2048 to 4096 [default: 4096]
    #[arg(short, long, value_name = "BITS")]
    pub(crate) length: Option<u32>,

    /// OpenPGP subkey type: Curve25519 or RSA [default: as --type; RSA when --sublength is given]
    #[arg(short, long, value_name = "KEYTYPE")]
    pub(crate) subtype: Option<String>,

    /// Length of an RSA subkey, 2048 to 4096 [default: 4096]
    #[arg(short = 'L', long, value_name = "BITS")]
    pub(crate) sublength: Option<u32>,

    /// Name of the client [default: this machine's full host name]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    /// Email address in the OpenPGP key
    #[arg(
        short,
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) email: String,

    /// Comment in the OpenPGP key
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) comment: String,

    /// When the OpenPGP key expires, as in gpg(1): 0 (never), 30 (days), 2w, 1m, 1y, 2030-12-31.
    /// Nightlatch itself never calls a key expired
    #[arg(short = 'x', long, value_name = "TIME", default_value = "0")]
    pub(crate) expire: String,

    /// TLS key type: ed25519 or ecdsa (P-256)
    #[arg(short = 'T', long, value_name = "KEYTYPE", default_value = "ed25519")]
    pub(crate) tls_keytype: String,

    /// Replace keys that are there: public files get a backup (pubkey.txt.~1~), private ones are
    /// overwritten and removed
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Ask for a password on the terminal, encrypt it with the keys that are there, and print a
    /// section for clients.conf. White space in it is kept
    #[arg(short, long, conflicts_with = "passfile")]
    pub(crate) password: bool,

    /// Like --password, but take the password from FILE, every byte of it; - is standard input
    #[arg(short = 'F', long, value_name = "FILE")]
    pub(crate) passfile: Option<PathBuf>,

    /// Do not look for an SSH server on this machine to make a checker from its host key
    #[arg(short = 'S', long)]
    pub(crate) no_ssh: bool,

    /// Print version
    #[arg(short, long, action = ArgAction::Version)]
    version: (),
}

/// `enroll`.
#[derive(Args, Debug)]
pub(crate) struct Enroll {
    /// LUKS2 device or container file; several get the same key
    #[arg(required = true, value_name = "DEVICE")]
    pub(crate) device: Vec<PathBuf>,

    /// File or device with the header of DEVICE, where that is detached
    #[arg(long, value_name = "FILE")]
    pub(crate) header: Option<PathBuf>,

    #[arg(short, long, value_name = "DIRECTORY", help = DIR_HELP)]
    pub(crate) dir: Option<PathBuf>,

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

    /// Believe only servers that prove this key when booting; may be repeated. Added to the file
    /// trusted-servers beside the keys
    #[arg(long, value_name = "HEX", value_parser = server_key_id)]
    pub(crate) server_key_id: Vec<KeyId>,

    /// Ask for the new passphrase instead of making a random key
    #[arg(long)]
    pub(crate) passphrase: bool,

    /// What opens the devices today, every byte of the file; - is standard input
    /// [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// Where to save the header before it is changed
    /// [default: luks-header-UUID.img beside the keys]
    #[arg(long, value_name = "FILE")]
    pub(crate) header_backup: Option<PathBuf>,

    /// Keep the key slot of an earlier enrolment, instead of replacing it
    #[arg(long)]
    pub(crate) add: bool,

    /// Say each step, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `rotate`.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// LUKS2 device or container file that is enrolled; several get the same key
    #[arg(required = true, value_name = "DEVICE")]
    pub(crate) device: Vec<PathBuf>,

    /// File or device with the header of DEVICE, where that is detached
    #[arg(long, value_name = "FILE")]
    pub(crate) header: Option<PathBuf>,

    #[arg(short, long, value_name = "DIRECTORY", help = DIR_HELP)]
    pub(crate) dir: Option<PathBuf>,

    /// Address by which the server checks that this machine is alive [default: the name]
    #[arg(long)]
    pub(crate) host: Option<String>,

    /// Command by which the server checks that this machine is alive, as it is to be run
    #[arg(long, value_name = "COMMAND")]
    pub(crate) checker: Option<String>,

    /// Do not look for an SSH server on this machine to make a checker from its host key
    #[arg(short = 'S', long)]
    pub(crate) no_ssh: bool,

    /// What opens the devices today, every byte of the file; - is standard input
    /// [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// Where to save the header before it is changed
    /// [default: luks-header-UUID.img beside the keys]
    #[arg(long, value_name = "FILE")]
    pub(crate) header_backup: Option<PathBuf>,

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

/// `unenroll`.
#[derive(Args, Debug)]
pub(crate) struct Unenroll {
    /// LUKS2 device or container file that is enrolled
    #[arg(required = true, value_name = "DEVICE")]
    pub(crate) device: Vec<PathBuf>,

    /// File or device with the header of DEVICE, where that is detached
    #[arg(long, value_name = "FILE")]
    pub(crate) header: Option<PathBuf>,

    #[arg(short, long, value_name = "DIRECTORY", help = DIR_HELP)]
    pub(crate) dir: Option<PathBuf>,

    /// Keep this machine's keys
    #[arg(long)]
    pub(crate) keep_keys: bool,

    /// Say each step, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `monitor`.
#[derive(Args, Debug)]
pub(crate) struct Monitor {
    /// Write everything that happens on the screen to a new FILE, for a report of a fault. It has the
    /// names, hosts and key ids of all clients, and no secret
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

const ENROLL_NOTES: &str = "\
The random key has 256 bits. Its key slot therefore uses PBKDF2 with the fewest iterations: a slow key \
derivation makes guessing dear, and a key of 256 bits cannot be guessed however cheap a guess is. It \
saves the machine seconds and a gigabyte of memory at boot. A typed passphrase (--passphrase) gets the \
usual, slow derivation.

The passphrases that open the devices today keep doing so. When a step fails, the key slots added so \
far are removed again. A saved header can be opened by every passphrase that the device had then: \
destroy it when you revoke one.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_short_forms_are_those_of_mandos_keygen() {
        let line = "nightlatch keygen -d /k -t RSA -l 2048 -s RSA -L 3072 -n N -e E -c C -x 1y \
                    -T ed25519 -f -S";
        let Verb::Keygen(options) = Cli::parse_from(line.split_whitespace()).verb else {
            panic!("another verb");
        };
        assert_eq!(options.length, Some(2048));
        assert_eq!(options.sublength, Some(3072));
        assert_eq!(options.expire, "1y");
        assert!(options.force && options.no_ssh && !options.password);
    }
}
