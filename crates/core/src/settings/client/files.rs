//! Several files as one configuration: `clients.conf` first, then the files of `clients.d`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::change::SECRET;
use super::secrets;
use super::section::SectionReader;
use super::{ParsedClient, Setting};
use crate::ini::{Ini, IniEntry, IniSection};
use crate::interpolate::references;
use crate::key_id::KeyId;
use crate::settings::{
    Location, Parsed, Problem, SettingLocation, SettingsError, SettingsWarning, WarningReason,
};
use crate::suggest;

/// Keys that a section may have beside the settings in the table.
const OTHER_KEYS: [&str; 3] = ["secfile", SECRET, "ssh_fingerprint"];

/// Every key that is known, in alphabetical order.
pub fn keys() -> Vec<&'static str> {
    let settings = Setting::ALL.iter().map(|it| it.key());
    let named = [secrets::SECRET_KEY, secrets::POLICY_KEY];
    let mut keys: Vec<_> = settings.chain(OTHER_KEYS).chain(named).collect();
    keys.sort_unstable();
    keys
}

/// Reads the clients from files, each with its name and text, in the order given.
///
/// `[DEFAULT]` of the first file holds for every client; that of a later file for its own clients,
/// before the first one's. A client may stand in one file only. Two clients with the same key id
/// are legal, as in Mandos: the first one is found.
pub fn parse(files: &[(String, String)]) -> Result<Parsed<Vec<ParsedClient>>, Vec<SettingsError>> {
    parse_with(files, NamedFaults::Refused).map(|(parsed, _)| parsed)
}

/// The same for a start, where there is no earlier configuration to keep: a fault of a named secret leaves out only that
/// secret, and one of a policy stands for approval. Returns these faults too.
pub fn parse_for_start(files: &[(String, String)]) -> Result<ParsedForStart, Vec<SettingsError>> {
    parse_with(files, NamedFaults::Spared)
}

/// The clients, and the faults of named secrets that are left out.
pub type ParsedForStart = (Parsed<Vec<ParsedClient>>, Vec<SettingsError>);

fn parse_with(
    files: &[(String, String)],
    named_faults: NamedFaults,
) -> Result<ParsedForStart, Vec<SettingsError>> {
    let mut errors = Findings::default();
    let mut warnings = Findings::default();
    let files: Vec<File> = files
        .iter()
        .enumerate()
        .map(|(index, (name, text))| read_file(index, name, text, &mut errors))
        .collect();
    let mut spared = (named_faults == NamedFaults::Spared).then(Findings::default);
    let clients = read_clients(&files, &mut errors, &mut warnings, spared.as_mut());
    refuse_shared_host_keys(&clients, &mut errors);
    if !errors.is_empty() {
        return Err(errors.sorted(|error| &error.place));
    }
    warn_about_unknown_keys(&files, &mut warnings);
    warn_about_shared_key_ids(&clients, &mut warnings);
    let parsed = Parsed {
        value: clients.into_iter().map(|found| found.client).collect(),
        warnings: warnings.sorted(|warning| &warning.place),
    };
    let spared = spared.unwrap_or_default();
    Ok((parsed, spared.sorted(|error| &error.place)))
}

/// The treatment of faults of named secrets and policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NamedFaults {
    Refused,
    Spared,
}

/// A file's name and what it holds.
type File = (Arc<str>, Ini);

/// A client, the position of its file, and where its keys are set.
struct LocatedClient {
    file: usize,
    client: ParsedClient,
    key_id: SettingLocation,
    host_key_id: SettingLocation,
}

fn read_file(index: usize, name: &str, text: &str, errors: &mut Findings<SettingsError>) -> File {
    let name: Arc<str> = name.into();
    let (ini, faults) = Ini::recover(text);
    for fault in faults {
        let place = SettingLocation::new(&name, fault.line, fault.section.as_deref(), None);
        let problem = fault.kind.into();
        errors.add(index, SettingsError { place, problem });
    }
    (name, ini)
}

fn read_clients(
    files: &[File],
    errors: &mut Findings<SettingsError>,
    warnings: &mut Findings<SettingsWarning>,
    mut spared: Option<&mut Findings<SettingsError>>,
) -> Vec<LocatedClient> {
    let Some((main_name, main)) = files.first() else {
        return Vec::new();
    };
    let mut clients = Vec::new();
    let mut seen: HashMap<&str, Location> = HashMap::new();
    for (index, (name, ini)) in files.iter().enumerate() {
        for section in ini.sections() {
            let mut reader = SectionReader {
                chain: [
                    (section, name),
                    (ini.default_section(), name),
                    (main.default_section(), main_name),
                ],
                errors: Vec::new(),
                spared: spared.is_some().then(Vec::new),
                warnings: Vec::new(),
            };
            if let Some(client) = reader.client() {
                clients.push(LocatedClient {
                    file: index,
                    client,
                    key_id: reader.place("key_id"),
                    host_key_id: reader.place("host_key_id"),
                });
            }
            errors.extend(index, reader.errors);
            if let Some(spared) = &mut spared {
                spared.extend(index, reader.spared.unwrap_or_default());
            }
            warnings.extend(index, reader.warnings);
            let place = SettingLocation::new(name, section.line(), Some(section.name()), None);
            if let Some(first) = seen.get(section.name()) {
                let first = first.clone();
                let problem = Problem::DuplicateClient { first };
                errors.add(index, SettingsError { place, problem });
            } else {
                seen.insert(section.name(), place.location);
            }
        }
    }
    clients
}

