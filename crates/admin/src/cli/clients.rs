//! The grammar of the verbs that call a server.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use nightlatch_core::duration;
use nightlatch_core::record::Kind;
use nightlatch_core::registry::LONGEST_REHEARSALS;

use crate::state::State;

/// The verbs that call a server.
#[derive(Subcommand, Debug)]
pub(crate) enum Call {
    /// Show every machine in a line
    #[command(after_help = "Examples:
  nightlatch list
  nightlatch list 'web-*' --state disabled --state failing
  nightlatch list --json | jq -r '.[] | select(.enabled) | .name'")]
    List(List),
    /// Show everything about a machine
    #[command(after_help = "Examples:
  nightlatch show foo.example
  nightlatch show --all --json")]
    Show(Look),
    /// Let machines have their secrets again
    #[command(after_help = "Examples:
  nightlatch enable foo.example
  nightlatch enable 'web-*' --yes")]
    Enable(Change),
    /// Refuse machines their secrets until they are enabled again
    #[command(after_help = "Examples:
  nightlatch disable foo.example bar.example
  nightlatch disable --all --dry-run")]
    Disable(Change),
    /// Grant the one request of a machine that waits
    ///
    /// An approval is for one request. Where several wait with the key of one machine, all but one are not
    /// its own: then nothing is approved, they are listed, and --request says which one is meant. Where a
    /// denial counts, it is taken back, and the next request waits.
    #[command(after_help = "Examples:
  nightlatch wait foo.example --until waiting && nightlatch approve foo.example
  nightlatch approve foo.example --request 481516")]
    Approve(Decide),
    /// Refuse the request of a machine that waits
    ///
    /// It also counts for requests that come within the machine's approval_duration. Where several wait,
    /// they are listed, and --request refuses one of them alone.
    #[command(after_help = "Examples:
  nightlatch deny foo.example
  nightlatch deny foo.example --request 481516")]
    Deny(Decide),
    /// Let machines rehearse for a while without an alarm
    ///
    /// nightlatch check on a machine asks the server for its password as a boot does. Whoever copied the
    /// machine's keys can do the same, so the server raises an alarm over a rehearsal that nobody allowed.
    /// It ends by itself, with a restart of the server, and when the machine is disabled.
    #[command(after_help = "Examples:
  nightlatch rehearsal foo.example --for 10m && ssh root@foo.example nightlatch check
  nightlatch rehearsal foo.example --for 0")]
    Rehearsal(Rehearsal),
    /// Make machines unknown to the server
    ///
    /// It stays so, also when the section is still in clients.conf. Asks before; --yes does not.
    #[command(after_help = "Examples:
  nightlatch remove foo.example
  nightlatch remove 'old-*' --dry-run")]
    Remove(Change),
    /// Add machines, without a restart
    ///
    /// Takes sections as enroll and keygen --password print them. The server checks all of them before
    /// the first is added.
    #[command(after_help = "Examples:
  ssh root@foo.example nightlatch enroll /dev/sda3 | nightlatch add
  nightlatch add foo.section bar.section --dry-run")]
    Add(Add),
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
    Set(Set),
    /// Have the server read its configuration anew
    ///
    /// With a fault in any file nothing changes. Nor does it when all clients that are known are missing, or
    /// most of them, as in a file that an editor emptied: unless that is accepted.
    #[command(after_help = "Examples:
  nightlatch reload
  nightlatch reload --accept-fewer-clients")]
    Reload(Reload),
    /// Check now whether machines are up, and say what the checkers say
    ///
    /// The exit status is 0 when all of them are, else 1.
    #[command(after_help = "Examples:
  nightlatch check-now foo.example
  nightlatch check-now --all --yes --json")]
    CheckNow(CheckNow),
    /// Wait until something has happened to a machine
    #[command(after_help = "Examples:
  nightlatch wait foo.example --until released --timeout 15m
  nightlatch wait foo.example --until disabled && mail -s 'foo is off' root </dev/null")]
    Wait(Wait),
    /// Show what happened, who did it, and why
    #[command(after_help = "Examples:
  nightlatch log --last 20
  nightlatch log --client foo.example --since 2d
  nightlatch log --follow --alarms
  nightlatch log --verify")]
    Log(Log),
    /// Say whether a machine may have its secret now, why, and what to do
    #[command(after_help = "Examples:
  nightlatch why foo.example")]
    Why(Look),
}

/// Which clients, for verbs that must be told.
#[derive(Args, Debug, Default)]
pub(crate) struct Which {
    /// Names of clients, or patterns: * any text, ? any character, [a-f] one of these
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// All clients
    #[arg(short, long, conflicts_with = "names")]
    pub(crate) all: bool,
}

