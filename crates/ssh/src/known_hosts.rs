//! Lists of known hosts: the files that sshd(8) describes under "SSH_KNOWN_HOSTS FILE FORMAT".
//!
//! ```text
//! [@revoked | @cert-authority] NAMES TYPE BASE64 [COMMENT]
//! NAMES    PATTERN,PATTERN...   * and ? in a pattern, ! before one that must not match
//!          |1|SALT|HASH         a hashed name: HMAC-SHA1 of it, with the salt as key
//! ```
//!
//! Stricter than OpenSSH in two points: a revoked key is revoked for all hosts, and a line that revokes something and cannot be
//! read is an error of the whole file.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nightlatch_core::ssh::{HostKey, HostKeyError};

use crate::certificate::{HostIdentity, NotCertified};

/// Bytes of the hash and of the salt of a hashed name.
const HASH: usize = 20;

/// Characters of a faulty line that an error quotes.
const MAX_QUOTED: usize = 40;

/// The lines of all files, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnownHosts {
    hosts: Vec<KnownKey>,
    authorities: Vec<KnownKey>,
    revoked: Vec<HostKey>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct KnownKey {
    names: Names,
    key: HostKey,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Names {
    Hashed {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// In lower case; true for those with `!` before them.
    Patterns(Vec<(bool, String)>),
}

/// A line that is not understood, and the file is used without it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct LineFault {
    /// The line, from 1.
    pub line: usize,
    /// The fault, and what was expected.
    pub why: LineFaultKind,
    /// True for a line that revokes a key: which one is not known, so no key of the file can be trusted.
    pub revokes: bool,
}

/// The fault of a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LineFaultKind {
    /// Something else after the `@`.
    #[error("expected @cert-authority or @revoked, found {0:?}")]
    Marker(String),
    /// Fewer words than a line has.
    #[error("expected names, the type of a key and its base64, found {0:?}")]
    Words(String),
    /// A name that begins like a hashed one.
    #[error("expected a hashed name as |1|SALT|HASH, found {0:?}")]
    Hashed(String),
    /// The key is malformed.
    #[error(transparent)]
    Key(HostKeyError),
}

/// The key of a host is not one that the list has for it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotKnown {
    /// This key, or that of its authority, is revoked.
    #[error("the host key is revoked (@revoked)")]
    Revoked,
    /// No line has it under this name.
    #[error("the host key is not known for the name")]
    Unknown,
    /// An authority of this host vouches for it, but not for this name now.
    #[error(transparent)]
    Certificate(NotCertified),
}

impl KnownHosts {
    /// Adds the lines of a file. Keys of kinds that are not supported are passed over: no host can prove one here.
    pub fn add(&mut self, text: &str) -> Vec<LineFault> {
        let mut faults = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_matches(is_blank);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(why) = self.add_line(line) {
                faults.push(LineFault {
                    line: number + 1,
                    why,
                    revokes: line.starts_with("@revoked"),
                });
            }
        }
        faults
    }

    fn add_line(&mut self, line: &str) -> Result<(), LineFaultKind> {
        let (marker, rest) = match line.starts_with('@') {
            true => first_word(line),
            false => ("", line),
        };
        let list = match marker {
            "" => &mut self.hosts,
            "@cert-authority" => &mut self.authorities,
            "@revoked" => {
                let (_, key) = first_word(rest);
                self.revoked.extend(read_key(key, line)?);
                return Ok(());
            }
            other => return Err(LineFaultKind::Marker(quoted(other))),
        };
        let (names, key) = first_word(rest);
        if let Some(key) = read_key(key, line)? {
            let names = Names::parse(names)?;
            list.push(KnownKey { names, key });
        }
        Ok(())
    }

    /// Looks for what a server has shown and proved. `name` is the host as ssh(1) writes it into a list: in lower case, and
    /// `[HOST]:PORT` for a port that is not 22. `host` is the same without a port, for the principals of a certificate.
    ///
    /// # Errors
    /// When it is revoked, whatever else a list says, or not known under this name `now` seconds after 1970.
    pub fn check(
        &self,
        identity: &HostIdentity,
        name: &str,
        host: &str,
        now: u64,
    ) -> Result<(), NotKnown> {
        if self.is_revoked(identity) {
            return Err(NotKnown::Revoked);
        }
        if is_listed(&self.hosts, identity.key(), name) {
            return Ok(());
        }
        match identity {
            HostIdentity::Certified(certificate)
                if is_listed(&self.authorities, certificate.authority(), name) =>
            {
                certificate.check(host, now).map_err(NotKnown::Certificate)
            }
            _ => Err(NotKnown::Unknown),
        }
    }

    /// True when a key or an authority is known under this name, revoked or not.
    pub fn has_name(&self, name: &str) -> bool {
        let mut all = self.hosts.iter().chain(&self.authorities);
        all.any(|known| known.names.contain(name))
    }

    fn is_revoked(&self, identity: &HostIdentity) -> bool {
        let authority = match identity {
            HostIdentity::Certified(certificate) => Some(certificate.authority()),
            HostIdentity::Plain(_) => None,
        };
        let mut revoked = self.revoked.iter();
        revoked.any(|key| key == identity.key() || Some(key) == authority)
    }
}

