//! The command line of `nightlatch keygen`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::keys::DIR_HELP;

/// The options of `keygen`.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
pub struct KeygenOptions {
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(version, disable_version_flag = true)]
    struct Line {
        #[command(flatten)]
        options: KeygenOptions,
    }

    #[test]
    fn the_short_forms_are_those_of_mandos_keygen() {
        let line =
            "keygen -d /k -t RSA -l 2048 -s RSA -L 3072 -n N -e E -c C -x 1y -T ed25519 -f -S";
        let options = Line::parse_from(line.split_whitespace()).options;
        assert_eq!(options.length, Some(2048));
        assert_eq!(options.sublength, Some(3072));
        assert_eq!(options.expire, "1y");
        assert!(options.force && options.no_ssh && !options.password);
    }
}
