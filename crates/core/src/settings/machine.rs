//! A machine's own settings: `[client]` of `client.conf`, which decides what goes into its boot image and
//! how it reboots.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Parsed, Problem, SettingLocation, SettingsError, SettingsWarning, WarningReason, value,
};
use crate::connect::{ServerList, Target, is_interface_name};
use crate::duration;
use crate::ini::{Ini, IniEntry, IniSection, is_space};
use crate::suggest;

/// The one section that is read.
const SECTION: &str = "client";

/// Everything `[client]` can say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSettings {
    /// Connect to these servers, side by side, instead of searching.
    pub connect: Vec<Target>,
    /// Use these interfaces only, in this order. None: all that suit.
    pub interfaces: Vec<String>,
    /// True when the links of the host (VLANs, bonds, bridges) are copied into the image.
    pub network: bool,
    /// More options of the client, each a word of its command line.
    pub options: Vec<String>,
    /// The longest time from the begin of a reboot to the request.
    pub downtime: Option<Duration>,
    /// True when a reboot is prevented after which the machine would not come back.
    pub inhibit: bool,
}

impl Default for MachineSettings {
    fn default() -> Self {
        Self {
            connect: Vec::new(),
            interfaces: Vec::new(),
            network: true,
            options: Vec::new(),
            downtime: None,
            inhibit: false,
        }
    }
}

impl MachineSettings {
    /// The client's command line that these settings mean, `options` last.
    pub fn arguments(&self) -> Vec<String> {
        let targets = self.connect.iter();
        let mut arguments: Vec<String> = targets.map(|it| format!("--connect={it}")).collect();
        if !self.interfaces.is_empty() {
            arguments.push(format!("--interface={}", self.interfaces.join(",")));
        }
        arguments.extend(self.options.iter().cloned());
        arguments
    }
}

/// Every key that means something.
pub const KEYS: [&str; 6] = [
    "connect",
    "interface",
    "network",
    "options",
    "downtime",
    "inhibit",
];

/// Reads the machine's file; `file` is its name in errors. Values are taken as they are written: a `%` is
/// just that. An empty value is the default.
///
/// # Errors
/// All that is wrong in the file, in the order of its lines.
pub fn parse(file: &str, text: &str) -> Result<Parsed<MachineSettings>, Vec<SettingsError>> {
    let (ini, faults) = Ini::recover(text);
    let mut reader = MachineReader {
        file: file.into(),
        settings: MachineSettings::default(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    for fault in faults {
        let place = SettingLocation::new(&reader.file, fault.line, fault.section.as_deref(), None);
        let problem = fault.kind.into();
        reader.errors.push(SettingsError { place, problem });
    }
    for section in std::iter::once(ini.default_section()).chain(ini.sections()) {
        reader.section(section);
    }
    let MachineReader {
        settings,
        mut errors,
        mut warnings,
        ..
    } = reader;
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.place.location.line);
        return Err(errors);
    }
    warnings.sort_by_key(|warning| warning.place.location.line);
    Ok(Parsed {
        value: settings,
        warnings,
    })
}

struct MachineReader {
    file: Arc<str>,
    settings: MachineSettings,
    errors: Vec<SettingsError>,
    warnings: Vec<SettingsWarning>,
}

impl MachineReader {
    fn section(&mut self, section: &IniSection) {
        if section.name() != SECTION {
            // A `[DEFAULT]` that is not there stands in no line.
            if section.line() > 0 {
                let reason = WarningReason::IgnoredSection { read: SECTION };
                self.warn(section.line(), section.name(), None, reason);
            }
            return;
        }
        for (key, entry) in section.entries() {
            if let Err(problem) = self.take(key, entry) {
                let place =
                    SettingLocation::new(&self.file, entry.line(), Some(SECTION), Some(key));
                self.errors.push(SettingsError { place, problem });
            }
        }
    }

    fn take(&mut self, key: &str, entry: &IniEntry) -> Result<(), Problem> {
        let raw = entry.value().trim_matches(is_space);
        let settings = &mut self.settings;
        let default = MachineSettings::default();
        match key {
            "connect" => self.take_servers(entry, without_comment(raw)?)?,
            "interface" => settings.interfaces = interfaces(without_comment(raw)?)?,
            "network" => settings.network = yes_or_no(raw, default.network)?,
            "options" => settings.options = options(without_comment(raw)?)?,
            "downtime" => settings.downtime = filled(raw).map(duration::read).transpose()?,
            "inhibit" => settings.inhibit = yes_or_no(raw, default.inhibit)?,
            _ => {
                let reason = match suggest::nearest(key, KEYS) {
                    Some(suggestion) => WarningReason::UnknownKey { suggestion },
                    None => WarningReason::UnknownSetting,
                };
                self.warn(entry.line(), SECTION, Some(key), reason);
            }
        }
        Ok(())
    }

    /// All faults of the list are reported.
    fn take_servers(&mut self, entry: &IniEntry, list: &str) -> Result<(), Problem> {
        let servers = ServerList::parse_list(list);
        for word in servers.repeated {
            let reason = WarningReason::RepeatedServer(word);
            self.warn(entry.line(), SECTION, Some("connect"), reason);
        }
        let place = SettingLocation::new(&self.file, entry.line(), Some(SECTION), Some("connect"));
        let errors = servers.refused.into_iter().map(|refused| SettingsError {
            place: place.clone(),
            problem: Problem::Connect(Box::new(refused)),
        });
        let before = self.errors.len();
        self.errors.extend(errors);
        let named = servers.named.into_iter();
        self.settings.connect = named.map(|server| server.target).collect();
        match filled(list) {
            Some(list) if self.settings.connect.is_empty() && self.errors.len() == before => {
                Err(Problem::NoServer(list.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn warn(&mut self, line: usize, section: &str, key: Option<&str>, reason: WarningReason) {
        let place = SettingLocation::new(&self.file, line, Some(section), key);
        self.warnings.push(SettingsWarning { place, reason });
    }
}

fn filled(raw: &str) -> Option<&str> {
    Some(raw).filter(|text| !text.is_empty())
}

fn yes_or_no(raw: &str, default: bool) -> Result<bool, Problem> {
    filled(raw).map_or(Ok(default), value::boolean)
}

/// Names with commas or white space between them.
fn interfaces(raw: &str) -> Result<Vec<String>, Problem> {
    let names = raw.split(|c: char| c == ',' || is_space(c) || c == '\n');
    let names = names.filter(|name| !name.is_empty());
    names
        .map(|name| match is_interface_name(name) {
            true => Ok(name.to_owned()),
            false => Err(Problem::Interface(name.to_owned())),
        })
        .collect()
}

/// Refuses `#` in a part of the client's command line, which stands in a file whose comments begin with it. The
/// kernel allows that character even in the name of an interface.
fn without_comment(raw: &str) -> Result<&str, Problem> {
    match raw.split_whitespace().find(|word| word.contains('#')) {
        Some(bad) => Err(Problem::Comment(bad.to_owned())),
        None => Ok(raw),
    }
}

/// Words with white space between them.
fn options(raw: &str) -> Result<Vec<String>, Problem> {
    let words = raw.split_whitespace();
    match words.clone().next() {
        Some(first) if !first.starts_with('-') => Err(Problem::NoOption(first.to_owned())),
        _ => Ok(words.map(str::to_owned).collect()),
    }
}

#[cfg(test)]
mod tests;
