//! Reads what the daemon needs before it starts: settings, trusted servers, the host keys, the seed of this boot.

use std::io;
use std::path::{Path, PathBuf};

use nightlatch_core::boot_nonce::{BootSeed, SEED_LEN};
use nightlatch_core::error_chain::format_error;
use nightlatch_core::key_id::{KeyId, KeyIdError};
use nightlatch_core::settings::agent::{self, AgentSettings};
use nightlatch_core::settings::{SettingsError, text};
use nightlatch_core::{agent_files, trusted_servers};
use nightlatch_openpgp::{MAX_KEY_FILE, SecretKey};
use nightlatch_proto::tls::{RawKey, RawKeyError};
use nightlatch_sys::boot_seed;

use crate::files::{self, Access};
use crate::log::Log;
use crate::options::Options;

/// Files are read up to these lengths, in bytes.
const MAX_CONFIG: usize = 1024 * 1024;
const MAX_LIST: usize = 128 * 1024;
const MAX_KEY: usize = 64 * 1024;

/// The environment variable with the folder of the service manager's credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

const PRIVATE_KEY: &str = "tls-privkey.pem";
const PUBLIC_KEY: &str = "tls-pubkey.pem";
const OPENPGP_KEY: &str = "seckey.txt";
const BOOT_SEED: &str = "boot-seed";

/// Settings, servers and key, as they are at the start.
pub(crate) struct Setup {
    pub(crate) settings: AgentSettings,
    /// At least one.
    pub(crate) trusted: Vec<KeyId>,
    pub(crate) key: RawKey,
    /// The host's OpenPGP key, which opens named secrets; or the reason why there is none. Heartbeats need none.
    pub(crate) secret_key: Result<SecretKey, String>,
}

/// Something that a person has to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupFault {
    #[error("cannot read {}", .0.display())]
    Config(PathBuf, #[source] io::Error),
    #[error("{}", lines(.0))]
    Settings(Vec<SettingsError>),
    #[error("{}: the agent would find no server: expected servers in connect, or search = yes", .0.display())]
    NoWay(PathBuf),
    #[error("there is no list of trusted servers {}", .0.display())]
    NoList(PathBuf),
    #[error("cannot use the list of trusted servers {}", .0.display())]
    List(PathBuf, #[source] io::Error),
    #[error("{}:{line}: expected a key id of 64 hexadecimal digits", path.display())]
    ListLine {
        path: PathBuf,
        line: usize,
        source: KeyIdError,
    },
    #[error("the list of trusted servers {} names none: nothing would ever be reported", .0.display())]
    EmptyList(PathBuf),
    #[error("there is no host key {}", .0.display())]
    NoKey(PathBuf),
    #[error("cannot use the host key {}", .0.display())]
    Key(PathBuf, #[source] io::Error),
    #[error("cannot use the host key {}", .0.display())]
    KeyFormat(PathBuf, #[source] RawKeyError),
    #[error("cannot use the seed of this boot {}", .0.display())]
    Seed(PathBuf, #[source] io::Error),
}

fn lines(errors: &[SettingsError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl SetupFault {
    /// True when a configuration file is wrong, and not a key or the system.
    pub(crate) const fn is_configuration(&self) -> bool {
        !matches!(
            self,
            Self::NoKey(_) | Self::Key(..) | Self::KeyFormat(..) | Self::Seed(..)
        )
    }

    /// The way to mend it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Config(path, _) => {
                format!("make {} readable for all users: chmod 0644", path.display())
            }
            Self::Settings(_) | Self::NoWay(_) => "agent.conf(5) explains each setting".to_owned(),
            Self::NoList(path) | Self::EmptyList(path) => format!(
                "the log of nightlatchd has its key id, and so may /etc/nightlatch/keys/trusted-servers; then: echo KEY_ID >> {}",
                path.display()
            ),
            Self::List(path, _) => format!("chown root: {0} && chmod 0644 {0}", path.display()),
            Self::ListLine { .. } => {
                "write one key id in each line; `#` begins a comment".to_owned()
            }
            Self::NoKey(_) => "make one with `nightlatch enroll --host-key`".to_owned(),
            Self::KeyFormat(..) => {
                "make new ones with `nightlatch rotate --host-key`, and tell the server".to_owned()
            }
            Self::Key(path, _) => format!("chown root: {0} && chmod 0600 {0}", path.display()),
            Self::Seed(path, _) => format!(
                "remove {} if it is no file of this boot; nightlatch-agent-boot.service makes it",
                path.display()
            ),
        }
    }
}

impl Setup {
    /// Reads everything but the seed. Warnings are logged.
    pub(crate) fn read(options: &Options, log: Log) -> Result<Self, SetupFault> {
        let settings = read_settings(options, log)?;
        if settings.connect.is_empty() && !settings.searches() {
            return Err(SetupFault::NoWay(options.config.clone()));
        }
        Ok(Self {
            settings,
            trusted: read_trusted(&options.trusted_servers)?,
            key: read_key(options)?,
            secret_key: read_secret_key(options),
        })
    }
}

/// The folder in which the service manager has put the key and the seed.
pub(crate) fn credentials() -> Option<PathBuf> {
    std::env::var_os(CREDENTIALS)
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
}

/// The seed of this boot: as the service manager gives it, else from its file, which is made where it is missing.
pub(crate) fn read_seed(options: &Options) -> Result<BootSeed, SetupFault> {
    if let Some(path) = credentials().map(|folder| folder.join(BOOT_SEED))
        && path.exists()
    {
        let fault = |error| SetupFault::Seed(path.clone(), error);
        let bytes = files::read(&path, SEED_LEN, Access::Credential).map_err(fault)?;
        let seed = <[u8; SEED_LEN]>::try_from(bytes.as_slice());
        let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "expected 32 bytes");
        return seed
            .map(BootSeed::from_bytes)
            .map_err(|error| fault(wrong(error)));
    }
    let path = &options.boot_seed;
    boot_seed::read_or_make(path).map_err(|error| SetupFault::Seed(path.clone(), error))
}

fn read_settings(options: &Options, log: Log) -> Result<AgentSettings, SetupFault> {
    let path = &options.config;
    let name = path.display().to_string();
    let bytes = match files::read(path, MAX_CONFIG, Access::ReadByAll) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !options.config_named => {
            return Ok(AgentSettings::default());
        }
        read => read.map_err(|error| SetupFault::Config(path.clone(), error))?,
    };
    let text = text(&name, &bytes).map_err(|error| SetupFault::Settings(vec![error]))?;
    let parsed = agent::parse(&name, text).map_err(SetupFault::Settings)?;
    for warning in parsed.warnings {
        log.info(&warning.to_string());
    }
    Ok(parsed.value)
}

/// The servers in the list at `path`, without repeats.
pub(crate) fn read_trusted(path: &Path) -> Result<Vec<KeyId>, SetupFault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SetupFault::NoList(path.to_owned()),
        _ => SetupFault::List(path.to_owned(), error),
    };
    let bytes = files::read(path, MAX_LIST, Access::ReadByAll).map_err(fault)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| fault(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let mut servers = trusted_servers::parse(text).map_err(|wrong| SetupFault::ListLine {
        path: path.to_owned(),
        line: wrong.number,
        source: wrong.error,
    })?;
    servers.sort_unstable();
    servers.dedup();
    match servers.is_empty() {
        true => Err(SetupFault::EmptyList(path.to_owned())),
        false => Ok(servers),
    }
}

