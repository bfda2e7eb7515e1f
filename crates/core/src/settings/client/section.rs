//! One section's values, looked up in the section, in `[DEFAULT]` of its file and in `[DEFAULT]` of
//! the main file, with references resolved along the same way.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::secrets::is_key;
use super::{ClientSettings, ParsedClient, SecretSource, Setting, SettingKind};
use crate::checker::{Checker, CheckerError, ping_target};
use crate::ini::{IniEntry, IniSection, is_space};
use crate::interpolate::interpolate;
use crate::key_id::{Fingerprint, KeyId, KeyIdError};
use crate::name::ClientName;
use crate::settings::{
    Location, Problem, SettingLocation, SettingsError, SettingsWarning, WarningReason, value,
};
use crate::ssh::{self, HostKey, HostKeyError};

/// A section with the name of its file.
pub(super) type SectionInFile<'i> = (&'i IniSection, &'i Arc<str>);

/// A section, the sections that it inherits from, and the errors found in it.
pub(super) struct SectionReader<'i> {
    /// The section first, then what it inherits from.
    pub(super) chain: [SectionInFile<'i>; 3],
    pub(super) errors: Vec<SettingsError>,
    /// Takes the faults of named secrets and policies, where these do not make the section faulty.
    pub(super) spared: Option<Vec<SettingsError>>,
    pub(super) warnings: Vec<SettingsWarning>,
}

impl<'i> SectionReader<'i> {
    /// Reads the whole section; `None` when anything in it is an error.
    pub(super) fn client(&mut self) -> Option<ParsedClient> {
        let origin = self.origin();
        let name = match ClientName::new(self.chain[0].0.name()) {
            Ok(name) => Some(name),
            Err(error) => {
                self.refuse(None, error.into());
                None
            }
        };
        let settings = self.settings();
        let named = self.named_secrets(&settings);
        let secret = self.secret();
        self.check_host(&settings);
        self.unused();
        self.spare_named();
        let client = ParsedClient {
            name: name?,
            settings,
            secret: secret?,
            named,
            origin,
        };
        if !self.errors.is_empty() {
            return None;
        }
        self.warn_about_settings(&client.settings);
        Some(client)
    }

    fn spare_named(&mut self) {
        let Some(spared) = &mut self.spared else {
            return;
        };
        let errors = std::mem::take(&mut self.errors).into_iter();
        let is_named = |error: &SettingsError| error.place.key.as_deref().is_some_and(is_key);
        (*spared, self.errors) = errors.partition(is_named);
    }

    /// The first line of the section.
    pub(super) fn origin(&self) -> Location {
        let (section, file) = self.chain[0];
        Location {
            file: file.clone(),
            line: section.line(),
        }
    }

    /// The place of `key`, or the section itself when it is set nowhere. A value with references
    /// belongs to the client, for the fault may be in what the client refers to.
    pub(super) fn place(&self, key: &str) -> SettingLocation {
        let (section, location) = match self.find(key) {
            Some((entry, (section, file))) => {
                let location = Location {
                    file: file.clone(),
                    line: entry.line(),
                };
                let refers = entry.value().contains('%');
                (if refers { self.chain[0].0 } else { section }, location)
            }
            None => (self.chain[0].0, self.origin()),
        };
        SettingLocation {
            location,
            section: Some(section.name().to_owned()),
            key: Some(key.to_owned()),
        }
    }

    fn settings(&mut self) -> ClientSettings {
        let mut settings = ClientSettings::default();
        for &setting in Setting::ALL {
            let value = match setting.kind() {
                SettingKind::KeyId => Some(self.key_id(setting.key()).into()),
                SettingKind::Fingerprint => Some(self.fingerprint(setting.key()).into()),
                SettingKind::Checker => self.checker(setting.key()).map(Into::into),
                SettingKind::Text
                | SettingKind::Length
                | SettingKind::Boolean
                | SettingKind::Unannounced
                | SettingKind::OpenPgpKey => self.take(setting.key(), |text| setting.read(text)),
            };
            // Each has the kind of its setting.
            let put = value.map(|value| setting.put(&mut settings, value));
            debug_assert!(put.is_none_or(|it| it.is_ok()), "{setting:?}");
        }
        settings
    }

    /// A checker. A built-in one that needs a host key and does not say it has it in `ssh_fingerprint`.
    fn checker(&mut self, key: &'static str) -> Option<Checker> {
        let text = self.text(key)?;
        match Checker::new(text) {
            Ok(checker) => Some(checker),
            Err(CheckerError::NoHostKey) if self.find("ssh_fingerprint").is_some() => {
                let host_key = self.take("ssh_fingerprint", |text| {
                    let key: Result<HostKey, HostKeyError> = text.parse();
                    Ok(key.map_err(CheckerError::from)?)
                })?;
                Some(Checker::ssh_host_key(host_key))
            }
            Err(error) => {
                self.refuse(Some(key), error.into());
                None
            }
        }
    }

    /// A host that the built-in checker cannot reach.
    fn check_host(&mut self, settings: &ClientSettings) {
        let reported = |error: &SettingsError| error.place.key.as_deref() == Some("host");
        if !settings.checker.is_builtin() || self.errors.iter().any(reported) {
            return;
        }
        let problem = if settings.checker.is_ping() {
            ping_target(&settings.host).err().map(Problem::PingHost)
        } else {
            let endpoint = ssh::parse_endpoint(&settings.host);
            endpoint.err().map(Problem::SshHost)
        };
        if let Some(problem) = problem {
            self.refuse(Some("host"), problem);
        }
    }

