//! The machines whose keys this administrator knows: `known-hosts`, pinned at first use as ssh does.
//!
//! A server says which keys a machine has. Without pins it could name its own, and read what is sealed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use nightlatch_console::failure::{EX_CONFIG, EX_DATAERR, EX_IOERR, EX_NOINPUT, Failure};
use nightlatch_console::output::table::visible;
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_openpgp::PublicKey;

use crate::config_folder::{self, ConfigFolder};

/// The pins: `HOST-KEY-ID OPENPGP-FINGERPRINT NAME`, one a line; `#` begins a comment.
const FILE: &str = "known-hosts";

/// The public keys of pinned machines in base64, each in a file with the id of its host key.
const KEYS: &str = "known-hosts.d";

/// A machine's keys, as somebody says.
#[derive(Debug)]
pub(crate) struct HostKeys {
    pub(crate) name: String,
    pub(crate) host: KeyId,
    pub(crate) openpgp: PublicKey,
}

/// A machine's keys, as they were at first use.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pin {
    host: KeyId,
    openpgp: Fingerprint,
    name: String,
}

impl Pin {
    fn of(keys: &HostKeys) -> Self {
        Self {
            host: keys.host,
            openpgp: keys.openpgp.fingerprint(),
            name: keys.name.clone(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (host, rest) = line.split_once(' ')?;
        let (openpgp, name) = rest.split_once(' ')?;
        Some(Self {
            host: host.parse().ok()?,
            openpgp: openpgp.parse().ok()?,
            name: Some(name.trim()).filter(|it| !it.is_empty())?.to_owned(),
        })
    }

    fn line(&self) -> String {
        format!("{} {} {}", self.host, self.openpgp, self.name)
    }

    /// True when both cannot be right: each part of a pin belongs to one machine.
    fn contradicts(&self, other: &Self) -> bool {
        self != other
            && (self.host == other.host || self.openpgp == other.openpgp || self.name == other.name)
    }

    /// The parts in which `now` differs.
    fn differences(&self, now: &Self) -> String {
        let mut parts = Vec::new();
        if self.openpgp != now.openpgp {
            parts.push(format!("OpenPGP key {}, now {}", self.openpgp, now.openpgp));
        }
        if self.host != now.host {
            parts.push(format!("host key {}, now {}", self.host, now.host));
        }
        if self.name != now.name {
            let (was, is) = (visible(&self.name), visible(&now.name));
            parts.push(format!("name {was}, now {is}"));
        }
        parts.join("; ")
    }
}

/// A line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Line {
    Pin(Pin),
    /// Kept as it is.
    Comment(String),
}

/// The file, locked until dropped.
#[derive(Debug)]
pub(crate) struct KnownHosts {
    folder: ConfigFolder,
    lines: Vec<Line>,
    _lock: fs::File,
}

impl KnownHosts {
    /// Reads the pins.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is no pin.
    pub(crate) fn open(folder: ConfigFolder) -> Result<Self, Failure> {
        let lock = folder.lock()?;
        let file = folder.file(FILE);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| {
                let what = format!("cannot read {}", file.display());
                Failure::new(EX_NOINPUT, what).because(error)
            })?,
        };
        let lines = parse(&text).map_err(|number| {
            let place = format!("{}:{number}", file.display());
            Failure::new(
                EX_CONFIG,
                format!("{place}: expected HOST-KEY-ID OPENPGP-FINGERPRINT NAME"),
            )
            .hint("mend or remove the line: a machine without one is pinned at its next use")
        })?;
        Ok(Self {
            folder,
            lines,
            _lock: lock,
        })
    }

    /// Compares what is said of `hosts` with the pins, and pins new ones in memory. Changed ones are refused, all
    /// together, but for machines whose names are in `accepted`. Returns what is new, a sentence each.
    ///
    /// # Errors
    /// When a machine has changed, or two of them have the same key.
    pub(crate) fn check(
        &mut self,
        hosts: &[HostKeys],
        accepted: &[String],
    ) -> Result<Vec<String>, Failure> {
        check_each_once(hosts)?;
        let mut changed = Vec::new();
        let mut news = Vec::new();
        for host in hosts {
            let now = Pin::of(host);
            let old: Vec<Pin> = self
                .pins()
                .filter(|pin| pin.contradicts(&now))
                .cloned()
                .collect();
            if !old.is_empty() && !accepted.contains(&now.name) {
                let name = visible(&now.name);
                let parts = old.iter().map(|pin| pin.differences(&now));
                let parts = parts.collect::<Vec<_>>().join("; ");
                changed.push((now.name, format!("{name} had {parts}")));
                continue;
            }
            let known = self.pins().any(|pin| *pin == now);
            self.lines.retain(|line| match line {
                Line::Pin(pin) => !pin.contradicts(&now),
                Line::Comment(_) => true,
            });
            if !known {
                let name = visible(&now.name);
                let word = if old.is_empty() { "new" } else { "changed" };
                news.push(format!(
                    "pinned the {word} OpenPGP key {} of {name}",
                    now.openpgp
                ));
                self.lines.push(Line::Pin(now));
            }
        }
        match changed.is_empty() {
            true => Ok(news),
            false => Err(refusal(&changed)),
        }
    }

    /// Writes the pins, and the public keys of `hosts` beside them.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn save(&self, hosts: &[HostKeys]) -> Result<(), Failure> {
        let failed = |file: &PathBuf, error: io::Error| {
            let what = format!("cannot write {}", file.display());
            Failure::new(EX_IOERR, what).because(error)
        };
        let keys = self.folder.file(KEYS);
        config_folder::make_private(&keys).map_err(|error| failed(&keys, error))?;
        for host in hosts {
            let file = keys.join(host.host.to_string());
            let text = host.openpgp.to_base64().map_err(|error| {
                Failure::new(EX_DATAERR, format!("cannot keep the key of {}", host.name))
                    .because(error)
            })?;
            if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
                let written = config_folder::replace(&file, text.as_bytes());
                written.map_err(|error| failed(&file, error))?;
            }
        }
        let lines = self.lines.iter().map(|line| match line {
            Line::Pin(pin) => pin.line() + "\n",
            Line::Comment(text) => format!("{text}\n"),
        });
        let text: String = lines.collect();
        let file = self.folder.file(FILE);
        if fs::read_to_string(&file).ok().as_ref() == Some(&text) {
            return Ok(());
        }
        config_folder::replace(&file, text.as_bytes()).map_err(|error| failed(&file, error))
    }

    /// The keys of the pinned machine `name`.
    ///
    /// # Errors
    /// When it is unknown, or its public key is missing or another one than the pin says.
    pub(crate) fn find(&self, name: &str) -> Result<HostKeys, Failure> {
        let shown = visible(name);
        let hint = format!(
            "give the section that enroll printed: --host-key FILE, or use it once with a server: nightlatch secret put NAME {shown}"
        );
        let pin = self.pins().find(|pin| pin.name == name).ok_or_else(|| {
            let what = format!("no machine is known as {name:?}");
            Failure::new(EX_DATAERR, what).hint(hint.as_str())
        })?;
        let file = self.folder.file(KEYS).join(pin.host.to_string());
        let text = fs::read_to_string(&file).map_err(|error| {
            let what = format!(
                "cannot read the public key of {shown} in {}",
                file.display()
            );
            Failure::new(EX_NOINPUT, what)
                .because(error)
                .hint(hint.as_str())
        })?;
        let openpgp = PublicKey::from_base64(&text).map_err(|error| {
            let what = format!("cannot use {}", file.display());
            Failure::new(EX_DATAERR, what).because(error)
        })?;
        if openpgp.fingerprint() != pin.openpgp {
            let (found, pinned) = (openpgp.fingerprint(), pin.openpgp);
            let what = format!(
                "{} holds the key {found}: expected that of {shown}, {pinned}",
                file.display()
            );
            return Err(Failure::new(EX_DATAERR, what).hint(hint.as_str()));
        }
        Ok(HostKeys {
            name: pin.name.clone(),
            host: pin.host,
            openpgp,
        })
    }

    fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pin(pin) => Some(pin),
            Line::Comment(_) => None,
        })
    }
}