/// Warns of keys that nothing uses and that look like one that something does.
fn warn_about_unknown_keys(files: &[File], warnings: &mut Findings<SettingsWarning>) {
    let sections = || {
        files.iter().enumerate().flat_map(|(index, (name, ini))| {
            std::iter::once(ini.default_section())
                .chain(ini.sections())
                .map(move |section| (index, name, section))
        })
    };
    let values = sections().flat_map(|(_, _, section)| section.entries());
    let used: HashSet<String> = values
        .flat_map(|(_, entry)| references(entry.value()))
        .collect();
    for (index, name, section) in sections() {
        for (key, entry) in unknown(section).filter(|(key, _)| !used.contains(*key)) {
            if let Some(suggestion) = suggest::nearest(key, keys()) {
                let place =
                    SettingLocation::new(name, entry.line(), Some(section.name()), Some(key));
                let reason = WarningReason::UnknownKey { suggestion };
                warnings.add(index, SettingsWarning { place, reason });
            }
        }
    }
}

fn unknown(section: &IniSection) -> impl Iterator<Item = (&str, &IniEntry)> {
    let known = |key: &str| {
        Setting::by_key(key).is_some() || OTHER_KEYS.contains(&key) || secrets::is_key(key)
    };
    section.entries().filter(move |(key, _)| !known(key))
}

/// Refuses host keys that are a boot key, or the host key of an earlier client: which machine is up must be certain.
fn refuse_shared_host_keys(clients: &[LocatedClient], errors: &mut Findings<SettingsError>) {
    let mut owners: HashMap<KeyId, String> = HashMap::new();
    for LocatedClient { client, .. } in clients {
        if let Some(key_id) = client.settings.key_id {
            let of = || format!("the key_id of [{}] ({})", client.name, client.origin);
            owners.entry(key_id).or_insert_with(of);
        }
    }
    for found in clients {
        let client = &found.client;
        let Some(host_key_id) = client.settings.host_key_id else {
            continue;
        };
        if let Some(of) = owners.get(&host_key_id).cloned() {
            let place = SettingLocation {
                section: Some(client.name.to_string()),
                ..found.host_key_id.clone()
            };
            let problem = Problem::HostKeyTaken { of };
            errors.add(found.file, SettingsError { place, problem });
        } else {
            let of = format!("the host_key_id of [{}] ({})", client.name, client.origin);
            owners.insert(host_key_id, of);
        }
    }
}

/// Warns of clients whose key id belongs to an earlier one.
fn warn_about_shared_key_ids(clients: &[LocatedClient], warnings: &mut Findings<SettingsWarning>) {
    let mut owners: HashMap<KeyId, &ParsedClient> = HashMap::new();
    for found in clients {
        let Some(key_id) = found.client.settings.key_id else {
            continue;
        };
        if let Some(first) = owners.get(&key_id) {
            let reason = WarningReason::SameKeyId {
                first_name: first.name.to_string(),
                first: first.origin.clone(),
            };
            let place = SettingLocation {
                // A key id inherited from [DEFAULT] is still this client's.
                section: Some(found.client.name.to_string()),
                ..found.key_id.clone()
            };
            warnings.add(found.file, SettingsWarning { place, reason });
        } else {
            owners.insert(key_id, &found.client);
        }
    }
}

/// Errors or warnings, each with the position of its file. The same fault of a value that many clients inherit is found
/// many times and reported once.
struct Findings<T>(Vec<(usize, T)>);

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Findings<T> {
    fn add(&mut self, file: usize, finding: T) {
        self.0.push((file, finding));
    }

    fn extend(&mut self, file: usize, findings: Vec<T>) {
        let findings = findings.into_iter().map(|finding| (file, finding));
        self.0.extend(findings);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of files and lines.
    fn sorted(mut self, place: impl Fn(&T) -> &SettingLocation) -> Vec<T> {
        self.0.sort_by(|(file_a, a), (file_b, b)| {
            let (a, b) = (place(a), place(b));
            let key = |file: usize, place: &SettingLocation| (file, place.location.line);
            key(*file_a, a)
                .cmp(&key(*file_b, b))
                .then_with(|| a.key.cmp(&b.key))
                .then_with(|| a.section.cmp(&b.section))
        });
        self.0.dedup_by(|(_, a), (_, b)| a == b);
        self.0.into_iter().map(|(_, finding)| finding).collect()
    }
}