    /// Mandos resolves the references of every value, used or not, and refuses what leads nowhere.
    fn unused(&mut self) {
        let mut seen = HashSet::new();
        let entries = self.chain.iter().flat_map(|(section, _)| section.entries());
        let keys: Vec<&str> = entries
            .map(|(key, _)| key)
            .filter(|key| seen.insert(*key))
            .collect();
        for key in keys {
            let known = |error: &SettingsError| error.place.key.as_deref() == Some(key);
            if !self.errors.iter().any(known) {
                self.text(key);
            }
        }
    }

    fn key_id(&mut self, key: &'static str) -> Option<KeyId> {
        let text = self.take(key, trimmed)?;
        if text.is_empty() {
            return None;
        }
        match text.parse() {
            Ok(key_id) => Some(key_id),
            // Files made for clients of that time carry it; it must not keep the others from starting.
            Err(KeyIdError::OfNothing) => {
                self.warn(key, WarningReason::KeyIdOfNothing);
                None
            }
            Err(error) => {
                self.refuse(Some(key), error.into());
                None
            }
        }
    }

    fn fingerprint(&mut self, key: &'static str) -> Option<Fingerprint> {
        let text = self.take(key, trimmed)?;
        if text.is_empty() {
            return None;
        }
        let fingerprint: Result<Fingerprint, KeyIdError> = text.parse();
        if let Err(error) = &fingerprint {
            self.warn(key, WarningReason::Fingerprint(error.clone()));
        }
        fingerprint.ok()
    }

    /// `secret`, which wins over `secfile`.
    fn secret(&mut self) -> Option<SecretSource> {
        if let Some((entry, _)) = self.find("secret") {
            let text = self.text("secret")?;
            return match value::base64(&text) {
                Ok(secret) => Some(SecretSource::Inline(secret)),
                Err(fault) => {
                    let mut place = self.place("secret");
                    // References shift the lines; then only the key's line is known.
                    if matches!(text, Cow::Borrowed(_)) {
                        place.location.line = entry.line_of(fault.line);
                    }
                    let problem = fault.problem;
                    self.errors.push(SettingsError { place, problem });
                    None
                }
            };
        }
        if self.find("secfile").is_none() {
            self.refuse(None, Problem::NoSecret);
            return None;
        }
        let path = self.take("secfile", path)?;
        let origin = self.place("secfile").location;
        let path = path.into();
        Some(SecretSource::File { path, origin })
    }

    /// Adds warnings about settings that probably do not do what was meant.
    fn warn_about_settings(&mut self, settings: &ClientSettings) {
        let known = self.warnings.iter();
        let explained = known
            .map(|w| &w.reason)
            .any(|d| *d == WarningReason::KeyIdOfNothing);
        if settings.key_id.is_none() && !explained {
            self.warn("key_id", WarningReason::NoKeyId);
        }
        if !settings.approved_by_default && settings.approval_delay.is_zero() {
            self.warn("approved_by_default", WarningReason::NoApprovalDelay);
        }
        if settings.checker.trusts_ssh_keyscan() {
            let pinned = self.text("ssh_fingerprint");
            let pinned = pinned.is_some_and(|text| text.parse::<HostKey>().is_ok());
            self.warn("checker", WarningReason::SshKeyscan { pinned });
        }
        if settings.timeout <= settings.interval {
            self.warn("timeout", WarningReason::TimeoutWithinInterval);
        }
    }

    /// The value of `key`, if it is set and right; an error is noted.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        read: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.refuse(Some(key), problem);
                None
            }
        }
    }

    /// The text of `key` with its references resolved, if it is set; an error is noted.
    pub(super) fn text(&mut self, key: &str) -> Option<Cow<'i, str>> {
        let (entry, _) = self.find(key)?;
        let chain = self.chain;
        let lookup = move |key: &str| chain.iter().find_map(|(section, _)| section.value(key));
        match interpolate(entry.value(), &lookup) {
            Ok(text) => Some(text),
            Err(error) => {
                self.refuse(Some(key), error.into());
                None
            }
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<(&'i IniEntry, SectionInFile<'i>)> {
        let mut chain = self.chain.iter();
        chain.find_map(|source| Some((source.0.entry(key)?, *source)))
    }

    pub(super) fn refuse(&mut self, key: Option<&str>, problem: Problem) {
        let place = match key {
            Some(key) => self.place(key),
            None => SettingLocation {
                location: self.origin(),
                section: Some(self.chain[0].0.name().to_owned()),
                key: None,
            },
        };
        self.errors.push(SettingsError { place, problem });
    }

    fn warn(&mut self, key: &str, reason: WarningReason) {
        let place = self.place(key);
        self.warnings.push(SettingsWarning { place, reason });
    }
}

fn trimmed(text: &str) -> Result<String, Problem> {
    Ok(text.trim_matches(is_space).to_owned())
}

fn path(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.contains('\0') {
        return Err(Problem::NoPath);
    }
    Ok(text.to_owned())
}
