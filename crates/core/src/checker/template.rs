//! A checker command: validated at load, expanded and quoted at each run (mandos-clients.conf(5),
//! "RUNTIME EXPANSION").
//!
//! Pure: it builds the command line and never runs it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::CheckerError;
use crate::calendar::DateTime;
use crate::key_id::{Fingerprint, KeyId};
use crate::suggest;
use crate::time::Wall;

/// Attributes that a checker command can refer to, by name.
const ATTRIBUTES: [(&str, Attribute); 15] = [
    ("approval_delay", Attribute::ApprovalDelay),
    ("approval_duration", Attribute::ApprovalDuration),
    ("created", Attribute::Created),
    ("dbus_object_path", Attribute::DbusObjectPath),
    ("enabled", Attribute::Enabled),
    ("expires", Attribute::Expires),
    ("fingerprint", Attribute::Fingerprint),
    ("host", Attribute::Host),
    ("interval", Attribute::Interval),
    ("key_id", Attribute::KeyId),
    ("last_approval_request", Attribute::LastApprovalRequest),
    ("last_checked_ok", Attribute::LastCheckedOk),
    ("last_enabled", Attribute::LastEnabled),
    ("name", Attribute::Name),
    ("timeout", Attribute::Timeout),
];

#[derive(Clone, Copy)]
enum Attribute {
    ApprovalDelay,
    ApprovalDuration,
    Created,
    DbusObjectPath,
    Enabled,
    Expires,
    Fingerprint,
    Host,
    Interval,
    KeyId,
    LastApprovalRequest,
    LastCheckedOk,
    LastEnabled,
    Name,
    Timeout,
}

/// A checker command as configured, after the start-time interpolation: a shell command in which
/// `%(attribute)s` stands for a value and `%%` for a percent sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckerTemplate(String);

impl CheckerTemplate {
    /// Fails when `text` refers to anything that [`Self::expand`] cannot replace.
    pub fn new(text: impl Into<String>) -> Result<Self, CheckerError> {
        let text = text.into();
        if text.contains('\0') {
            return Err(CheckerError::Nul);
        }
        let mut rest = text.as_str();
        while let Some((_, _, tail)) = next_part(rest)? {
            rest = tail;
        }
        Ok(Self(text))
    }

    /// The template as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when it calls a program similar to ping(8): a word that ends with `ping`, or with `ping` and the version
    /// of the protocol.
    pub fn pings(&self) -> bool {
        let apart = |c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c));
        self.0
            .split(apart)
            .any(|word| word.trim_end_matches(['4', '6']).ends_with("ping"))
    }

    /// The command line for `/bin/sh -c`. Each value is quoted, so that it is always one word (unless the command
    /// itself puts the reference between double quotes).
    pub fn expand(&self, variables: &CheckerVariables<'_>) -> String {
        let mut command = String::with_capacity(2 * self.0.len());
        let mut rest = self.0.as_str();
        // Errors cannot happen: `new` parsed the same text.
        while let Ok(Some((plain, part, tail))) = next_part(rest) {
            command.push_str(plain);
            match part {
                TemplatePart::Percent => command.push('%'),
                TemplatePart::Value(attribute) => {
                    command.push_str(&quote(&variables.text(attribute)))
                }
            }
            rest = tail;
        }
        command.push_str(rest);
        command
    }
}

impl Default for CheckerTemplate {
    /// `fping -q -- %(host)s`, as in Mandos.
    fn default() -> Self {
        Self("fping -q -- %(host)s".into())
    }
}

/// Values of the attributes of one client at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckerVariables<'a> {
    /// The client's `approval_delay`.
    pub approval_delay: Duration,
    /// The client's `approval_duration`.
    pub approval_duration: Duration,
    /// Time at which the client was added.
    pub created: Wall,
    /// Object path on D-Bus; empty when there is none.
    pub dbus_object_path: &'a str,
    /// True when it is enabled now.
    pub enabled: bool,
    /// Time of the client's deadline.
    pub expires: Option<Wall>,
    /// OpenPGP fingerprint of the client.
    pub fingerprint: Option<Fingerprint>,
    /// The client's `host`.
    pub host: &'a str,
    /// The client's `interval`.
    pub interval: Duration,
    /// Key id of the client.
    pub key_id: Option<KeyId>,
    /// Time of the last request that needed approval.
    pub last_approval_request: Option<Wall>,
    /// Time of the last proof of life.
    pub last_checked_ok: Option<Wall>,
    /// Time at which it was last enabled.
    pub last_enabled: Option<Wall>,
    /// Name of the client.
    pub name: &'a str,
    /// The client's `timeout`.
    pub timeout: Duration,
}

