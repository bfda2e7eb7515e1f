//! The stock server's two files, read, and made into ours.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_console::failure::{EX_CONFIG, EX_NOINPUT, Failure, warn};
use nightlatch_core::checker::Checker;
use nightlatch_core::ini::{Ini, IniEntry, IniSection};
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{
    self, ClientConfig, ClientSettings, ParsedClient, SecretSource,
};
use nightlatch_core::settings::server::{self, ServerSettings};
use nightlatch_core::settings::{self, SettingsError, SettingsWarning, WarningReason, path};
use nightlatch_core::ssh::{self, HostKey};
use nightlatch_proto::priority::Priority;
use nightlatch_sys::privileges;
use zeroize::Zeroizing;

use super::edit::Edits;
use super::files;

/// Width of the lines of base64, as OpenPGP's armour has (RFC 9580, 6.3).
const LINE: usize = 64;

/// The server's file as ours, and what it does not say any more.
pub(crate) struct ServerConf {
    pub(crate) text: Zeroizing<String>,
    /// `statedir` as the file has it; `None` for the default.
    pub(crate) statedir: Option<PathBuf>,
    /// Each a sentence without a full stop.
    pub(crate) left_out: Vec<String>,
}

/// The clients and their file as ours.
pub(crate) struct Clients {
    pub(crate) text: Zeroizing<String>,
    pub(crate) clients: Vec<ClientConfig>,
    /// Each a sentence without a full stop.
    pub(crate) remarks: Vec<String>,
}

/// Reads the stock server's `mandos.conf`.
pub(crate) fn server(file: &Path) -> Result<ServerConf, Failure> {
    let shown = file.display().to_string();
    let bytes = files::read(file)?;
    let text = settings::text(&shown, &bytes).map_err(|error| faulty(&[error]))?;
    let parsed = server::parse(&shown, text).map_err(|errors| faulty(&errors))?;
    let mut settings = ServerSettings::default();
    let statedir = parsed.value.statedir.clone();
    let mut edits = Edits::default();
    let mut left_out: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    // What could be parsed as settings could be parsed as sections.
    let ini = Ini::recover(text).0;
    let mut leave = |key: &str, why: &str| {
        if let Some(entry) = ini.default_section().entry(key) {
            edits.turn_off(entry);
            left_out.push(format!("{shown}:{}: {key}: {why}", entry.line()));
        }
    };
    if statedir.is_some() {
        leave("statedir", "the state has a place of its own here");
    }
    if parsed.value.restore == Some(false) {
        leave(
            "restore",
            "it would enable again whoever is disabled, at every start",
        );
    }
    if let Some(Some(priority)) = &parsed.value.priority
        && let Err(error) = priority.parse::<Priority>()
    {
        leave("priority", &format!("{error}; the default holds"));
    }
    settings.apply(parsed.value);
    if let Some(contradiction) = settings.contradictions().first() {
        return Err(Failure::new(EX_CONFIG, format!("{shown}: {contradiction}"))
            .hint("an option of the server's command line may have settled that; put it into the file"));
    }
    Ok(ServerConf {
        text: edits.apply(text),
        statedir,
        left_out,
    })
}

