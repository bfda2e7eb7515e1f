//! The server's own settings: `[DEFAULT]` of `nightlatch.conf` or `mandos.conf` (mandos.conf(5)).

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Parsed, Problem, SettingLocation, SettingsError, SettingsWarning, WarningReason, value,
};
use crate::duration;
use crate::ini::{DEFAULT, Ini, IniEntry, is_space};
use crate::interpolate::interpolate;
use crate::suggest;

mod address;
pub use address::Address;

/// The most file descriptors a process is given on Linux unless `fs.nr_open` is raised: no limit on
/// connections beyond it means anything.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// More checkers than process ids on Linux (`PID_MAX_LIMIT`) cannot run.
const MAX_CHECKS: u64 = 1 << 22;

/// Everything `[DEFAULT]` can say. The command line overrides it key by key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSettings {
    /// Listen and announce on this interface only. Default: all.
    pub interface: Option<String>,
    /// Listen on this address only. Default: all.
    pub address: Option<Address>,
    /// TCP port; `None` lets the kernel choose.
    pub port: Option<u16>,
    /// GnuTLS priority string, to be understood by `nightlatch-proto`.
    pub priority: Option<String>,
    /// Service name announced. Default `Mandos`, for stock peers show it.
    pub servicename: String,
    /// Log at debug level to standard error.
    pub debug: bool,
    /// Log level when not debugging; `None` for the program's own choice.
    pub debuglevel: Option<LogLevel>,
    /// Offer the D-Bus interface.
    pub use_dbus: bool,
    /// Use IPv6 (dual stack); otherwise IPv4 only.
    pub use_ipv6: bool,
    /// Read the saved state at start.
    pub restore: bool,
    /// The state directory. Default `/var/lib/nightlatch`.
    pub statedir: PathBuf,
    /// A listening socket inherited as this descriptor.
    pub socket: Option<i32>,
    /// Accepted for Mandos's sake; the server never daemonises.
    pub foreground: bool,
    /// Announce by DNS-SD.
    pub zeroconf: bool,
    /// Nightlatch's own: at most this many checkers at once. Default 64.
    pub concurrent_checks: usize,
    /// Nightlatch's own: at most this many connections at once. Default 4096.
    pub max_connections: usize,
    /// Nightlatch's own: at most this many connections at once from one address. Default 32.
    pub max_connections_per_source: usize,
    /// Nightlatch's own: a shell command, run on an alarm and when a machine waits for approval.
    pub alarm_command: Option<String>,
    /// Nightlatch's own: whether a release starts a check, which raises an alarm when it succeeds.
    pub check_on_release: bool,
    /// Nightlatch's own: any machine may rehearse at any time without an alarm.
    pub allow_rehearsals: bool,
    /// Nightlatch's own: how long records of the audit log are kept. Default a year of 52 weeks.
    pub keep_records: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            interface: None,
            address: None,
            port: None,
            priority: None,
            servicename: "Mandos".into(),
            debug: false,
            debuglevel: None,
            use_dbus: true,
            use_ipv6: true,
            restore: true,
            statedir: "/var/lib/nightlatch".into(),
            socket: None,
            foreground: false,
            zeroconf: true,
            concurrent_checks: 64,
            max_connections: 4096,
            max_connections_per_source: 32,
            alarm_command: None,
            check_on_release: true,
            allow_rehearsals: false,
            keep_records: Duration::from_secs(52 * 7 * 24 * 60 * 60),
        }
    }
}

/// The settings that one source names: a file or the command line. `Some(None)` is a setting given
/// with an empty value, which takes an earlier one back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "each field is documented in ServerSettings")]
pub struct PartialServerSettings {
    pub interface: Option<Option<String>>,
    pub address: Option<Option<Address>>,
    pub port: Option<Option<u16>>,
    pub priority: Option<Option<String>>,
    pub servicename: Option<String>,
    pub debug: Option<bool>,
    pub debuglevel: Option<Option<LogLevel>>,
    pub use_dbus: Option<bool>,
    pub use_ipv6: Option<bool>,
    pub restore: Option<bool>,
    pub statedir: Option<PathBuf>,
    pub socket: Option<Option<i32>>,
    pub foreground: Option<bool>,
    pub zeroconf: Option<bool>,
    pub concurrent_checks: Option<usize>,
    pub max_connections: Option<usize>,
    pub max_connections_per_source: Option<usize>,
    pub alarm_command: Option<Option<String>>,
    pub check_on_release: Option<bool>,
    pub allow_rehearsals: Option<bool>,
    pub keep_records: Option<Duration>,
}