/// How sure one is, and how it is told.
#[derive(Args, Debug, Default)]
pub(crate) struct Sure {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Tell the outcome in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only these: names, or patterns with * ? [a-f]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Only clients that stand so; may be repeated
    #[arg(long, value_enum)]
    pub(crate) state: Vec<State>,

    /// Print JSON: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// `show` and `why`.
#[derive(Args, Debug)]
pub(crate) struct Look {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Print JSON: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// `approve` and `deny`.
#[derive(Args, Debug)]
pub(crate) struct Decide {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Decide on the request of this number alone
    #[arg(short, long, value_name = "NUMBER", conflicts_with = "all")]
    pub(crate) request: Option<u64>,

    #[command(flatten)]
    pub(crate) sure: Sure,
}

/// `enable`, `disable` and `remove`.
#[derive(Args, Debug)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) which: Which,

    #[command(flatten)]
    pub(crate) sure: Sure,
}

/// `rehearsal`.
#[derive(Args, Debug)]
pub(crate) struct Rehearsal {
    #[command(flatten)]
    pub(crate) which: Which,

    /// For how long, as 10m or PT10M, at most 24h; 0 ends it
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = rehearsal_time)]
    pub(crate) time: Duration,

    #[command(flatten)]
    pub(crate) sure: Sure,
}

/// Reads for how long rehearsals are to be allowed.
fn rehearsal_time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let length = duration::parse(text).map_err(|error| error.to_string())?;
    if length > LONGEST_REHEARSALS {
        return Err("longer than 24h, which is the most".to_owned());
    }
    if !length.is_zero() && length < Duration::from_secs(1) {
        return Err("shorter than a second".to_owned());
    }
    Ok(length)
}

/// `check-now`.
#[derive(Args, Debug)]
pub(crate) struct CheckNow {
    #[command(flatten)]
    pub(crate) which: Which,

    #[command(flatten)]
    pub(crate) sure: Sure,

    /// Start the checks, and do not wait for what they say
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `set`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// Names of clients (or patterns), then settings as KEY=VALUE
    #[arg(required = true, value_name = "NAME… KEY=VALUE")]
    pub(crate) words: Vec<String>,

    /// All clients
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) sure: Sure,
}

/// `add`.
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Files with sections as in clients.conf; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Let the server check the sections, and add nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Tell the outcome in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Until {
    /// It is enabled
    Enabled,
    /// It is disabled
    Disabled,
    /// A request of it waits for approval
    Waiting,
    /// It gets its secret
    Released,
    /// It proves to be up, from now on
    Alive,
    /// It is removed
    Removed,
}

/// `wait`.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// The client's name
    pub(crate) name: String,

    /// What to wait for
    #[arg(short, long, value_enum)]
    pub(crate) until: Until,

    /// Give up after this time, as 10m or PT10M; the exit status is 75 then
    #[arg(short, long, value_name = "TIME", value_parser = duration::read)]
    pub(crate) timeout: Option<Duration>,
}

/// `log`.
#[derive(Args, Debug, Default)]
pub(crate) struct Log {
    /// Only about this client
    #[arg(short, long, value_name = "NAME")]
    pub(crate) client: Option<String>,

    /// Only from then on: 2h or PT2H ago, 2026-11-24, 2026-11-24T18:30 (UTC)
    #[arg(short, long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// Only this kind, as released, refused, approved, disabled; may be repeated
    #[arg(short, long, value_name = "KIND", value_parser = kinds(), hide_possible_values = true)]
    pub(crate) kind: Vec<String>,

    /// Only alarms
    #[arg(long)]
    pub(crate) alarms: bool,

    /// Only the newest N
    #[arg(short = 'N', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) last: Option<u32>,

    /// Go on with what happens from now on
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Print the records as they are chained, one line of JSON each
    #[arg(long)]
    pub(crate) json: bool,

    /// Check that no record was changed, taken out or put elsewhere, and say so in one line
    #[arg(long, conflicts_with_all = ["client", "since", "kind", "alarms", "last", "follow"])]
    pub(crate) verify: bool,
}

/// What a record can be about.
fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.iter().map(|kind| kind.as_str()))
}

/// `reload`.
#[derive(Args, Debug)]
pub(crate) struct Reload {
    /// Also when the configuration misses all clients that are known, or most of them
    #[arg(long)]
    pub(crate) accept_fewer_clients: bool,
}

/// `check-config`.
#[derive(Args, Debug)]
pub(crate) struct CheckConfig {
    /// Folder of the configuration [default: the server's own, /etc/nightlatch]
    #[arg(value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
}

/// `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// A shell that can be told how to complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// `complete`, called by the shells.
#[derive(Args, Debug)]
pub(crate) struct Complete {
    /// The words of the command line, the program's name first, up to the one to complete
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}