/// The folder of the host keys, and the access to its files that others may have.
fn keys_folder(options: &Options) -> (PathBuf, Access) {
    match (&options.keys, credentials()) {
        (Some(folder), _) => (folder.clone(), Access::Private),
        (None, Some(folder)) => (folder, Access::Credential),
        (None, None) => (agent_files::HOST_KEYS.into(), Access::Private),
    }
}

fn read_secret_key(options: &Options) -> Result<SecretKey, String> {
    let (folder, access) = keys_folder(options);
    let path = folder.join(OPENPGP_KEY);
    let place = match access {
        // What the service manager was given lies elsewhere.
        Access::Credential => Path::new(agent_files::HOST_KEYS).join(OPENPGP_KEY),
        _ => path.clone(),
    };
    let shown = place.display();
    let missing = || {
        format!(
            "there is no OpenPGP host key {shown}, so this machine gets no named secret: make one with `nightlatch rotate \
             --host-key`, and tell the server"
        )
    };
    let bytes = files::read(&path, MAX_KEY_FILE, access).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(),
        _ => format!("cannot use the OpenPGP host key {shown}: {error}; chown root: {shown} && chmod 0600 {shown}"),
    })?;
    // What the unit gives in the place of a key that is missing.
    if bytes.trim_ascii().is_empty() {
        return Err(missing());
    }
    SecretKey::from_armored(&bytes).map_err(|error| {
        format!(
            "cannot use the OpenPGP host key {shown}: {}; make a new one with `nightlatch rotate --host-key`, and tell the \
             server",
            format_error(&error)
        )
    })
}

fn read_key(options: &Options) -> Result<RawKey, SetupFault> {
    let (folder, access) = keys_folder(options);
    let path = folder.join(PRIVATE_KEY);
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => SetupFault::NoKey(path.clone()),
        _ => SetupFault::Key(path.clone(), error),
    };
    let private = files::read(&path, MAX_KEY, access).map_err(fault)?;
    // The service manager gives the private half alone.
    let public = folder.join(PUBLIC_KEY);
    let public = match files::read(&public, MAX_KEY, Access::Credential) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(|error| SetupFault::Key(public, error))?),
    };
    let public = public.as_ref().map(|bytes| bytes.as_slice());
    RawKey::from_pem(&private, public).map_err(|error| SetupFault::KeyFormat(path, error))
}
