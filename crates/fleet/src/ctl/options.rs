//! The command line of mandos-ctl(8), read as Python's argparse reads it: long options may be cut short
//! while they stay unambiguous, repeated options all count, and commands keep their order.
//!
//! By lexopt, for clap gives no order across options.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use lexopt::{Arg, Parser};
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_console::output;
use nightlatch_core::duration::{self, DurationError};
use nightlatch_core::secret::Secret;

use super::command::CtlCommand;
use crate::secret_file;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OptionEffect {
    Help,
    Version,
    All,
    Verbose,
    Json,
    Debug,
    Check,
    IsEnabled,
    Remove,
    Bump,
    Enabled(bool),
    CheckerRunning(bool),
    ApprovedByDefault(bool),
    Approve(bool),
    /// These take a value.
    Text(Property),
    Time(Property),
    Secret,
}

/// An option: its long name, its letter, and what it does.
#[derive(Debug)]
struct OptionDefinition {
    name: &'static str,
    letter: Option<char>,
    what: OptionEffect,
}

const fn option(name: &'static str, letter: Option<char>, what: OptionEffect) -> OptionDefinition {
    OptionDefinition { name, letter, what }
}

const OPTIONS: [OptionDefinition; 26] = [
    option("help", Some('h'), OptionEffect::Help),
    option("version", None, OptionEffect::Version),
    option("all", Some('a'), OptionEffect::All),
    option("verbose", Some('v'), OptionEffect::Verbose),
    option("dump-json", Some('j'), OptionEffect::Json),
    option("enable", Some('e'), OptionEffect::Enabled(true)),
    option("disable", Some('d'), OptionEffect::Enabled(false)),
    option("bump-timeout", Some('b'), OptionEffect::Bump),
    option("start-checker", None, OptionEffect::CheckerRunning(true)),
    option("stop-checker", None, OptionEffect::CheckerRunning(false)),
    option("is-enabled", Some('V'), OptionEffect::IsEnabled),
    option("remove", Some('r'), OptionEffect::Remove),
    option("checker", Some('c'), OptionEffect::Text(Property::Checker)),
    option("timeout", Some('t'), OptionEffect::Time(Property::Timeout)),
    option(
        "extended-timeout",
        None,
        OptionEffect::Time(Property::ExtendedTimeout),
    ),
    option(
        "interval",
        Some('i'),
        OptionEffect::Time(Property::Interval),
    ),
    option(
        "approve-by-default",
        None,
        OptionEffect::ApprovedByDefault(true),
    ),
    option(
        "deny-by-default",
        None,
        OptionEffect::ApprovedByDefault(false),
    ),
    option(
        "approval-delay",
        None,
        OptionEffect::Time(Property::ApprovalDelay),
    ),
    option(
        "approval-duration",
        None,
        OptionEffect::Time(Property::ApprovalDuration),
    ),
    option("host", Some('H'), OptionEffect::Text(Property::Host)),
    option("secret", Some('s'), OptionEffect::Secret),
    option("approve", Some('A'), OptionEffect::Approve(true)),
    option("deny", Some('D'), OptionEffect::Approve(false)),
    option("debug", None, OptionEffect::Debug),
    option("check", None, OptionEffect::Check),
];

/// The action that a command line selects.
#[derive(Debug)]
pub(super) enum CtlAction {
    /// Show the help.
    Help,
    /// Show the version.
    Version,
    /// Test the program itself.
    SelfTest,
    /// Call a server.
    Run(Options),
}

/// Form in which the clients are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Show {
    /// Nothing: there are commands.
    Nothing,
    Table,
    /// The table with all columns.
    WideTable,
    Json,
}

/// A command line that calls a server.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) show: Show,
    pub(super) commands: Vec<CtlCommand>,
    /// The names of the clients; all clients without names.
    pub(super) clients: Vec<String>,
    /// `--debug`: print the calls.
    pub(super) debug: bool,
}

/// A wrong command line.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlUsageError {
    #[error("unrecognized arguments: {0}")]
    Unknown(String),
    /// An option cut too short.
    #[error("ambiguous option: --{0} could match {1}")]
    Ambiguous(String, String),
    /// An option without its value.
    #[error("argument {0}: expected one argument")]
    NoValue(String),
    /// A flag with a value.
    #[error("argument {0}: takes no value, found {1:?}")]
    Value(String, String),
    /// Two contradicting options.
    #[error("argument {0}: not allowed with argument {1}")]
    Both(String, String),
    /// A value that is not UTF-8.
    #[error("argument {0}: expected UTF-8 text")]
    NotText(String),
    #[error("argument {0}")]
    Time(String, #[source] DurationError),
    /// The secret cannot be read.
    #[error("argument -s/--secret: cannot read {0}: {1}")]
    Secret(String, io::Error),
    /// Commands without clients.
    #[error("options require client names or --all")]
    NoClients,
    /// `--verbose` with commands.
    #[error("--verbose can only be used alone")]
    Verbose,
    /// `--dump-json` with anything.
    #[error("--dump-json can only be used alone")]
    Json,
    /// `--all` without commands.
    #[error("--all requires an action")]
    All,
    /// `--is-enabled` for several.
    #[error("--is-enabled requires exactly one client")]
    IsEnabled,
    /// `--remove` with other commands.
    #[error("--remove can only be combined with --deny")]
    Remove,
}

