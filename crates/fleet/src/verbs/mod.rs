//! The verbs that call a server: each a function of its options and a connection to an exit status.

pub(crate) mod add;
pub(crate) mod change;
pub mod check_config;
pub(crate) mod check_now;
pub(crate) mod decide;
pub(crate) mod list;
pub(crate) mod log;
mod outcome;
pub(crate) mod rehearsal;
pub(crate) mod reload;
#[cfg(test)]
pub(crate) mod samples;
pub mod secret;
pub(crate) mod set;
pub(crate) mod show;
pub(crate) mod trust;
pub(crate) mod wait;
pub(crate) mod why;

use clap::Subcommand;
use nightlatch_bus::block_on;
use nightlatch_console::failure::Failure;
use nightlatch_sys::clock;

use crate::bus;
use add::AddOptions;
use change::{ChangeOptions, ClientChange};
use check_now::CheckNowOptions;
use decide::DecideOptions;
use list::ListOptions;
use log::LogOptions;
use rehearsal::RehearsalOptions;
use reload::ReloadOptions;
use set::SetOptions;
use show::ShowOptions;
use trust::TrustOptions;
use wait::WaitOptions;

/// The verbs that call a server.
#[derive(Subcommand, Debug)]
pub enum ServerVerb {
    /// Show every machine in a line
    #[command(after_help = "Examples:
  nightlatch list
  nightlatch list 'web-*' --state disabled --state failing
  nightlatch list --json | jq -r '.[] | select(.enabled) | .name'")]
    List(ListOptions),
    /// Show everything about a machine
    #[command(after_help = "Examples:
  nightlatch show foo.example
  nightlatch show --all --json")]
    Show(ShowOptions),
    /// Let machines have their secrets again
    #[command(after_help = "Examples:
  nightlatch enable foo.example
  nightlatch enable 'web-*' --yes")]
    Enable(ChangeOptions),
    /// Refuse machines their secrets until they are enabled again
    #[command(after_help = "Examples:
  nightlatch disable foo.example bar.example
  nightlatch disable --all --dry-run")]
    Disable(ChangeOptions),
    /// Grant the one request of a machine that waits
    ///
    /// An approval is for one request. Where several wait with the key of one machine, all but one are not
    /// its own: then nothing is approved, they are listed, and --request says which one is meant. Where a
    /// denial counts, it is taken back, and the next request waits. A pattern and --all approve the requests of
    /// boots only, never one for a named secret.
    #[command(after_help = "Examples:
  nightlatch wait foo.example --until waiting && nightlatch approve foo.example
  nightlatch approve foo.example --request 481516")]
    Approve(DecideOptions),
    /// Refuse the request of a machine that waits
    ///
    /// It also counts for requests that come within the machine's approval_duration. Where several wait,
    /// they are listed, and --request refuses one of them alone.
    #[command(after_help = "Examples:
  nightlatch deny foo.example
  nightlatch deny foo.example --request 481516")]
    Deny(DecideOptions),
    /// Let machines rehearse for a while without an alarm
    ///
    /// nightlatch check on a machine asks the server for its password as a boot does. Whoever copied the
    /// machine's keys can do the same, so the server raises an alarm over a rehearsal that nobody allowed.
    /// It ends by itself, with a restart of the server, and when the machine is disabled.
    #[command(after_help = "Examples:
  nightlatch rehearsal foo.example --for 10m && ssh root@foo.example nightlatch check
  nightlatch rehearsal foo.example --for 0")]
    Rehearsal(RehearsalOptions),
    /// Trust machines again that are suspect
    ///
    /// A machine is suspect after the alarms impostor, served-impostor and doubled: the server releases its secret only
    /// when a person approves the request. Look at the machine first, and give it new keys if somebody else has a copy.
    /// It asks when the disk password is known to somebody else; --yes does not.
    #[command(after_help = "Examples:
  nightlatch list --state suspect
  nightlatch why foo.example && nightlatch trust foo.example")]
    Trust(TrustOptions),
    /// Make machines unknown to the server
    ///
    /// It stays so, also when the section is still in clients.conf. Asks before; --yes does not.
    #[command(after_help = "Examples:
  nightlatch remove foo.example
  nightlatch remove 'old-*' --dry-run")]
    Remove(ChangeOptions),
    /// Add machines, without a restart
    ///
    /// Takes sections as enroll and keygen --password print them. The server checks all of them before
    /// the first is added.
    #[command(after_help = "Examples:
  ssh root@foo.example nightlatch enroll /dev/sda3 | nightlatch add
  nightlatch add foo.section bar.section --dry-run")]
    Add(AddOptions),
    /// Change settings of machines
    ///
    /// Keys are those of clients.conf: host, checker, timeout, extended_timeout, interval, approval_delay,
    /// approval_duration, approved_by_default, and secret=@FILE for the encrypted secret. Everything is
    /// checked before anything is changed.
    #[command(after_help = "Examples:
  nightlatch set foo.example timeout=10m interval=PT2M
  nightlatch set foo.example checker='fping -q -- %(host)s' host=10.0.0.7
  nightlatch set 'web-*' approval_delay=5m approved_by_default=no --yes
  nightlatch set foo.example secret=@foo.gpg")]
    Set(SetOptions),
    /// Have the server read its configuration again
    ///
    /// With a fault in any file nothing changes. Nor does it when all clients that are known are missing, or
    /// most of them, as in a file that an editor emptied: unless that is accepted.
    #[command(after_help = "Examples:
  nightlatch reload
  nightlatch reload --accept-fewer-clients")]
    Reload(ReloadOptions),
    /// Check now whether machines are up, and say what the checkers say
    ///
    /// The exit status is 0 when all of them are, else 1.
    #[command(after_help = "Examples:
  nightlatch check-now foo.example
  nightlatch check-now --all --yes --json")]
    CheckNow(CheckNowOptions),
    /// Wait until something has happened to a machine
    #[command(after_help = "Examples:
  nightlatch wait foo.example --until released --timeout 15m
  nightlatch wait foo.example --until disabled && mail -s 'foo is off' root </dev/null")]
    Wait(WaitOptions),
    /// Show what happened, who did it, and why
    #[command(after_help = "Examples:
  nightlatch log --last 20
  nightlatch log --client foo.example --since 2d
  nightlatch log --follow --alarms
  nightlatch log --verify")]
    Log(LogOptions),
    /// Say whether a machine may have its secret now, why, and what to do
    #[command(after_help = "Examples:
  nightlatch why foo.example")]
    Why(ShowOptions),
}

