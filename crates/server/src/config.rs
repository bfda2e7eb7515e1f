//! Reads a configuration directory: the file of the server, the clients, their secrets.
//!
//! Everything is read before root is dropped, and every fault is reported, not only the first one.

mod fault;
mod files;
mod folder;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nightlatch_core::registry::ConfiguredClients;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{
    self, ClientConfig, ParsedClient, ParsedForStart, SecretSource,
};
use nightlatch_core::settings::server::{self, PartialServerSettings};
use nightlatch_core::settings::{self, Parsed, SettingsError, SettingsWarning, path};
use nightlatch_proto::priority::Priority;
use nightlatch_sys::privileges::{self, Account};
use zeroize::Zeroizing;

pub use fault::{ConfigFault, InvalidConfig};
use files::{read, read_private};
use folder::ClientFiles;

/// Largest configuration file in bytes. 100,000 clients take some 85 MB.
const MAX_FILE: u64 = 1 << 30;

/// Largest secret in bytes; no disk needs a larger one.
const MAX_SECRET: u64 = 1 << 20;

/// The server's file: ours, else that of Mandos.
const SERVER_FILES: [&str; 2] = ["nightlatch.conf", "mandos.conf"];

const CLIENTS_FILE: &str = "clients.conf";
const CLIENTS_FOLDER: &str = "clients.d";

/// The contents of a configuration directory.
#[derive(Debug)]
pub struct Configuration {
    /// The server's file, if there is one.
    pub server_file: Option<PathBuf>,
    pub server: PartialServerSettings,
    /// Every client, in the order of the files.
    pub clients: Vec<ClientConfig>,
    /// The files that clients were read from.
    pub client_files: Vec<PathBuf>,
    /// Warnings for the administrator, a line each.
    pub warnings: Vec<String>,
    /// Faults of files in `clients.d`, which are not used. Empty unless [`read_for_start`] tolerated them.
    pub faults: Vec<ConfigFault>,
    /// Faults of named secrets, which are left out. Empty unless [`read_for_start`] tolerated them.
    pub left_out: Vec<SettingsError>,
    /// True when `clients.d` has a dangling link.
    pub is_dangling: bool,
}

impl Configuration {
    /// The clients, with a mark when some may be missing.
    pub fn into_configured(self) -> ConfiguredClients {
        ConfiguredClients {
            is_complete: self.faults.is_empty() && !self.is_dangling,
            clients: self.clients,
        }
    }

    /// Refuses a configuration in which any file is faulty.
    fn whole(self) -> Result<Self, InvalidConfig> {
        if self.faults.is_empty() {
            return Ok(self);
        }
        Err(InvalidConfig {
            faults: self.faults,
        })
    }
}

/// Reads only the server's file of `folder`; defaults if there is none.
pub fn read_server(
    folder: &Path,
) -> Result<(Option<PathBuf>, Parsed<PartialServerSettings>), InvalidConfig> {
    for name in SERVER_FILES {
        let file = folder.join(name);
        let bytes = match read(&file, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(ConfigFault::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                continue;
            }
            Err(fault) => return Err(fault.into()),
        };
        let shown = file.display().to_string();
        let parsed = settings::text(&shown, &bytes)
            .map_err(|error| vec![error])
            .and_then(|text| Ok((server::parse(&shown, text)?, text)));
        return match parsed {
            Ok((parsed, text)) => {
                check_priority(&shown, text, &parsed.value)?;
                Ok((Some(file), parsed))
            }
            Err(errors) => Err(InvalidConfig {
                faults: errors.into_iter().map(ConfigFault::from).collect(),
            }),
        };
    }
    Ok((
        None,
        Parsed {
            value: PartialServerSettings::default(),
            warnings: Vec::new(),
        },
    ))
}