fn is_listed(list: &[KnownKey], key: &HostKey, name: &str) -> bool {
    list.iter()
        .any(|known| known.key == *key && known.names.contain(name))
}

/// `None` for a key of a kind that no host can prove here.
fn read_key(text: &str, line: &str) -> Result<Option<HostKey>, LineFaultKind> {
    match text.parse() {
        Ok(key) => Ok(Some(key)),
        // Old, foreign, or too short.
        Err(HostKeyError::Kind(_) | HostKeyError::RsaBits(_)) => Ok(None),
        Err(HostKeyError::Form(_)) => Err(LineFaultKind::Words(quoted(line))),
        Err(error) => Err(LineFaultKind::Key(error)),
    }
}

impl Names {
    fn parse(field: &str) -> Result<Self, LineFaultKind> {
        let Some(hashed) = field.strip_prefix('|') else {
            let patterns = field.split(',').filter(|pattern| !pattern.is_empty());
            let patterns = patterns.map(|pattern| match pattern.strip_prefix('!') {
                Some(rest) => (true, rest.to_ascii_lowercase()),
                None => (false, pattern.to_ascii_lowercase()),
            });
            return Ok(Self::Patterns(patterns.collect()));
        };
        let parts: Vec<&str> = hashed.split('|').collect();
        let decoded = match parts[..] {
            ["1", salt, hash] => BASE64.decode(salt).ok().zip(BASE64.decode(hash).ok()),
            _ => None,
        };
        match decoded {
            Some((salt, hash)) if salt.len() == HASH && hash.len() == HASH => {
                Ok(Self::Hashed { salt, hash })
            }
            _ => Err(LineFaultKind::Hashed(quoted(field))),
        }
    }

    /// True when one of them is `name`, and no `!` excludes it.
    fn contain(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => {
                // The format has no other hash. It hides names, and proves nothing.
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::sign(&key, name.as_bytes()).as_ref() == hash
            }
            Self::Patterns(patterns) => {
                let found = |is_excluded: bool| {
                    let mut its = patterns
                        .iter()
                        .filter(|(excluded, _)| *excluded == is_excluded);
                    its.any(|(_, pattern)| fits(pattern.as_bytes(), name.as_bytes()))
                };
                found(false) && !found(true)
            }
        }
    }
}

/// True when the pattern, with `*` for any bytes and `?` for one, fits the whole text. Goes back to the last `*` only, so that
/// no pattern takes more than the product of both lengths.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut last_star = None;
    while let Some(byte) = text.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star, begun)) = last_star else {
                    return false;
                };
                last_star = Some((star, begun + 1));
                at = star + 1;
                read = begun + 1;
            }
        }
    }
    let mut rest = pattern.get(at..).unwrap_or_default().iter();
    rest.all(|byte| *byte == b'*')
}

/// The first word, and what follows it without the blanks between.
fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(is_blank).unwrap_or((text, ""));
    (word, rest.trim_start_matches(is_blank))
}

const fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r')
}

fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_QUOTED).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests;
