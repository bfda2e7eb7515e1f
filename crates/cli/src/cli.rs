//! The command line, defined once: parser, help and (by clap) man page and completion. The options of a verb stand
//! in its subject's crate.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nightlatch_fleet::monitor::MonitorOptions;
use nightlatch_fleet::rehearsals::FleetCheckOptions;
use nightlatch_fleet::verbs::ServerVerb;
use nightlatch_fleet::verbs::check_config::CheckConfigOptions;
use nightlatch_import::ImportOptions;
use nightlatch_machine::check::MachineCheckOptions;
use nightlatch_machine::enroll::{EnrollOptions, RotateOptions, UnenrollOptions};
use nightlatch_machine::get::GetOptions;
use nightlatch_machine::image::ImageOptions;
use nightlatch_machine::keygen::KeygenOptions;
use nightlatch_machine::network::NetworkOptions;
use nightlatch_secrets::SecretOptions;
use nightlatch_secrets::admin_key::AdminKeyVerbs;

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
    Keygen(KeygenOptions),
    /// Let the server open this machine's disks
    ///
    /// Makes keys when there are none, makes a random key, adds it to a key slot of each DEVICE
    /// (LUKS2), and prints the section for clients.conf on the server, for example:
    /// nightlatch enroll /dev/sda3 | ssh server nightlatch add
    ///
    /// Beside the boot keys, which the boot image holds, it makes host keys, which only the encrypted
    /// root holds: nightlatch-agent proves with them that the machine is up. A machine that is enrolled
    /// already gets them by: nightlatch enroll --host-key
    ///
    /// With --admin-key it believes named secrets that the owner of that key has sealed.
    #[command(after_help = "Examples:
  nightlatch enroll /dev/sda3 | ssh server nightlatch add
  nightlatch enroll --admin-key alice.asc /dev/sda3 | ssh server nightlatch add
  nightlatch enroll --host-key --dry-run
  nightlatch enroll --host-key", after_long_help = ENROLL_NOTES)]
    Enroll(EnrollOptions),
    /// Give disks that are enrolled a new key
    ///
    /// Makes a random key, adds it to a free key slot of each DEVICE, prints the new section for the server, and
    /// then removes the key slot of the old one. With --host-key it replaces the host keys instead.
    #[command(after_help = "Examples:
  nightlatch rotate /dev/sda3 > section
  nightlatch rotate --keep-old /dev/sda3 > section; nightlatch rotate --finish /dev/sda3
  nightlatch rotate --host-key")]
    Rotate(RotateOptions),
    /// Take back what enroll did to disks
    ///
    /// Removes the key slots that enroll made in each DEVICE, asking for no passphrase, and the boot keys and
    /// host keys of this machine when no other disk needs them; says what is to be done on the server.
    #[command(after_help = "Examples:
  nightlatch unenroll --dry-run /dev/sda3
  nightlatch unenroll /dev/sda3")]
    Unenroll(UnenrollOptions),
    /// Get a named secret of this machine from its servers
    ///
    /// Prints the value as it is. nightlatch-agent asks the servers, and believes only what a pinned administrator has signed
    /// for this machine. Root may ask for every secret; agent.conf names others who may.
    #[command(after_help = "Examples:
  nightlatch get postgres.password | psql-setup
  nightlatch get --wait forever card.pin > /run/card/pin
  systemctl start nightlatch-secret@postgres.password")]
    Get(GetOptions),
    /// Show all clients on one screen, and decide there
    ///
    /// Every key of mandos-monitor does the same here; only removing asks first. Press ? for all keys.
    Monitor(MonitorOptions),
    #[command(flatten)]
    Server(ServerVerb),
    /// Give machines secrets that only they can read
    ///
    /// A named secret is what a machine needs once it is up, as the password of a database. It is signed by your admin
    /// key and encrypted to the key of the machine's agent; the server keeps it, and releases it by its rules.
    Secret(SecretOptions),
    /// Make or show the key that signs named secrets
    ///
    /// Machines believe only secrets that a key in their /etc/nightlatch/admin-keys has signed.
    AdminKey(AdminKeyVerbs),
    /// Take over a Mandos server or client
    ///
    /// Says line by line what becomes of its configuration, its clients' state and its keys, and what
    /// is not taken over; does it after --yes, or when it is answered so on a terminal. Mandos's own
    /// files are never changed. Stop the Mandos server first: it writes its state when it ends.
    ImportMandos(ImportOptions),
    /// Would this machine come back from a reboot?
    ///
    /// Opens every boot image and compares it with this machine, asks the server from each interface as a
    /// boot would (it counts as a rehearsal), tries the password on each volume, and compares how long a
    /// reboot takes with how long the server allows. Nothing is changed.
    #[command(after_help = "Examples:
  nightlatch check && systemctl reboot
  nightlatch check --all --max-age 30        on the server")]
    Check(CheckOptions),
    /// Show or write what goes into this machine's boot image
    ///
    /// The hooks of initramfs-tools, dracut and mkinitcpio all use this. Keys are copied, never shown.
    #[command(after_help = "Examples:
  nightlatch image plan
  nightlatch image stage \"$DESTDIR\"")]
    Image(ImageOptions),
    /// Show or learn the links, addresses and routes by which a boot reaches a server
    ///
    /// They are learned from the running system, which reaches the server now, and kept in
    /// /etc/nightlatch/network.conf. Each image has a copy of that file, and makes what it says.
    #[command(after_help = "Examples:
  nightlatch network --learn
  nightlatch network
  nightlatch network --learn --interface bond0.5 --dry-run")]
    Network(NetworkOptions),
    /// Let the server's program read its configuration and say what it thinks
    #[command(after_help = "Examples:
  nightlatch check-config
  nightlatch check-config /etc/mandos")]
    CheckConfig(CheckConfigOptions),
    /// Do what mandos-ctl does, by its own options
    Ctl(CtlOptions),
    /// Print a script that makes a shell complete verbs, options and names of machines
    #[command(after_help = "Examples:
  eval \"$(nightlatch completions bash)\"
  nightlatch completions fish | source")]
    Completions(CompletionsOptions),
    /// What the scripts of completions call
    #[command(hide = true)]
    Complete(CompleteOptions),
}

/// `check`: of this machine, or with `--all` of those of a server.
#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) fleet: FleetCheckOptions,

    #[command(flatten)]
    pub(crate) machine: MachineCheckOptions,
}

/// `ctl`. Its options are read by [`nightlatch_fleet::ctl`].
#[derive(Args, Debug)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct CtlOptions {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsOptions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// A shell with a script for completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// `complete`, called by the shells.
#[derive(Args, Debug)]
pub(crate) struct CompleteOptions {
    /// The words of the command line, the program's name first, up to the one to complete
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

const ENROLL_NOTES: &str = "\
Examples:
  nightlatch enroll /dev/sda3 | ssh server nightlatch add
  nightlatch enroll --host-key --dry-run     for a machine that is enrolled already: show each step
  nightlatch enroll --host-key               do it, and print the line for the server

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
}