/// The lines; the number of the first that is none.
fn parse(text: &str) -> Result<Vec<Line>, usize> {
    let lines = text.lines().enumerate().map(|(index, line)| {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(Line::Comment(line.to_owned()));
        }
        Pin::parse(line).map(Line::Pin).ok_or(index + 1)
    });
    lines.collect()
}

/// Refuses two machines with one key: each could open what is for the other, or is the other.
fn check_each_once(hosts: &[HostKeys]) -> Result<(), Failure> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for host in hosts {
        let openpgp = host.openpgp.fingerprint().to_string();
        for key in [host.host.to_string(), openpgp] {
            if let Some(other) = seen.insert(key.clone(), &host.name) {
                let (one, two) = (visible(other), visible(&host.name));
                return Err(Failure::new(
                    EX_DATAERR,
                    format!("{one} and {two} have the same key {key}: nothing was sealed"),
                )
                .hint("give one of them keys of its own: nightlatch rotate --host-key, on it"));
            }
        }
    }
    Ok(())
}

fn refusal(changed: &[(String, String)]) -> Failure {
    let parts: Vec<&str> = changed.iter().map(|(_, text)| text.as_str()).collect();
    let names = changed.iter().map(|(name, _)| visible(name));
    let options: Vec<String> = names
        .map(|name| format!("--accept-changed-key {name:?}"))
        .collect();
    Failure::new(
        EX_DATAERR,
        format!(
            "keys have changed, and nothing was sealed or sent: {}",
            parts.join("; ")
        ),
    )
    .hint(format!(
        "compare with the machine itself. If it has new keys or another name, repeat this with {}; if not, the server, \
         or somebody on it, wants to read what you seal",
        options.join(" ")
    ))
}

#[cfg(test)]
mod tests;
