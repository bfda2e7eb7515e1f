//! The command line: parser, help and, by the tests of manuals, the options of the manual page.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nightlatch_core::duration;

/// The folder of the sockets, which all users can enter.
const AGENT: &str = "/run/nightlatch-card/agent";
const CONTROL: &str = "/run/nightlatch-card/control";
pub(crate) const CONFIG: &str = "/etc/nightlatch/card.conf";

/// An SSH agent on an OpenPGP card, for machines without people.
#[derive(Parser, Debug)]
#[command(
    name = "nightlatch-card",
    bin_name = "nightlatch card",
    version,
    propagate_version = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: CardVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CardVerb {
    /// Run the agent
    ///
    /// It takes the card for itself, and lists its authentication key and signs with it for SSH clients. systemd starts it:
    /// nightlatch-card.socket.
    Agent(AgentOptions),
    /// Unlock the card with its PIN
    ///
    /// The PIN is typed, or read from a file. The agent keeps it in memory until the card is taken out, it is locked, or the agent
    /// ends. A typed PIN is tried if two tries are left, one from a file only if three are left.
    #[command(after_help = "Examples:
  nightlatch card unlock
  nightlatch card unlock --pin-file /run/nightlatch/credentials/card.pin")]
    Unlock(UnlockOptions),
    /// Lock the card, and forget its PIN
    Lock(ControlOptions),
    /// Show the card and its state
    Status(StatusOptions),
    /// Is the card unlocked?
    ///
    /// Prints nothing if it is. Otherwise it says why not, and the exit status tells the cases apart.
    #[command(after_help = "Examples:
  nightlatch card check && rsnapshot daily
  nightlatch card check --wait 10m")]
    Check(CheckOptions),
    /// Run a command that uses the card's key
    ///
    /// SSH_AUTH_SOCK leads it to the agent, and its exit status is passed on. Without an unlocked card the command is not run, and the
    /// first line on standard error begins with "nightlatch-card: not run:". The statuses of check may be the command's own too, as
    /// rsync's are: run check first to tell them apart.
    #[command(after_help = "Examples:
  nightlatch card exec -- rsync -a web1:/etc/ /backup/web1/etc/
  nightlatch card exec --wait 10m -- rsnapshot daily")]
    Exec(ExecOptions),
    /// Print the public key as a line of authorized_keys
    Pubkey(ControlOptions),
}

#[derive(Args, Debug)]
pub(crate) struct AgentOptions {
    /// Where the agent's socket is made, unless systemd passes one
    #[arg(long, value_name = "FILE", default_value = AGENT)]
    pub(crate) socket: PathBuf,

    /// Where the control socket is made, unless systemd passes one
    #[arg(long, value_name = "FILE", default_value = CONTROL)]
    pub(crate) control: PathBuf,

    /// The configuration. Without the option it need not exist
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ControlOptions {
    /// The control socket of the agent
    #[arg(long, value_name = "FILE", default_value = CONTROL)]
    pub(crate) control: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct UnlockOptions {
    /// Read the PIN from this file, without a line feed at its end; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "credential")]
    pub(crate) pin_file: Option<PathBuf>,

    /// Read the PIN from this credential of the service (LoadCredential= of systemd.exec)
    #[arg(long, value_name = "NAME")]
    pub(crate) credential: Option<String>,

    #[command(flatten)]
    pub(crate) control: ControlOptions,
}

#[derive(Args, Debug)]
pub(crate) struct StatusOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) control: ControlOptions,
}

#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) wait: WaitOption,

    #[command(flatten)]
    pub(crate) control: ControlOptions,
}

#[derive(Args, Debug)]
pub(crate) struct WaitOption {
    /// How long to wait until the card is unlocked: 90s, PT5M or 0
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = wait)]
    pub(crate) wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct ExecOptions {
    #[command(flatten)]
    pub(crate) wait: WaitOption,

    /// The agent's socket, for the command
    #[arg(long, value_name = "FILE", default_value = AGENT)]
    pub(crate) socket: PathBuf,

    #[command(flatten)]
    pub(crate) control: ControlOptions,

    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

fn wait(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => duration::parse(text).map_err(|error| format!("{error}, or 0; found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let words = ["x", "exec", "--wait", "10m", "--", "rsync", "--wait", "-a"];
        let CardVerb::Exec(options) = Cli::try_parse_from(words).unwrap().verb else {
            panic!("another verb");
        };
        assert_eq!(options.wait.wait, Duration::from_secs(600));
        assert_eq!(options.command, ["rsync", "--wait", "-a"]);
        assert!(wait("soon").is_err());
    }
}