impl ServerSettings {
    /// Takes over what `partial` names. Precedence is the order of calls: file, then command line.
    pub fn apply(&mut self, partial: PartialServerSettings) {
        macro_rules! take {
            ($($field:ident)*) => {
                let PartialServerSettings { $($field),* } = partial;
                $(if let Some(value) = $field {
                    self.$field = value;
                })*
            };
        }
        take!(interface address port priority servicename debug debuglevel use_dbus use_ipv6 restore
              statedir socket foreground zeroconf concurrent_checks max_connections
              max_connections_per_source alarm_command check_on_release allow_rehearsals
              keep_records);
    }

    /// Settings that contradict each other; to be refused as wrong usage.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        if !self.zeroconf && self.port.is_none() && self.socket.is_none() {
            found.push(Contradiction::Unfindable);
        }
        match &self.address {
            Some(address) if self.use_ipv6 && address.ip().is_ipv4() => {
                found.push(Contradiction::Ipv4Address(address.clone()));
            }
            Some(address) if !self.use_ipv6 && address.ip().is_ipv6() => {
                found.push(Contradiction::Ipv6Address(address.clone()));
            }
            _ => {}
        }
        found
    }
}

/// Settings that exclude each other.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Contradiction {
    /// No announcement, and a port that nobody can know.
    #[error("without zeroconf a port or a socket is needed, or no machine can find the server")]
    Unfindable,
    /// An IPv4 address for an IPv6 socket.
    #[error(
        "address {0} is an IPv4 address; write ::ffff:{0}, or set use_ipv6 = no to use IPv4 alone"
    )]
    Ipv4Address(Address),
    /// An IPv6 address for an IPv4 socket.
    #[error("address {0} is an IPv6 address, but use_ipv6 is off")]
    Ipv6Address(Address),
}

/// The lowest level that is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "the names say all")]
pub enum LogLevel {
    Critical,
    Error,
    Warning,
    Info,
    Debug,
}

impl FromStr for LogLevel {
    type Err = Problem;

    /// In either case.
    fn from_str(text: &str) -> Result<Self, Problem> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "error" => Self::Error,
            "warning" => Self::Warning,
            "info" => Self::Info,
            "debug" => Self::Debug,
            _ => return Err(Problem::LogLevel(text.to_owned())),
        })
    }
}

/// Reads the server's file; `file` is its name in errors. Text values are taken as they are written,
/// so a single `%` is one; numbers and yes/no go through `%(name)s` references, as in Mandos.
pub fn parse(file: &str, text: &str) -> Result<Parsed<PartialServerSettings>, Vec<SettingsError>> {
    let (ini, faults) = Ini::recover(text);
    let mut reader = ServerReader {
        ini: &ini,
        file: file.into(),
        settings: PartialServerSettings::default(),
        warnings: Vec::new(),
    };
    let mut errors: Vec<SettingsError> = faults
        .into_iter()
        .map(|fault| SettingsError {
            place: SettingLocation::new(&reader.file, fault.line, fault.section.as_deref(), None),
            problem: fault.kind.into(),
        })
        .collect();
    for (key, entry) in ini.default_section().entries() {
        if let Err(problem) = reader.take(key, entry) {
            let place = SettingLocation::new(&reader.file, entry.line(), Some(DEFAULT), Some(key));
            errors.push(SettingsError { place, problem });
        }
    }
    for section in ini.sections() {
        let read = DEFAULT;
        reader.warn(
            section.line(),
            section.name(),
            None,
            WarningReason::IgnoredSection { read },
        );
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.place.location.line);
        return Err(errors);
    }
    let mut warnings = reader.warnings;
    warnings.sort_by_key(|warning| warning.place.location.line);
    Ok(Parsed {
        value: reader.settings,
        warnings,
    })
}

/// The place of `key` in the server's file, for a value that is checked elsewhere.
pub fn place_of(file: &str, text: &str, key: &str) -> SettingLocation {
    let (ini, _) = Ini::recover(text);
    let section = ini.default_section();
    let entry = section.entries().find(|(name, _)| *name == key);
    let line = entry.map_or(section.line(), |(_, entry)| entry.line());
    SettingLocation::new(&file.into(), line, Some(DEFAULT), Some(key))
}

/// Every key that means something.
pub const KEYS: [&str; 21] = [
    "interface",
    "address",
    "port",
    "priority",
    "servicename",
    "debug",
    "debuglevel",
    "use_dbus",
    "use_ipv6",
    "restore",
    "statedir",
    "socket",
    "foreground",
    "zeroconf",
    "concurrent_checks",
    "max_connections",
    "max_connections_per_source",
    "alarm_command",
    "check_on_release",
    "allow_rehearsals",
    "keep_records",
];

struct ServerReader<'i> {
    ini: &'i Ini,
    file: Arc<str>,
    settings: PartialServerSettings,
    warnings: Vec<SettingsWarning>,
}

