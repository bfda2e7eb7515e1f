//! The administrator's keys: makes the admin key, pins the keys of machines, and seals named secrets and sends them to a
//! server (docs/decisions/0173).
//!
//! A crate of its own because `fleet`, which shows what servers say, has no keys. It knows `fleet` for the choice of
//! clients and for the errors of calls.
#![forbid(unsafe_code)]

pub mod admin_key;
mod config_folder;
mod expiry;
mod host_keys;
mod input;
mod known_hosts;
mod passphrase;
mod put;
#[cfg(test)]
mod samples;
mod seal;
mod sealing;
mod value;

use clap::{Args, Subcommand};
use nightlatch_bus::block_on;
use nightlatch_console::failure::Failure;
use nightlatch_fleet::bus;
use nightlatch_fleet::verbs::secret::{
    self, HistoryOptions, ListSecretsOptions, RemoveSecretOptions,
};
use nightlatch_sys::clock;

use put::PutOptions;
use seal::SealOptions;

/// `nightlatch secret`.
#[derive(Args, Debug)]
pub struct SecretOptions {
    #[command(subcommand)]
    verb: SecretVerb,
}

/// The verbs of `nightlatch secret`.
#[derive(Subcommand, Debug)]
enum SecretVerb {
    /// Seal a value and give it to the server
    ///
    /// The value comes from standard input, or is typed twice on a terminal. Every machine gets it sealed for itself:
    /// signed by the admin key, and encrypted to the key of its agent, so that the server cannot read or change it.
    /// The key of each machine is pinned at first use; when one has changed, nothing is sent to any.
    #[command(after_help = "Examples:
  nightlatch secret put postgres.password db1 < password
  nightlatch secret put tls.key 'web*' --from tls.key --expires 90d --yes
  nightlatch secret put backup.key --all --generate --each --yes
  nightlatch secret put --sealed postgres.sealed")]
    Put(PutOptions),
    /// Seal a value without a server
    ///
    /// Prints text for `nightlatch secret put --sealed`, or for the value of secret.NAME in clients.conf.
    #[command(after_help = "Examples:
  nightlatch secret seal postgres.password --host-key db1.section > postgres.sealed
  nightlatch secret seal postgres.password --host db1 --output postgres.sealed")]
    Seal(SealOptions),
    /// Show the named secrets that the server keeps; never their values
    #[command(after_help = "Examples:
  nightlatch secret list
  nightlatch secret list 'web*' --json")]
    List(ListSecretsOptions),
    /// Show what happened to a named secret of a machine
    #[command(after_help = "Examples:
  nightlatch secret history postgres.password db1")]
    History(HistoryOptions),
    /// Remove a named secret from the server
    ///
    /// Asks before; --yes does not. A machine that has fetched it keeps what it has.
    #[command(after_help = "Examples:
  nightlatch secret remove postgres.password db1
  nightlatch secret remove tls.key 'web*' --dry-run")]
    Remove(RemoveSecretOptions),
}

/// Carries a verb of `nightlatch secret` out; gives the exit status.
///
/// # Errors
/// When a key or a value cannot be used, there is no server, or it refuses.
pub fn run(options: &SecretOptions) -> Result<u8, Failure> {
    let now = clock::now().wall;
    match &options.verb {
        SecretVerb::Put(options) => block_on(put::run(options, now)),
        SecretVerb::Seal(options) => seal::run(options, now),
        SecretVerb::List(options) => {
            block_on(async { secret::list(options, &bus::connect().await?, now).await })
        }
        SecretVerb::History(options) => {
            block_on(async { secret::history(options, &bus::connect().await?).await })
        }
        SecretVerb::Remove(options) => {
            block_on(async { secret::remove(options, &bus::connect().await?).await })
        }
    }
}