/// Reads the stock server's `clients.conf`; files of secrets are looked for below `from`. With
/// `ssh_hostkey` checkers by ssh-keyscan(1) become proofs of the same key.
pub(crate) fn clients(file: &Path, from: &Path, ssh_hostkey: bool) -> Result<Clients, Failure> {
    let shown = file.display().to_string();
    let bytes = files::read(file)?;
    let text = settings::text(&shown, &bytes).map_err(|error| faulty(&[error]))?;
    let files = [(shown, text.to_owned())];
    let parsed = client::parse(&files).map_err(|errors| faulty(&errors));
    let [(_, copy)] = files;
    drop(Zeroizing::new(copy));
    let parsed = parsed?;
    let ini = Ini::recover(text).0;
    let mut edits = Edits::default();
    let others =
        |warning: &&SettingsWarning| !matches!(warning.reason, WarningReason::SshKeyscan { .. });
    let warnings = parsed.warnings.iter().filter(others);
    let mut remarks: Vec<String> = warnings.map(ToString::to_string).collect();
    let mut clients = Vec::with_capacity(parsed.value.len());
    for ParsedClient {
        name,
        mut settings,
        secret,
        named,
        origin,
    } in parsed.value
    {
        if settings.checker.trusts_ssh_keyscan() {
            let provable = ini
                .section(name.as_str())
                .and_then(|it| provable(it, &settings));
            let said = match provable {
                Some((entry, checker)) if ssh_hostkey => {
                    edits.turn_off(entry);
                    let line = format!("checker = {}\n", checker.as_str()).into();
                    edits.insert_after(entry.line(), line);
                    settings.checker = checker;
                    "the machine proves its SSH host key now (builtin:ssh-hostkey)"
                }
                Some(_) => {
                    "whoever knows the public host key can answer ssh-keyscan; --ssh-hostkey lets the machine \
                     prove the key"
                }
                None => {
                    "whoever knows the public host key can answer ssh-keyscan; write checker = \
                     builtin:ssh-hostkey (clients.conf(5)) where both servers are not needed"
                }
            };
            remarks.push(format!("{origin}: [{name}] checker: {said}"));
        }
        let secret = match secret {
            SecretSource::Inline(secret) => secret,
            SecretSource::File {
                path,
                origin: place,
            } => {
                let secret = secret_file(&path, from, &place.to_string())?;
                edits.insert_after(origin.line, section_lines(&secret));
                if let Some(entry) = ini
                    .section(name.as_str())
                    .and_then(|it| it.entry("secfile"))
                {
                    edits.turn_off(entry);
                }
                remarks.push(format!(
                    "{place}: [{name}] secfile: its content is put into clients.conf"
                ));
                secret
            }
        };
        clients.push(ClientConfig {
            name,
            settings,
            secret,
            named,
        });
    }
    Ok(Clients {
        text: edits.apply(text),
        clients,
        remarks,
    })
}

/// The checker of a section by ssh-keyscan(1), and what proves the key that it looks for.
fn provable<'s>(
    section: &'s IniSection,
    settings: &ClientSettings,
) -> Option<(&'s IniEntry, Checker)> {
    let entry = section.entry("checker")?;
    let key: HostKey = section.value("ssh_fingerprint")?.parse().ok()?;
    // Another key, or a change of the key's lines, would be another checker.
    let looked_for = settings.checker.as_str().contains(&key.to_string());
    let reachable = ssh::parse_endpoint(&settings.host).is_ok();
    (looked_for && reachable).then(|| (entry, Checker::ssh_host_key(key)))
}

fn secret_file(path: &Path, from: &Path, place: &str) -> Result<Secret, Failure> {
    let path = path::expand(path, |name| std::env::var(name).ok(), home);
    let file = files::below(from, &path);
    let unreadable = |error| {
        let what = format!("{place}: cannot read {}", file.display());
        Failure::new(EX_NOINPUT, what).because(error)
    };
    let mut bytes = files::read_whole(&file).map_err(unreadable)?;
    if bytes.is_empty() {
        let what = format!("{place}: {} is empty", file.display());
        return Err(Failure::new(EX_CONFIG, what).hint("put the client's encrypted secret into it"));
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

fn home(user: Option<&str>) -> Option<String> {
    match user {
        None => std::env::var("HOME").ok(),
        Some(user) => privileges::account(user).ok().flatten().map(|it| it.home),
    }
}

/// `secret = …` in lines, as a section has it.
fn section_lines(secret: &Secret) -> Zeroizing<String> {
    let base64 = Zeroizing::new(BASE64.encode(secret.expose()));
    let mut text = Zeroizing::new(String::with_capacity(2 * base64.len() + 16));
    text.push_str("secret =\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text
}

/// Says every fault, and fails.
fn faulty(errors: &[SettingsError]) -> Failure {
    for error in errors {
        warn(error);
    }
    Failure::new(
        EX_CONFIG,
        "Mandos's configuration has faults that Nightlatch refuses",
    )
    .hint("correct them in Mandos's own files first; nothing was changed")
}
