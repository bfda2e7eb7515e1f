//! The command line of `nightlatch import-mandos`.

use std::path::PathBuf;

use clap::Args;

/// The options of `import-mandos`.
#[derive(Args, Debug)]
pub struct ImportOptions {
    /// The root of the file system that Mandos is in, as a mounted disk or a backup: its etc and var
    /// are looked into
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) from: PathBuf,

    /// The root of the file system that Nightlatch is to be in
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub(crate) to: PathBuf,

    /// Do it without a question
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,

    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Replace files, keys and a state that are there. Files and public keys get a backup
    /// (clients.conf.~1~); private keys are overwritten and removed, the state is forgotten
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Where a checker believes ssh-keyscan, which whoever knows the public host key can answer, write
    /// checker = builtin:ssh-hostkey instead
    #[arg(long)]
    pub(crate) ssh_hostkey: bool,

    /// There never was a state: every client starts as clients.conf says
    #[arg(long)]
    pub(crate) without_state: bool,
}
