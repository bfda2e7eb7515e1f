//! Reads a configuration directory: one file of the server, its clients, their secrets.
//!
//! Everything is read before privileges are dropped, and every fault is reported, not the first one.

mod files;
mod folder;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nightlatch_core::registry::ConfiguredClients;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{self, ClientConfig, ParsedClient, SecretSource};
use nightlatch_core::settings::server::{self, PartialServerSettings};
use nightlatch_core::settings::{
    self, Location, Parsed, Place, SettingsError, SettingsWarning, path,
};
use nightlatch_proto::priority::{Priority, PriorityError};
use nightlatch_sys::privileges::{self, Account};
use zeroize::Zeroizing;

use files::{read, read_private};
use folder::ClientFiles;

/// A configuration file of more than this is none. 100,000 clients take some 85 MB.
const MAX_FILE: u64 = 1 << 30;

/// A secret of more than this opens no disk.
const MAX_SECRET: u64 = 1 << 20;

/// The server's own file: ours, else that of Mandos as it is.
const SERVER_FILES: [&str; 2] = ["nightlatch.conf", "mandos.conf"];

const CLIENTS_FILE: &str = "clients.conf";
const CLIENTS_FOLDER: &str = "clients.d";

/// What a configuration directory says.
#[derive(Debug)]
pub struct Configuration {
    /// The server's file, where there is one.
    pub server_file: Option<PathBuf>,
    /// What it says.
    pub server: PartialServerSettings,
    /// Every client, in the order of the files.
    pub clients: Vec<ClientConfig>,
    /// The files that clients were read from.
    pub client_files: Vec<PathBuf>,
    /// What the administrator may want to know.
    pub warnings: Vec<String>,
    /// What is wrong with files of `clients.d`, which are not used. Empty unless they were to be tolerated.
    pub faults: Vec<Fault>,
    /// True when `clients.d` has a link that leads nowhere.
    pub is_dangling: bool,
}

impl Configuration {
    /// The clients, and whether they are all there are.
    pub fn into_configured(self) -> ConfiguredClients {
        ConfiguredClients {
            is_complete: self.faults.is_empty() && !self.is_dangling,
            clients: self.clients,
        }
    }

    /// The same, refused when anything is wrong with any file.
    fn whole(self) -> Result<Self, ConfigError> {
        if self.faults.is_empty() {
            return Ok(self);
        }
        Err(ConfigError {
            faults: self.faults,
        })
    }
}

/// What is wrong with a configuration; nothing of it is used.
#[derive(Debug)]
pub struct ConfigError {
    /// Each fault with its hint, in the order of files and lines.
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] SettingsError),
    /// A file or folder that cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file larger than any of its kind.
    #[error("{}: expected at most {limit} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How much is read.
        limit: u64,
    },
    /// A file of secrets that others can read.
    #[error("{}: holds secrets, and others can read it (mode {mode:04o})", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A priority string that this server cannot honour.
    #[error("{place} {problem}")]
    Priority {
        /// Where it is set.
        place: Place,
        /// Why not.
        problem: PriorityError,
    },
    /// A client's secret file.
    #[error("{origin}: [{client}] secfile: {}: cannot be read", path.display())]
    Secret {
        /// Where it is set.
        origin: Location,
        /// Whose.
        client: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A client's secret file without anything in it.
    #[error("{origin}: [{client}] secfile: {}: expected an encrypted secret, found an empty file", path.display())]
    EmptySecret {
        /// Where it is set.
        origin: Location,
        /// Whose.
        client: String,
        /// The file.
        path: PathBuf,
    },
    /// Anything else about a client's secret file.
    #[error("{origin}: [{client}] secfile: {fault}")]
    BadSecretFile {
        /// Where it is set.
        origin: Location,
        /// Whose.
        client: String,
        /// What is wrong with the file.
        fault: Box<Fault>,
    },
}