impl CheckerVariables<'_> {
    /// A value as formatted by Python's `str`, because checkers were written for Mandos.
    fn text(&self, attribute: Attribute) -> Cow<'_, str> {
        let moment = |wall: Option<Wall>| match wall {
            Some(wall) => Cow::Owned(PythonDateTime(wall).to_string()),
            None => Cow::Borrowed("None"),
        };
        let length = |duration| Cow::Owned(TimeDelta(duration).to_string());
        match attribute {
            Attribute::ApprovalDelay => length(self.approval_delay),
            Attribute::ApprovalDuration => length(self.approval_duration),
            Attribute::Created => moment(Some(self.created)),
            Attribute::DbusObjectPath => self.dbus_object_path.into(),
            Attribute::Enabled => if self.enabled { "True" } else { "False" }.into(),
            Attribute::Expires => moment(self.expires),
            Attribute::Fingerprint => match self.fingerprint {
                Some(fingerprint) => fingerprint.to_string().into(),
                None => "".into(),
            },
            Attribute::Host => self.host.into(),
            Attribute::Interval => length(self.interval),
            Attribute::KeyId => match self.key_id {
                Some(key_id) => format!("{key_id:X}").into(),
                None => "".into(),
            },
            Attribute::LastApprovalRequest => moment(self.last_approval_request),
            Attribute::LastCheckedOk => moment(self.last_checked_ok),
            Attribute::LastEnabled => moment(self.last_enabled),
            Attribute::Name => self.name.into(),
            Attribute::Timeout => length(self.timeout),
        }
    }
}

pub(super) fn expected(suggestion: &Option<&'static str>) -> String {
    match suggestion {
        Some(name) => format!("%({name})s, perhaps"),
        None => {
            let names: Vec<&str> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        }
    }
}

/// Quotes a word for a POSIX shell, only when it needs it (Python's `shlex.quote`).
fn quote(word: &str) -> Cow<'_, str> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !word.is_empty() && word.bytes().all(safe) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r#"'"'"'"#)))
}

/// A part of a template that begins with `%`.
enum TemplatePart {
    Percent,
    Value(Attribute),
}

/// The text up to the next `%`, the part that this begins, and the rest; `None` without a `%`.
fn next_part(text: &str) -> Result<Option<(&str, TemplatePart, &str)>, CheckerError> {
    let Some((plain, rest)) = text.split_once('%') else {
        return Ok(None);
    };
    if let Some(rest) = rest.strip_prefix('%') {
        return Ok(Some((plain, TemplatePart::Percent, rest)));
    }
    let (name, rest) = rest
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .and_then(|(name, rest)| Some((name, rest.strip_prefix('s')?)))
        .ok_or(CheckerError::Malformed)?;
    let attribute = ATTRIBUTES.iter().find(|(known, _)| *known == name);
    let (_, attribute) = attribute.ok_or_else(|| CheckerError::Unknown {
        name: name.to_owned(),
        suggestion: suggest::nearest(name, ATTRIBUTES.iter().map(|(known, _)| *known)),
    })?;
    Ok(Some((plain, TemplatePart::Value(*attribute), rest)))
}

/// Prints as Python's `str(timedelta)`: `0:05:00`, `1 day, 0:05:00`.
struct TimeDelta(Duration);

impl fmt::Display for TimeDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds / 86_400 {
            0 => {}
            1 => write!(f, "1 day, ")?,
            days => write!(f, "{days} days, ")?,
        }
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(f, "{hours}:{minutes:02}:{:02}", seconds % 60)?;
        fraction(f, self.0.subsec_micros())
    }
}

/// Prints as Python's `str(datetime)`, in UTC: `2026-11-21 23:19:55.400000`.
struct PythonDateTime(Wall);

impl fmt::Display for PythonDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = DateTime::from(self.0);
        write!(f, "{:04}-{:02}-{:02} ", at.year, at.month, at.day)?;
        write!(f, "{:02}:{:02}:{:02}", at.hour, at.minute, at.second)?;
        fraction(f, at.micros)
    }
}

fn fraction(f: &mut fmt::Formatter<'_>, micros: u32) -> fmt::Result {
    match micros {
        0 => Ok(()),
        micros => write!(f, ".{micros:06}"),
    }
}

#[cfg(test)]
mod tests;
