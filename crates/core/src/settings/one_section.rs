//! A file whose settings are all in one section: those of a machine and of its agent. Values are taken as they are
//! written: a `%` is just that.

use std::sync::Arc;

use super::{
    Parsed, Problem, SettingLocation, SettingsError, SettingsWarning, WarningReason, value,
};
use crate::connect::{ServerList, Target};
use crate::ini::{Ini, IniEntry, IniSection, is_space};
use crate::suggest;

/// The end of a known key that has a name in its place.
const ANY_NAME: &str = ".NAME";

/// The file, and what was found wrong in it so far.
pub(super) struct OneSection {
    file: Arc<str>,
    section: &'static str,
    keys: &'static [&'static str],
    unknown: Unknown,
    errors: Vec<SettingsError>,
    warnings: Vec<SettingsWarning>,
}

/// The treatment of unknown keys and sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unknown {
    Warned,
    /// In a file whose settings restrict something: a misspelt one would leave it allowed.
    Refused,
}

/// Reads the section `section` of a file. `take` is called with each key of it that is one of `keys`. A known key that ends
/// with [`ANY_NAME`] stands for all with the same beginning.
///
/// # Errors
/// All that is wrong in the file, in the order of its lines.
pub(super) fn read<T: Default>(
    file: &str,
    text: &str,
    section: &'static str,
    keys: &'static [&'static str],
    unknown: Unknown,
    mut take: impl FnMut(&mut T, &mut OneSection, &str, &IniEntry) -> Result<(), Problem>,
) -> Result<Parsed<T>, Vec<SettingsError>> {
    let (ini, faults) = Ini::recover(text);
    let mut settings = T::default();
    let mut reader = OneSection {
        file: file.into(),
        section,
        keys,
        unknown,
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    for fault in faults {
        let place = SettingLocation::new(&reader.file, fault.line, fault.section.as_deref(), None);
        let problem = fault.kind.into();
        reader.errors.push(SettingsError { place, problem });
    }
    for section in std::iter::once(ini.default_section()).chain(ini.sections()) {
        reader.section(section, |reader, key, entry| {
            take(&mut settings, reader, key, entry)
        });
    }
    let OneSection {
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

impl OneSection {
    fn section(
        &mut self,
        section: &IniSection,
        mut take: impl FnMut(&mut Self, &str, &IniEntry) -> Result<(), Problem>,
    ) {
        if section.name() != self.section {
            // A `[DEFAULT]` that is not there stands in no line.
            if section.line() > 0 {
                self.unknown_section(section);
            }
            return;
        }
        for (key, entry) in section.entries() {
            if !self.knows(key) {
                self.unknown_key(key, entry);
            } else if let Err(problem) = take(self, key, entry) {
                let place = self.place(entry, key);
                self.errors.push(SettingsError { place, problem });
            }
        }
    }

    fn unknown_section(&mut self, section: &IniSection) {
        let (line, name, read) = (section.line(), section.name(), self.section);
        match self.unknown {
            Unknown::Warned => {
                self.warn(line, name, None, WarningReason::IgnoredSection { read });
            }
            Unknown::Refused => self.errors.push(SettingsError {
                place: SettingLocation::new(&self.file, line, Some(name), None),
                problem: Problem::OtherSection { read },
            }),
        }
    }

    fn unknown_key(&mut self, key: &str, entry: &IniEntry) {
        let suggestion = self.nearest(key);
        match (self.unknown, suggestion) {
            (Unknown::Refused, suggestion) => {
                let place = self.place(entry, key);
                let problem = Problem::UnknownKey { suggestion };
                self.errors.push(SettingsError { place, problem });
            }
            (Unknown::Warned, Some(suggestion)) => {
                let reason = WarningReason::UnknownKey { suggestion };
                self.warn(entry.line(), self.section, Some(key), reason);
            }
            (Unknown::Warned, None) => {
                let reason = WarningReason::UnknownSetting;
                self.warn(entry.line(), self.section, Some(key), reason);
            }
        }
    }

    fn knows(&self, key: &str) -> bool {
        self.keys.iter().any(|known| match family(known) {
            Some(family) => in_family(key, family).is_some(),
            None => key == *known,
        })
    }

    /// The known key that was probably meant.
    fn nearest(&self, key: &str) -> Option<&'static str> {
        let keys = self.keys.iter().copied();
        let written = match key.split_once('.') {
            Some((family, _)) => format!("{family}{ANY_NAME}"),
            None => key.to_owned(),
        };
        suggest::nearest(&written, keys)
    }

    /// The servers of `list`, the value of `connect`. All faults of the list are reported.
    pub(super) fn servers(&mut self, entry: &IniEntry, list: &str) -> Result<Vec<Target>, Problem> {
        let servers = ServerList::parse_list(list);
        for word in servers.repeated {
            let reason = WarningReason::RepeatedServer(word);
            self.warn(entry.line(), self.section, Some("connect"), reason);
        }
        let place = self.place(entry, "connect");
        let errors = servers.refused.into_iter().map(|refused| SettingsError {
            place: place.clone(),
            problem: Problem::Connect(Box::new(refused)),
        });
        let before = self.errors.len();
        self.errors.extend(errors);
        let named = servers.named.into_iter();
        let targets: Vec<Target> = named.map(|server| server.target).collect();
        match filled(list) {
            Some(list) if targets.is_empty() && self.errors.len() == before => {
                Err(Problem::NoServer(list.to_owned()))
            }
            _ => Ok(targets),
        }
    }

    fn place(&self, entry: &IniEntry, key: &str) -> SettingLocation {
        SettingLocation::new(&self.file, entry.line(), Some(self.section), Some(key))
    }

    fn warn(&mut self, line: usize, section: &str, key: Option<&str>, reason: WarningReason) {
        let place = SettingLocation::new(&self.file, line, Some(section), key);
        self.warnings.push(SettingsWarning { place, reason });
    }
}

/// The beginning of the keys that a known one with a name in it stands for.
fn family(known: &'static str) -> Option<&'static str> {
    known.strip_suffix(ANY_NAME)
}

/// The name in `key`, if it is `FAMILY.` and a name.
pub(super) fn in_family<'k>(key: &'k str, family: &str) -> Option<&'k str> {
    key.strip_prefix(family)?.strip_prefix('.')
}

/// The value, unless it is empty, which means the default.
pub(super) fn filled(raw: &str) -> Option<&str> {
    Some(raw).filter(|text| !text.is_empty())
}

/// The words of a list, with commas or white space between them.
pub(super) fn words(raw: &str) -> impl Iterator<Item = &str> {
    let words = raw.split(|letter| letter == ',' || is_space(letter));
    words.filter(|word| !word.is_empty())
}

pub(super) fn yes_or_no(raw: &str, default: bool) -> Result<bool, Problem> {
    filled(raw).map_or(Ok(default), value::boolean)
}

/// Reads `lines` of the section of `SECTION.conf`. All errors are in one text; a warning is a failure of the test.
#[cfg(test)]
pub(super) fn in_test<T>(
    section: &str,
    lines: &str,
    parse: impl Fn(&str, &str) -> Result<Parsed<T>, Vec<SettingsError>>,
) -> Result<T, String> {
    let file = format!("{section}.conf");
    let parsed = parse(&file, &format!("[{section}]\n{lines}")).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        errors.join("\n")
    })?;
    assert_eq!(parsed.warnings, []);
    Ok(parsed.value)
}
