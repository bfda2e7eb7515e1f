//! The machines whose keys this administrator knows: `known-hosts`, pinned at first use as ssh does.
//!
//! A server says which keys a machine has. Without pins it could name keys of its own, and read each value that is sealed
//! to them; so it can before the first pin (docs/threat-model.md).

mod acceptance;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use nightlatch_console::failure::{EX_CONFIG, EX_DATAERR, EX_IOERR, EX_NOINPUT, Failure};
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::name::{ClientName, shell_word};
use nightlatch_fleet::select;
use nightlatch_openpgp::PublicKey;

use crate::config_folder::{self, ConfigFolder};
pub(crate) use acceptance::Acceptance;

/// The pins: `HOST-KEY-ID OPENPGP-FINGERPRINT NAME`, one a line; `#` begins a comment.
const FILE: &str = "known-hosts";

/// The public keys of pinned machines in base64, each in a file with the id of its host key.
const KEYS: &str = "known-hosts.d";

/// A machine's keys as a server or a section says them. Not compared with the pins yet.
#[derive(Debug)]
pub(crate) struct HostKeys {
    pub(crate) name: ClientName,
    pub(crate) host: KeyId,
    pub(crate) openpgp: PublicKey,
}

/// A machine's keys at first use, or as a person accepted them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pin {
    host: KeyId,
    openpgp: Fingerprint,
    name: ClientName,
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
            name: machine_name(name.trim()).ok()?,
        })
    }

    fn line(&self) -> String {
        format!("{} {} {}", self.host, self.openpgp, self.name)
    }

    /// True when the pins differ and have a part in common. Each part of a pin belongs to one machine.
    fn contradicts(&self, other: &Self) -> bool {
        self != other
            && (self.host == other.host || self.openpgp == other.openpgp || self.name == other.name)
    }

    /// A text with the parts in which `now` differs from this pin: the old and the new value of each.
    fn differences(&self, now: &Self) -> String {
        let mut parts = Vec::new();
        if self.openpgp != now.openpgp {
            parts.push(format!("OpenPGP key {}, now {}", self.openpgp, now.openpgp));
        }
        if self.host != now.host {
            parts.push(format!("host key {}, now {}", self.host, now.host));
        }
        if self.name != now.name {
            parts.push(format!("name {}, now {}", self.name, now.name));
        }
        parts.join("; ")
    }
}