/// Refuses a priority string that is not supported. The parser of the settings does not know TLS.
fn check_priority(
    shown: &str,
    text: &str,
    settings: &PartialServerSettings,
) -> Result<(), ConfigFault> {
    let given = settings.priority.as_ref().and_then(Option::as_deref);
    match given.map(str::parse::<Priority>) {
        Some(Err(problem)) => Err(ConfigFault::Priority {
            place: server::place_of(shown, text, "priority"),
            problem,
        }),
        _ => Ok(()),
    }
}

/// Reads everything in `folder`; any fault refuses all of it. `service` is the account that may read secrets
/// besides root.
pub fn read_all(folder: &Path, service: Option<&Account>) -> Result<Configuration, InvalidConfig> {
    read_with(
        folder,
        |texts| Ok((client::parse(texts)?, Vec::new())),
        service,
    )?
    .whole()
}

/// Reads everything for a server that starts: a faulty file of `clients.d` is left out, and the clients of the
/// other files are served; of a section whose named secrets have faults only these are left out. At a start there is
/// no earlier configuration to keep.
pub fn read_for_start(
    folder: &Path,
    service: Option<&Account>,
) -> Result<Configuration, InvalidConfig> {
    read_with(folder, client::parse_for_start, service)
}

/// Makes sections of the files' texts.
type ParseClients = fn(&[(String, String)]) -> Result<ParsedForStart, Vec<SettingsError>>;

fn read_with(
    folder: &Path,
    parse: ParseClients,
    service: Option<&Account>,
) -> Result<Configuration, InvalidConfig> {
    if let Err(source) = fs::read_dir(folder) {
        return Err(ConfigFault::Unreadable {
            path: folder.to_owned(),
            source,
        }
        .into());
    }
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    let (server_file, server) = match read_server(folder) {
        Ok((file, parsed)) => {
            warn(&mut warnings, parsed.warnings);
            (file, parsed.value)
        }
        Err(error) => {
            faults.extend(error.faults);
            (None, PartialServerSettings::default())
        }
    };
    let files = folder::client_files(folder).unwrap_or_else(|fault| {
        faults.push(fault);
        ClientFiles::default()
    });
    let clients = read_tolerantly(&files, parse, service);
    let fatal = |fault: &ConfigFault| !fault.file().is_some_and(|file| files.more.contains(&file));
    if !faults.is_empty() || clients.faults.iter().any(fatal) {
        faults.extend(clients.faults);
        return Err(InvalidConfig { faults });
    }
    warn(&mut warnings, clients.warnings);
    warnings.extend(files.left_out);
    if clients.clients.is_empty() {
        warnings.push(format!(
            "{}: no clients are defined",
            folder.join(CLIENTS_FILE).display()
        ));
    }
    Ok(Configuration {
        server_file,
        server,
        clients: clients.clients,
        client_files: clients.files,
        warnings,
        faults: clients.faults,
        left_out: clients.left_out,
        is_dangling: files.is_dangling,
    })
}

fn warn(warnings: &mut Vec<String>, found: Vec<SettingsWarning>) {
    warnings.extend(found.iter().map(ToString::to_string));
}

/// The contents of the files with clients, and the faults of those that are not used.
struct ClientsRead {
    files: Vec<PathBuf>,
    clients: Vec<ClientConfig>,
    warnings: Vec<SettingsWarning>,
    faults: Vec<ConfigFault>,
    left_out: Vec<SettingsError>,
}