impl Fault {
    /// The configuration's file that it is in.
    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Setting(SettingsError { place, .. }) | Self::Priority { place, .. } => {
                Some(PathBuf::from(&*place.location.file))
            }
            Self::Unreadable { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Exposed { path, .. } => Some(path.clone()),
            Self::Secret { origin, .. }
            | Self::EmptySecret { origin, .. }
            | Self::BadSecretFile { origin, .. } => Some(PathBuf::from(&*origin.file)),
        }
    }

    /// How to mend it, where the fault itself does not say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Priority { .. } => Some(format!(
                "leave the line out, for {}",
                nightlatch_proto::priority::DEFAULT
            )),
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::BadSecretFile { fault, .. } => fault.hint(),
            Self::Unreadable { source, .. } | Self::Secret { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && !privileges::is_root() =>
            {
                Some("only root can read it: restart the server, which reads it as root".into())
            }
            Self::Unreadable { source, path } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!(
                    "make {} or name another folder with --configdir",
                    path.display()
                ))
            }
            _ => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the configuration has a fault"),
            number => write!(f, "the configuration has {number} faults"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads the server's file of `folder` alone; defaults where there is none.
pub fn read_server(
    folder: &Path,
) -> Result<(Option<PathBuf>, Parsed<PartialServerSettings>), ConfigError> {
    for name in SERVER_FILES {
        let file = folder.join(name);
        let bytes = match read(&file, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(Fault::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
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
            Err(errors) => Err(ConfigError {
                faults: errors.into_iter().map(Fault::from).collect(),
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

/// Refuses a priority string that cannot be honoured where it is set. The settings do not know what TLS has.
fn check_priority(shown: &str, text: &str, settings: &PartialServerSettings) -> Result<(), Fault> {
    let given = settings.priority.as_ref().and_then(Option::as_deref);
    match given.map(str::parse::<Priority>) {
        Some(Err(problem)) => Err(Fault::Priority {
            place: server::place_of(shown, text, "priority"),
            problem,
        }),
        _ => Ok(()),
    }
}

/// Reads everything in `folder`; any fault refuses all of it. `service` is the account that may read
/// secrets beside root.
pub fn read_all(folder: &Path, service: Option<&Account>) -> Result<Configuration, ConfigError> {
    read_for_start(folder, service)?.whole()
}

/// The same for a server that starts: a file of `clients.d` with a fault is not used and takes nothing from
/// the clients of the others. At a start there is nothing else that could go on for them.
pub fn read_for_start(
    folder: &Path,
    service: Option<&Account>,
) -> Result<Configuration, ConfigError> {
    if let Err(source) = fs::read_dir(folder) {
        return Err(Fault::Unreadable {
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
    let clients = read_tolerantly(&files, service);
    let fatal = |fault: &Fault| !fault.file().is_some_and(|file| files.more.contains(&file));
    if !faults.is_empty() || clients.faults.iter().any(fatal) {
        faults.extend(clients.faults);
        return Err(ConfigError { faults });
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
        is_dangling: files.is_dangling,
    })
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self {
            faults: vec![fault],
        }
    }
}

fn warn(warnings: &mut Vec<String>, found: Vec<SettingsWarning>) {
    warnings.extend(found.iter().map(ToString::to_string));
}

/// What the files with clients say, and what is wrong with those that are not used.
struct Clients {
    files: Vec<PathBuf>,
    clients: Vec<ClientConfig>,
    warnings: Vec<SettingsWarning>,
    faults: Vec<Fault>,
}

/// Reads all files that have no fault. Without one of them others may be faulty in another way, or not at
/// all, so it is done again until what is left is whole.
fn read_tolerantly(files: &ClientFiles, service: Option<&Account>) -> Clients {
    let mut left: Vec<PathBuf> = files.main.iter().chain(&files.more).cloned().collect();
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let found = match read_clients(files.main.as_deref(), &left, service) {
            Ok(parsed) => {
                return Clients {
                    files: left,
                    clients: parsed.value,
                    warnings: parsed.warnings,
                    faults,
                };
            }
            Err(error) => error.faults,
        };
        let faulty: HashSet<Option<PathBuf>> = found.iter().map(Fault::file).collect();
        let before = left.len();
        left.retain(|file| !faulty.contains(&Some(file.clone())));
        faults.extend(found);
        // Without progress the fault is in no file of its own, and fatal.
        let main_is_whole = files.main.as_ref().is_none_or(|main| left.contains(main));
        if left.len() == before || !main_is_whole {
            return Clients {
                files: Vec::new(),
                clients: Vec::new(),
                warnings: Vec::new(),
                faults,
            };
        }
    }
}

fn read_clients(
    main: Option<&Path>,
    files: &[PathBuf],
    service: Option<&Account>,
) -> Result<Parsed<Vec<ClientConfig>>, ConfigError> {
    let mut faults = Vec::new();
    let mut texts = Vec::new();
    if main.is_none() {
        // The first file is the one whose [DEFAULT] holds for all, and no other may take its place.
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
    let parsed = client::parse(&texts);
    // The texts hold the secrets, encrypted.
    drop(
        texts
            .into_iter()
            .map(|(_, text)| Zeroizing::new(text))
            .collect::<Vec<_>>(),
    );
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(errors) => {
            faults.extend(errors.into_iter().map(Fault::from));
            return Err(ConfigError { faults });
        }
    };
    let mut clients = Vec::with_capacity(parsed.value.len());
    for ParsedClient {
        name,
        settings,
        secret,
        ..
    } in parsed.value
    {
        match resolve(name.as_str(), secret, service) {
            Ok(secret) => clients.push(ClientConfig {
                name,
                settings,
                secret,
            }),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(ConfigError { faults });
    }
    Ok(Parsed {
        value: clients,
        warnings: parsed.warnings,
    })
}

fn resolve(client: &str, secret: SecretSource, service: Option<&Account>) -> Result<Secret, Fault> {
    let (path, origin) = match secret {
        SecretSource::Inline(secret) => return Ok(secret),
        SecretSource::File { path, origin } => (path, origin),
    };
    let path = path::expand(&path, |name| std::env::var(name).ok(), home);
    let client = client.to_owned();
    match read_private(&path, MAX_SECRET, service) {
        Ok(bytes) if bytes.is_empty() => Err(Fault::EmptySecret {
            origin,
            client,
            path,
        }),
        Ok(mut bytes) => Ok(Secret::new(std::mem::take(&mut *bytes))),
        Err(Fault::Unreadable { path, source }) => Err(Fault::Secret {
            origin,
            client,
            path,
            source,
        }),
        Err(fault) => Err(Fault::BadSecretFile {
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