/// Carries the verb out; gives the exit status.
///
/// # Errors
/// When there is no server, or it refuses.
pub fn run(verb: ServerVerb) -> Result<u8, Failure> {
    block_on(carry_out(verb))
}

async fn carry_out(verb: ServerVerb) -> Result<u8, Failure> {
    let server = &bus::connect().await?;
    let now = clock::now().wall;
    match verb {
        ServerVerb::List(options) => list::run(&options, server, now).await,
        ServerVerb::Show(options) => show::run(&options, server, now).await,
        ServerVerb::Enable(options) => change::run(ClientChange::Enable, &options, server).await,
        ServerVerb::Disable(options) => change::run(ClientChange::Disable, &options, server).await,
        ServerVerb::Approve(options) => decide::run(true, &options, server, now).await,
        ServerVerb::Deny(options) => decide::run(false, &options, server, now).await,
        ServerVerb::Rehearsal(options) => rehearsal::run(&options, server).await,
        ServerVerb::Trust(options) => trust::run(&options, server).await,
        ServerVerb::Remove(options) => change::run(ClientChange::Remove, &options, server).await,
        ServerVerb::Add(options) => add::run(&options, server).await,
        ServerVerb::Set(options) => set::run(&options, server).await,
        ServerVerb::Reload(options) => reload::run(&options, server).await,
        ServerVerb::CheckNow(options) => check_now::run(&options, server).await,
        ServerVerb::Wait(options) => wait::run(&options, server).await,
        ServerVerb::Log(options) => log::run(&options, server, now).await,
        ServerVerb::Why(options) => why::run(&options, server, now).await,
    }
}