/// Reads all files without faults. Leaving one out may change the faults of others, so this is repeated until
/// the rest has none.
fn read_tolerantly(
    files: &ClientFiles,
    parse: ParseClients,
    service: Option<&Account>,
) -> ClientsRead {
    let mut left: Vec<PathBuf> = files.main.iter().chain(&files.more).cloned().collect();
    let mut faults: Vec<ConfigFault> = Vec::new();
    loop {
        let found = match read_clients(files.main.as_deref(), &left, parse, service) {
            Ok((parsed, left_out)) => {
                return ClientsRead {
                    files: left,
                    clients: parsed.value,
                    warnings: parsed.warnings,
                    faults,
                    left_out,
                };
            }
            Err(error) => error.faults,
        };
        let faulty: HashSet<Option<PathBuf>> = found.iter().map(ConfigFault::file).collect();
        let before = left.len();
        left.retain(|file| !faulty.contains(&Some(file.clone())));
        faults.extend(found);
        // Without progress the fault belongs to no single file, and is fatal.
        let main_is_whole = files.main.as_ref().is_none_or(|main| left.contains(main));
        if left.len() == before || !main_is_whole {
            return ClientsRead {
                files: Vec::new(),
                clients: Vec::new(),
                warnings: Vec::new(),
                faults,
                left_out: Vec::new(),
            };
        }
    }
}

fn read_clients(
    main: Option<&Path>,
    files: &[PathBuf],
    parse: ParseClients,
    service: Option<&Account>,
) -> Result<(Parsed<Vec<ClientConfig>>, Vec<SettingsError>), InvalidConfig> {
    let mut faults = Vec::new();
    let mut texts = Vec::new();
    if main.is_none() {
        // The [DEFAULT] of the first text holds for all of them: no file of `clients.d` may be the first.
        texts.push((CLIENTS_FILE.to_owned(), String::new()));
    }
    for file in files {
        match read_private(file, MAX_FILE, service) {
            Ok(bytes) => {
                let shown = file.display().to_string();
                match settings::text(&shown, &bytes) {
                    Ok(text) => texts.push((shown, text.to_owned())),
                    Err(error) => faults.push(error.into()),
                }
            }
            Err(fault) => faults.push(fault),
        }
    }
    let parsed = parse(&texts);
    // The texts contain the encrypted secrets.
    drop(
        texts
            .into_iter()
            .map(|(_, text)| Zeroizing::new(text))
            .collect::<Vec<_>>(),
    );
    let (parsed, left_out) = match parsed {
        Ok(parsed) => parsed,
        Err(errors) => {
            faults.extend(errors.into_iter().map(ConfigFault::from));
            return Err(InvalidConfig { faults });
        }
    };
    let mut clients = Vec::with_capacity(parsed.value.len());
    for ParsedClient {
        name,
        settings,
        secret,
        named,
        ..
    } in parsed.value
    {
        match resolve(name.as_str(), secret, service) {
            Ok(secret) => clients.push(ClientConfig {
                name,
                settings,
                secret,
                named,
            }),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(InvalidConfig { faults });
    }
    let parsed = Parsed {
        value: clients,
        warnings: parsed.warnings,
    };
    Ok((parsed, left_out))
}

fn resolve(
    client: &str,
    secret: SecretSource,
    service: Option<&Account>,
) -> Result<Secret, ConfigFault> {
    let (path, origin) = match secret {
        SecretSource::Inline(secret) => return Ok(secret),
        SecretSource::File { path, origin } => (path, origin),
    };
    let path = path::expand(&path, |name| std::env::var(name).ok(), home);
    let client = client.to_owned();
    match read_private(&path, MAX_SECRET, service) {
        Ok(bytes) if bytes.is_empty() => Err(ConfigFault::EmptySecret {
            origin,
            client,
            path,
        }),
        Ok(mut bytes) => Ok(Secret::new(std::mem::take(&mut *bytes))),
        Err(ConfigFault::Unreadable { path, source }) => Err(ConfigFault::Secret {
            origin,
            client,
            path,
            source,
        }),
        Err(fault) => Err(ConfigFault::BadSecretFile {
            origin,
            client,
            fault: Box::new(fault),
        }),
    }
}

fn home(user: Option<&str>) -> Option<String> {
    match user {
        None => std::env::var("HOME").ok(),
        Some(user) => privileges::account(user)
            .ok()
            .flatten()
            .map(|account| account.home),
    }
}
