//! A machine's own settings: `[client]` of `client.conf`, which decides what goes into its boot image and
//! how it reboots.

use std::time::Duration;

use super::one_section::{self, OneSection, Unknown, filled, yes_or_no};
use super::{Parsed, Problem, SettingsError};
use crate::connect::{Target, is_interface_name};
use crate::duration;
use crate::ini::{IniEntry, is_space};

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
    one_section::read(file, text, SECTION, &KEYS, Unknown::Warned, take)
}

fn take(
    settings: &mut MachineSettings,
    section: &mut OneSection,
    key: &str,
    entry: &IniEntry,
) -> Result<(), Problem> {
    let raw = entry.value().trim_matches(is_space);
    let default = MachineSettings::default();
    match key {
        "connect" => settings.connect = section.servers(entry, without_comment(raw)?)?,
        "interface" => settings.interfaces = interfaces(without_comment(raw)?)?,
        "network" => settings.network = yes_or_no(raw, default.network)?,
        "options" => settings.options = options(without_comment(raw)?)?,
        "downtime" => settings.downtime = filled(raw).map(duration::read).transpose()?,
        "inhibit" => settings.inhibit = yes_or_no(raw, default.inhibit)?,
        // `KEYS` has no other.
        _ => {}
    }
    Ok(())
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
