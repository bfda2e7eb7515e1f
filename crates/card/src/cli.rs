//! The command line: parser, help and, by the tests of manuals, the options of the manual page.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use nightlatch_core::duration;
use nightlatch_core::settings::card::{CardName, is_fingerprint};

use crate::authorized_line::{BackupProgram, ConfinedPath, FromPattern};

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
    /// ends. A typed PIN is tried if two tries are left, one from a file only if three are left, if the card and its key are named in
    /// card.conf or here, and if the card has not refused it before.
    #[command(after_help = "Examples:
  nightlatch card unlock
  nightlatch card unlock --pin-file /run/pin --card 0006:12345678 --key SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE")]
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
    ///
    /// With --for the line has the options that leave the key one use: no terminal, no forwarding, and one command that is confined to
    /// a folder.
    #[command(after_help = "Examples:
  nightlatch card pubkey
  nightlatch card pubkey --for rsnapshot --path / --from 192.0.2.7
  nightlatch card pubkey --for borg --path /srv/borg/web1 --from backup.example.org")]
    Pubkey(PubkeyOptions),
    /// Find what keeps jobs from the card's key, or the PIN from being safe
    ///
    /// Looks at pcscd, card.conf, the agent, the card, GnuPG and the PIN of a server. Each finding has the command that mends it. The
    /// exit status is 1 when one of them is FAIL.
    Doctor(DoctorOptions),
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
pub(crate) struct PubkeyOptions {
    /// The program that logs in. The line allows nothing else
    #[arg(long = "for", value_name = "PROGRAM", value_enum, requires = "path")]
    pub(crate) program: Option<BackupProgram>,

    /// The folder on the host, absolute: rsync and rsnapshot read below it, borg has its repositories there
    #[arg(long, value_name = "DIR", requires = "program", value_parser = ConfinedPath::parse)]
    pub(crate) path: Option<ConfinedPath>,

    /// From where the key is admitted: a name, an address, or a network such as 192.0.2.0/24, with * and ? as wildcards and ! for
    /// exceptions. May be given several times
    #[arg(long, value_name = "PATTERN", requires = "program", value_parser = FromPattern::parse)]
    pub(crate) from: Vec<FromPattern>,

    #[command(flatten)]
    pub(crate) control: ControlOptions,
}

#[derive(Args, Debug)]
pub(crate) struct UnlockOptions {
    /// Read the PIN from this file, which its owner alone can read; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "credential")]
    pub(crate) pin_file: Option<PathBuf>,

    /// Read the PIN from this credential of the service (LoadCredential= of systemd.exec)
    #[arg(long, value_name = "NAME")]
    pub(crate) credential: Option<String>,

    /// The card for which the PIN is: AID, or manufacturer and serial number, as `status` shows them. card.conf may name it instead
    #[arg(long, value_name = "CARD", value_parser = card_name)]
    pub(crate) card: Option<CardName>,

    /// The fingerprint of that card's authentication key, as `status` shows it. card.conf may name it instead
    #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint)]
    pub(crate) key: Option<String>,

    /// How long to wait for the card, pcscd or the agent: 90s, PT5M, 0 or forever
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = wait_or_forever)]
    pub(crate) wait: Wait,

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
pub(crate) struct DoctorOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,

    /// The agent's socket
    #[arg(long, value_name = "FILE", default_value = AGENT)]
    pub(crate) socket: PathBuf,

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

    /// The agent's socket, for the command. Needed with --control: both are those of one agent [default: /run/nightlatch-card/agent]
    #[arg(long, value_name = "FILE")]
    pub(crate) socket: Option<PathBuf>,

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

/// The longest time for which a command waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    AtMost(Duration),
    Forever,
}

impl ExecOptions {
    /// The agent's socket. A command must not use another agent than the one whose card was looked at.
    pub(crate) fn agent(&self) -> Result<&Path, String> {
        match &self.socket {
            Some(socket) => Ok(socket),
            None if self.control.control == Path::new(CONTROL) => Ok(Path::new(AGENT)),
            None => Err(format!(
                "expected --socket with --control {}: the agent's socket that belongs to it",
                self.control.control.display()
            )),
        }
    }
}

fn wait_or_forever(text: &str) -> Result<Wait, String> {
    match text {
        "forever" => Ok(Wait::Forever),
        "0" => Ok(Wait::AtMost(Duration::ZERO)),
        _ => match duration::parse(text) {
            Ok(length) => Ok(Wait::AtMost(length)),
            Err(error) => Err(format!("{error}, 0 or forever; found {text:?}")),
        },
    }
}

fn card_name(text: &str) -> Result<CardName, String> {
    CardName::parse(text).ok_or_else(|| {
        format!("expected an AID of 32 hexadecimal digits, or manufacturer and serial number such as 0006:12345678; found {text:?}")
    })
}

fn fingerprint(text: &str) -> Result<String, String> {
    match is_fingerprint(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected SHA256: and 43 letters, as `ssh-keygen -l` prints it; found {text:?}"
        )),
    }
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
        assert_eq!(options.agent(), Ok(Path::new(AGENT)));
    }

    #[test]
    fn a_command_uses_the_agent_that_was_asked() {
        let agent = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["x", "exec"], words, &["true"]].concat());
            let CardVerb::Exec(options) = cli.unwrap().verb else {
                panic!("another verb");
            };
            options.agent().map(Path::to_owned)
        };
        let error = agent(&["--control", "/run/other"]).unwrap_err();
        assert!(
            error.contains("expected --socket with --control /run/other"),
            "{error}"
        );
        let both = agent(&["--control", "/run/other", "--socket", "/run/its"]);
        assert_eq!(both, Ok(PathBuf::from("/run/its")));
        assert_eq!(
            agent(&["--socket", "/run/its"]),
            Ok(PathBuf::from("/run/its"))
        );
    }

    #[test]
    fn a_card_is_named_as_card_conf_names_it_and_waited_for_as_long_as_it_takes() {
        let parse = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["x", "unlock"], words].concat());
            cli.map(|cli| match cli.verb {
                CardVerb::Unlock(options) => options,
                other => panic!("another verb: {other:?}"),
            })
        };
        let key = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE";
        let aid = "D2760001240103040006123456780000";
        let words = ["--card", aid, "--key", key, "--wait", "forever"];
        let options = parse(&words).unwrap();
        assert_eq!(options.card, CardName::parse(aid));
        assert_eq!(
            (options.key.as_deref(), options.wait),
            (Some(key), Wait::Forever)
        );
        for wrong in [["--card", "1"], ["--key", "MD5:0"], ["--wait", "soon"]] {
            let error = parse(&wrong).unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