/// Reads a command line, without the program's name.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<CtlAction, CtlUsageError> {
    let mut parser = Parser::from_args(arguments);
    let mut reader = OptionReader::default();
    loop {
        let argument = parser.next();
        let Some(argument) = argument.map_err(|error| CtlUsageError::Unknown(error.to_string()))?
        else {
            return reader.finish();
        };
        let option = match argument {
            Arg::Value(name) => {
                reader.clients.push(text("client", name)?);
                continue;
            }
            Arg::Long(name) => long(name)?,
            Arg::Short(letter) => short(letter)?,
        };
        match option.what {
            OptionEffect::Help => return Ok(CtlAction::Help),
            OptionEffect::Version => return Ok(CtlAction::Version),
            _ => reader.option(option, &mut parser)?,
        }
    }
}

/// The long name of every option.
pub(super) fn long_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|option| option.name)
}

/// The options and names read so far.
#[derive(Default)]
struct OptionReader {
    commands: Vec<CtlCommand>,
    clients: Vec<String>,
    seen: Vec<&'static OptionDefinition>,
}

impl OptionReader {
    fn option(
        &mut self,
        option: &'static OptionDefinition,
        parser: &mut Parser,
    ) -> Result<(), CtlUsageError> {
        let contrary = |seen: &&&OptionDefinition| option.what.contradicts(seen.what);
        if let Some(seen) = self.seen.iter().find(contrary) {
            return Err(CtlUsageError::Both(option.shown(), seen.shown()));
        }
        self.seen.push(option);
        let command = match option.what {
            OptionEffect::Text(property) => {
                let text = text(&option.shown(), value(option, parser)?)?;
                CtlCommand::Set(property, PropertyValue::Text(text))
            }
            OptionEffect::Time(property) => {
                let text = text(&option.shown(), value(option, parser)?)?;
                let time =
                    time(&text).map_err(|error| CtlUsageError::Time(option.shown(), error))?;
                CtlCommand::Set(property, PropertyValue::of_length(time))
            }
            OptionEffect::Secret => CtlCommand::SetSecret(secret(value(option, parser)?)?),
            flag => {
                if let Some(value) = parser.optional_value() {
                    let value = value.to_string_lossy().into_owned();
                    return Err(CtlUsageError::Value(option.shown(), value));
                }
                match flag.command() {
                    Some(command) => command,
                    None => return Ok(()),
                }
            }
        };
        self.commands.push(command);
        Ok(())
    }

    /// Refuses options that exclude each other, checked in the order of mandos-ctl.
    fn finish(mut self) -> Result<CtlAction, CtlUsageError> {
        let seen = |what| self.seen.iter().any(|option| option.what == what);
        let (all, has_commands) = (seen(OptionEffect::All), !self.commands.is_empty());
        if has_commands && self.clients.is_empty() && !all {
            return Err(CtlUsageError::NoClients);
        }
        if seen(OptionEffect::Verbose) && has_commands {
            return Err(CtlUsageError::Verbose);
        }
        if seen(OptionEffect::Json) && (has_commands || seen(OptionEffect::Verbose)) {
            return Err(CtlUsageError::Json);
        }
        if all && !has_commands {
            return Err(CtlUsageError::All);
        }
        if seen(OptionEffect::IsEnabled) && self.clients.len() > 1 {
            return Err(CtlUsageError::IsEnabled);
        }
        if seen(OptionEffect::Remove) {
            let with_it = |command: &CtlCommand| {
                matches!(command, CtlCommand::Remove | CtlCommand::Approve(false))
            };
            if !self.commands.iter().all(with_it) {
                return Err(CtlUsageError::Remove);
            }
            // What is removed can no longer be denied.
            self.commands
                .sort_by_key(|command| matches!(command, CtlCommand::Remove));
        }
        if seen(OptionEffect::Check) {
            return Ok(CtlAction::SelfTest);
        }
        let show = match (
            has_commands,
            seen(OptionEffect::Verbose),
            seen(OptionEffect::Json),
        ) {
            (true, ..) => Show::Nothing,
            (_, true, _) => Show::WideTable,
            (_, _, true) => Show::Json,
            _ => Show::Table,
        };
        Ok(CtlAction::Run(Options {
            show,
            debug: seen(OptionEffect::Debug),
            // With --all, names make no difference.
            clients: if all { Vec::new() } else { self.clients },
            commands: self.commands,
        }))
    }
}