/// A line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Line {
    Pin(Pin),
    /// A comment or an empty line, written back unchanged.
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

    /// Compares the keys of `hosts` with the pins, and pins new ones in memory. Changed ones are refused, all
    /// together, but for those that are in `accepted` with the key that they have now. Returns a sentence for
    /// each change of the pins.
    ///
    /// # Errors
    /// When a machine has changed, has another key than the accepted one, or two of them have the same key.
    pub(crate) fn check(
        &mut self,
        hosts: &[HostKeys],
        accepted: &[Acceptance],
    ) -> Result<Vec<String>, Failure> {
        check_each_once(hosts)?;
        let found: Vec<Pin> = hosts.iter().map(Pin::of).collect();
        // All are judged by the pins as they were, before one is replaced.
        let pins: Vec<Pin> = self.pins().cloned().collect();
        let mut changes = Vec::new();
        let mut needed = Vec::new();
        for now in &found {
            let change = Change::of(now, &pins, &found, accepted);
            if change.needed.iter().any(|it| !accepted.contains(it)) {
                changes.push(change.text);
            }
            for acceptance in change.needed {
                if !needed.contains(&acceptance) {
                    needed.push(acceptance);
                }
            }
        }
        match changes.is_empty() {
            true => Ok(self.replace(&pins, found)),
            false => Err(refusal(&changes, &needed)),
        }
    }

    /// Pins `found`, and removes the pins that contradict it. Returns a sentence for each change.
    fn replace(&mut self, pins: &[Pin], found: Vec<Pin>) -> Vec<String> {
        let mut news = Vec::new();
        self.lines.retain(|line| match line {
            Line::Pin(pin) => !found.iter().any(|now| pin.contradicts(now)),
            Line::Comment(_) => true,
        });
        for pin in pins {
            let successor = found.iter().find(|now| pin.contradicts(now));
            if let Some(now) = successor
                && found.iter().all(|it| it.name != pin.name)
            {
                news.push(format!(
                    "the pin of {} is gone, as its keys are those of {} now",
                    pin.name, now.name
                ));
            }
        }
        for now in found {
            if pins.contains(&now) {
                continue;
            }
            let is_new = !pins.iter().any(|pin| pin.contradicts(&now));
            let word = if is_new { "new" } else { "changed" };
            news.push(format!(
                "pinned the {word} OpenPGP key {} of {}",
                now.openpgp, now.name
            ));
            self.lines.push(Line::Pin(now));
        }
        news
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

    /// The keys of the pinned machines that `names` and patterns choose, each once.
    ///
    /// # Errors
    /// When one chooses none, or as [`Self::find`].
    pub(crate) fn find_all(&self, names: &[String]) -> Result<Vec<HostKeys>, Failure> {
        let known: Vec<&str> = self.pins().map(|pin| pin.name.as_str()).collect();
        let mut chosen: Vec<&str> = Vec::new();
        for name in names {
            let found = select::matching(&known, name)?;
            if found.is_empty() {
                return self.find(name).map(|keys| vec![keys]);
            }
            chosen.extend(found);
        }
        let mut seen = HashSet::new();
        chosen.retain(|name| seen.insert(*name));
        chosen.into_iter().map(|name| self.find(name)).collect()
    }

    /// The keys of the pinned machine `name`.
    ///
    /// # Errors
    /// When it is unknown, or its public key is missing or another one than the pin says.
    pub(crate) fn find(&self, name: &str) -> Result<HostKeys, Failure> {
        let shown = shell_word(name);
        let hint = format!(
            "give the section that enroll printed: --host-key FILE, or use it once with a server: nightlatch secret put NAME {shown}"
        );
        let pin = self
            .pins()
            .find(|pin| pin.name.as_str() == name)
            .ok_or_else(|| {
                let what = format!("no machine is known as {name:?}");
                Failure::new(EX_DATAERR, what).hint(hint.as_str())
            })?;
        let file = self.folder.file(KEYS).join(pin.host.to_string());
        let text = fs::read_to_string(&file).map_err(|error| {
            let what = format!(
                "cannot read the public key of {} in {}",
                pin.name,
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
                "{} holds the key {found}: expected that of {}, {pinned}",
                file.display(),
                pin.name
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

/// Reads the lines. The error is the number of the first one that is neither a pin nor a comment, from 1.
fn parse(text: &str) -> Result<Vec<Line>, usize> {
    let lines = text.lines().enumerate().map(|(index, line)| {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(Line::Comment(line.to_owned()));
        }
        Pin::parse(line).map(Line::Pin).ok_or(index + 1)
    });
    lines.collect()
}

/// Reads the name of a machine, from a server, a section or a person.
///
/// # Errors
/// When it is no name of a client, or has white space at its ends, as it then looks like another name.
pub(crate) fn machine_name(text: &str) -> Result<ClientName, String> {
    let name =
        ClientName::new(text).map_err(|error| format!("{text:?} names no machine: {error}"))?;
    match text.trim() == text {
        true => Ok(name),
        false => Err(format!(
            "{text:?} names no machine: expected no white space at its ends"
        )),
    }
}

/// The difference between a machine's keys and the pins.
struct Change {
    text: String,
    /// The acceptances without which the change is refused.
    needed: Vec<Acceptance>,
}

impl Change {
    /// The change of the machine `now`, one of `found`, against `pins`. A machine that is named in `accepted` must have the
    /// key that is accepted there, even if it has not changed.
    fn of(now: &Pin, pins: &[Pin], found: &[Pin], accepted: &[Acceptance]) -> Self {
        let old: Vec<&Pin> = pins.iter().filter(|pin| pin.contradicts(now)).collect();
        let mut parts: Vec<String> = old.iter().map(|pin| pin.differences(now)).collect();
        let own = Acceptance {
            name: now.name.clone(),
            openpgp: now.openpgp,
        };
        let others = accepted.iter().filter(|it| it.name == now.name);
        let others: Vec<String> = others.map(|it| it.openpgp.to_string()).collect();
        if parts.is_empty() && others.is_empty() {
            return Self {
                text: String::new(),
                needed: Vec::new(),
            };
        }
        if !others.is_empty() && !accepted.contains(&own) {
            let accepted = others.join(" or ");
            parts.push(format!("accepted key {accepted}, now {}", now.openpgp));
        }
        // The pin of another machine goes only if that machine is named too.
        let losers = old.iter().filter(|pin| pin.name != now.name);
        let losers = losers.map(|pin| Acceptance {
            name: pin.name.clone(),
            openpgp: found
                .iter()
                .find(|it| it.name == pin.name)
                .map_or(now.openpgp, |it| it.openpgp),
        });
        let needed = losers.collect::<Vec<_>>();
        Self {
            text: format!("{} had {}", now.name, parts.join("; ")),
            needed: std::iter::once(own).chain(needed).collect(),
        }
    }
}

/// Refuses two machines with one key, as each could open the secrets of the other, and two machines with one name.
fn check_each_once(hosts: &[HostKeys]) -> Result<(), Failure> {
    let mut seen: HashMap<String, &ClientName> = HashMap::new();
    let mut names = HashSet::new();
    for host in hosts {
        let (id, openpgp) = (
            host.host.to_string(),
            host.openpgp.fingerprint().to_string(),
        );
        for key in [id, openpgp] {
            if let Some(other) = seen.insert(key.clone(), &host.name) {
                return Err(Failure::new(
                    EX_DATAERR,
                    format!(
                        "{other} and {} have the same key {key}: nothing was sealed",
                        host.name
                    ),
                )
                .hint("give one of them keys of its own: nightlatch rotate --host-key, on it"));
            }
        }
        if !names.insert(&host.name) {
            let what = format!(
                "two machines have the name {}: nothing was sealed",
                host.name
            );
            return Err(Failure::new(EX_DATAERR, what).hint("give each machine once"));
        }
    }
    Ok(())
}

fn refusal(changes: &[String], needed: &[Acceptance]) -> Failure {
    let options: Vec<String> = needed.iter().map(Acceptance::option).collect();
    Failure::new(
        EX_DATAERR,
        format!(
            "keys have changed, and nothing was sealed or sent: {}",
            changes.join("; ")
        ),
    )
    .hint(format!(
        "compare with the machine itself. If it has these keys, or another name, repeat this with {}; if not, the \
         server, or somebody on it, wants to read what you seal",
        options.join(" ")
    ))
}

#[cfg(test)]
mod tests;