impl ServerReader<'_> {
    fn take(&mut self, key: &str, entry: &IniEntry) -> Result<(), Problem> {
        let raw = entry.value();
        match key {
            "interface" => self.settings.interface = Some(filled(raw)),
            "address" => self.settings.address = Some(optional(raw)?),
            "port" => {
                // Zero asks the kernel for a port, as it does in bind(2).
                let port = self.optional_number(raw, u64::from(u16::MAX))?;
                self.settings.port = Some(port.filter(|port| *port != 0));
            }
            "priority" => self.settings.priority = Some(filled(raw)),
            "servicename" => self.settings.servicename = Some(service_name(raw)?),
            "debug" => self.settings.debug = Some(self.boolean(raw)?),
            "debuglevel" => self.settings.debuglevel = Some(optional(raw)?),
            "use_dbus" => self.settings.use_dbus = Some(self.boolean(raw)?),
            "use_ipv6" => self.settings.use_ipv6 = Some(self.boolean(raw)?),
            "restore" => self.settings.restore = Some(self.boolean(raw)?),
            "statedir" => {
                let path = filled(raw).ok_or(Problem::NoPath)?;
                self.settings.statedir = Some(path.into());
            }
            "socket" => {
                self.settings.socket = Some(self.optional_number(raw, MAX_DESCRIPTORS - 1)?);
            }
            "foreground" => self.settings.foreground = Some(self.boolean(raw)?),
            "zeroconf" => self.settings.zeroconf = Some(self.boolean(raw)?),
            "concurrent_checks" => {
                self.settings.concurrent_checks = Some(self.count(raw, MAX_CHECKS)?);
            }
            "max_connections" => {
                self.settings.max_connections = Some(self.count(raw, MAX_DESCRIPTORS)?);
            }
            "max_connections_per_source" => {
                self.settings.max_connections_per_source = Some(self.count(raw, MAX_DESCRIPTORS)?);
            }
            "alarm_command" => self.settings.alarm_command = Some(filled(raw)),
            "check_on_release" => self.settings.check_on_release = Some(self.boolean(raw)?),
            "allow_rehearsals" => self.settings.allow_rehearsals = Some(self.boolean(raw)?),
            "keep_records" => {
                let text = self.interpolated(raw)?;
                let kept = duration::read(&text)?;
                self.settings.keep_records = Some(kept);
            }
            _ => {
                let reason = match suggest::nearest(key, KEYS) {
                    Some(suggestion) => WarningReason::UnknownKey { suggestion },
                    None => WarningReason::UnknownSetting,
                };
                self.warn(entry.line(), DEFAULT, Some(key), reason);
            }
        }
        Ok(())
    }

    fn boolean(&self, raw: &str) -> Result<bool, Problem> {
        value::boolean(&self.interpolated(raw)?)
    }

    fn count(&self, raw: &str, max: u64) -> Result<usize, Problem> {
        number(&self.interpolated(raw)?, 1, max)
    }

    /// A number from zero up; `None` when the value is empty.
    fn optional_number<N: TryFrom<u64>>(&self, raw: &str, max: u64) -> Result<Option<N>, Problem> {
        match self.interpolated(raw)?.trim_matches(is_space) {
            "" => Ok(None),
            text => number(text, 0, max).map(Some),
        }
    }

    fn interpolated<'v>(&self, raw: &'v str) -> Result<Cow<'v, str>, Problem> {
        let section = self.ini.default_section();
        Ok(interpolate(raw, &|key| section.value(key))?)
    }

    fn warn(&mut self, line: usize, section: &str, key: Option<&str>, reason: WarningReason) {
        let place = SettingLocation::new(&self.file, line, Some(section), key);
        self.warnings.push(SettingsWarning { place, reason });
    }
}

fn number<N: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<N, Problem> {
    let number = value::number(text, min, max)?;
    N::try_from(number).map_err(|_| Problem::Number {
        found: text.to_owned(),
        min,
        max,
    })
}

fn filled(raw: &str) -> Option<String> {
    let text = raw.trim_matches(is_space);
    (!text.is_empty()).then(|| text.to_owned())
}

fn optional<T: FromStr<Err = Problem>>(raw: &str) -> Result<Option<T>, Problem> {
    filled(raw).map(|text| text.parse()).transpose()
}

/// A DNS-SD instance name (RFC 6763, 4.1.1).
fn service_name(raw: &str) -> Result<String, Problem> {
    let name = raw.trim_matches(is_space);
    let fits = (1..=63).contains(&name.len()) && !name.contains(|c: char| c.is_control());
    if fits {
        Ok(name.to_owned())
    } else {
        Err(Problem::ServiceName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