impl OptionEffect {
    fn contradicts(self, other: Self) -> bool {
        match (self, other) {
            (Self::Enabled(one), Self::Enabled(other))
            | (Self::CheckerRunning(one), Self::CheckerRunning(other))
            | (Self::ApprovedByDefault(one), Self::ApprovedByDefault(other))
            | (Self::Approve(one), Self::Approve(other)) => one != other,
            _ => false,
        }
    }

    /// The command of an option without a value; `None` for other options.
    fn command(self) -> Option<CtlCommand> {
        let set = |property, value| Some(CtlCommand::Set(property, PropertyValue::Boolean(value)));
        match self {
            Self::Enabled(value) => set(Property::Enabled, value),
            Self::CheckerRunning(value) => set(Property::CheckerRunning, value),
            Self::ApprovedByDefault(value) => set(Property::ApprovedByDefault, value),
            Self::Approve(value) => Some(CtlCommand::Approve(value)),
            Self::Remove => Some(CtlCommand::Remove),
            Self::IsEnabled => Some(CtlCommand::IsEnabled),
            // Any time written there counts as a proof of life.
            Self::Bump => Some(CtlCommand::Set(
                Property::LastCheckedOK,
                PropertyValue::Text(String::new()),
            )),
            _ => None,
        }
    }
}

impl OptionDefinition {
    fn shown(&self) -> String {
        match self.letter {
            Some(letter) => format!("-{letter}/--{}", self.name),
            None => format!("--{}", self.name),
        }
    }
}

/// The option with this long name, whole or cut short.
fn long(name: &str) -> Result<&'static OptionDefinition, CtlUsageError> {
    if let Some(option) = OPTIONS.iter().find(|option| option.name == name) {
        return Ok(option);
    }
    let mut fitting = OPTIONS
        .iter()
        .filter(|option| option.name.starts_with(name));
    match (fitting.next(), fitting.next()) {
        (Some(option), None) => Ok(option),
        (None, _) => Err(CtlUsageError::Unknown(format!("--{name}"))),
        (Some(one), Some(other)) => {
            let all = [one, other].into_iter().chain(fitting);
            let all: Vec<String> = all.map(|option| format!("--{}", option.name)).collect();
            Err(CtlUsageError::Ambiguous(name.to_owned(), all.join(", ")))
        }
    }
}

fn short(letter: char) -> Result<&'static OptionDefinition, CtlUsageError> {
    let option = OPTIONS.iter().find(|option| option.letter == Some(letter));
    option.ok_or_else(|| CtlUsageError::Unknown(format!("-{letter}")))
}

/// The value of `option`. One that stands alone may not look like an option: it would be one that lacks
/// its value.
fn value(option: &OptionDefinition, parser: &mut Parser) -> Result<OsString, CtlUsageError> {
    if let Some(value) = parser.optional_value() {
        return Ok(value);
    }
    match parser.value() {
        Ok(value) if !looks_like_an_option(&value) => Ok(value),
        _ => Err(CtlUsageError::NoValue(option.shown())),
    }
}

fn looks_like_an_option(value: &OsStr) -> bool {
    let bytes = value.as_encoded_bytes();
    let Some(rest) = bytes.strip_prefix(b"-") else {
        return false;
    };
    let number = rest
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    !rest.is_empty() && !number && !rest.contains(&b' ')
}

fn text(what: &str, value: OsString) -> Result<String, CtlUsageError> {
    value
        .into_string()
        .map_err(|_| CtlUsageError::NotText(what.to_owned()))
}

/// A duration as mandos-ctl takes it: what is not in the form of RFC 3339 is read leniently, and said to
/// be so. One that is in that form and too long stays wrong.
fn time(text: &str) -> Result<Duration, DurationError> {
    match duration::parse_rfc3339(text) {
        Ok(time) => Ok(time),
        Err(DurationError::TooLong) => Err(DurationError::TooLong),
        Err(_) => {
            output::complain(&format!(
                "Invalid RFC 3339 duration: {text:?} - Parsing as pre-1.6.1 interval instead\n"
            ));
            duration::parse_lenient(text)
        }
    }
}

fn secret(file: OsString) -> Result<Secret, CtlUsageError> {
    let shown = file.to_string_lossy().into_owned();
    secret_file::read(Path::new(&file)).map_err(|error| CtlUsageError::Secret(shown, error))
}

#[cfg(test)]
mod tests;
