//! GnuTLS priority strings (`--priority`, gnutls documentation "Priority strings"), as far as Mandos
//! documents them, mapped to what our TLS library offers.
//!
//! TLS 1.3 with raw public keys is the only protocol there is, so a string can only narrow and order
//! the parameters. What it asks for beyond that is refused, never ignored.

use std::str::FromStr;

use rustls::crypto::SupportedKxGroup;
use rustls::{SignatureScheme, SupportedCipherSuite};

mod names;

use names::{Group, Item, Scheme, Set, Suite};

/// What Mandos uses where nothing is configured (mandos(8), mandos-client(8mandos)).
pub const DEFAULT: &str =
    "SECURE128:!CTYPE-X.509:+CTYPE-RAWPK:!RSA:!VERS-ALL:+VERS-TLS1.3:%PROFILE_ULTRA";

/// The TLS parameters that may be used, most preferred first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Priority {
    suites: Vec<Suite>,
    groups: Vec<Group>,
    schemes: Vec<Scheme>,
}

impl Default for Priority {
    /// What [`DEFAULT`] means.
    fn default() -> Self {
        Self {
            suites: Suite::ALL.to_vec(),
            groups: Group::ALL.to_vec(),
            schemes: Scheme::ALL.to_vec(),
        }
    }
}

impl Priority {
    pub(crate) fn suites(&self) -> Vec<SupportedCipherSuite> {
        self.suites.iter().map(|suite| suite.of_rustls()).collect()
    }

    pub(crate) fn groups(&self) -> Vec<&'static dyn SupportedKxGroup> {
        self.groups.iter().map(|group| group.of_rustls()).collect()
    }

    pub(crate) fn schemes(&self) -> Vec<SignatureScheme> {
        self.schemes
            .iter()
            .map(|scheme| scheme.of_rustls())
            .collect()
    }
}

/// Why a priority string is refused. It is the administrator's to mend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PriorityError {
    /// The first word is no set of defaults that we know.
    #[error("priority string begins with {0:?}, expected one of {sets}", sets = Set::NAMES.join(", "))]
    Set(String),
    /// A word that asks for something we do not have.
    #[error("{token:?} in the priority string is not supported, expected {expected}")]
    Token {
        /// The word.
        token: String,
        /// What could stand in its place.
        expected: String,
    },
    /// Nothing is left of something that every connection needs.
    #[error("the priority string leaves no {missing}, expected at least one of {expected}")]
    Nothing {
        /// What is missing.
        missing: &'static str,
        /// What would mend it.
        expected: String,
    },
}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let mut words = text
            .split(':')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        let set = Set::named(first).ok_or_else(|| PriorityError::Set(first.to_owned()))?;
        let mut draft = Draft::of(set);
        for word in words {
            draft.apply(word)?;
        }
        draft.finish()
    }
}

/// A priority while its string is read.
struct Draft {
    priority: Priority,
    /// Whether TLS 1.3 is still on.
    tls13: bool,
    /// Whether raw public keys are still on. Unlike in GnuTLS they are from the start, since the
    /// protocol knows nothing else.
    raw_keys: bool,
    /// Whether authenticated encryption is still on; TLS 1.3 has no other.
    aead: bool,
}

impl Draft {
    fn of(set: Set) -> Self {
        let mut priority = Priority::default();
        match set {
            Set::Normal => {}
            Set::Performance => priority.suites.rotate_right(1),
            Set::Secure192 => {
                priority.suites.retain(|suite| *suite != Suite::Aes128Gcm);
                // The hybrid group is as strong as its stronger part, ML-KEM-768 of category 3.
                priority
                    .groups
                    .retain(|group| matches!(group, Group::X25519MlKem768 | Group::P384));
            }
            Set::None => {
                priority.suites.clear();
                priority.groups.clear();
                priority.schemes.clear();
            }
        }
        Self {
            priority,
            tls13: !matches!(set, Set::None),
            raw_keys: !matches!(set, Set::None),
            aead: !matches!(set, Set::None),
        }
    }

    fn apply(&mut self, word: &str) -> Result<(), PriorityError> {
        let Some((sign, name)) = split(word) else {
            return Err(refused(
                word,
                "a word that begins with +, -, ! or %".to_owned(),
            ));
        };
        match sign {
            Sign::Flag if names::is_harmless_flag(name) => Ok(()),
            Sign::Flag => Err(refused(word, names::flags())),
            Sign::Add => self.add(word, name),
            Sign::Remove => self.remove(word, name),
        }
    }

    fn add(&mut self, word: &str, name: &str) -> Result<(), PriorityError> {
        match Item::named(name) {
            Some(Item::Suites(suites)) => append(&mut self.priority.suites, suites),
            Some(Item::Groups(groups)) => append(&mut self.priority.groups, groups),
            Some(Item::Schemes(schemes)) => append(&mut self.priority.schemes, schemes),
            Some(Item::Tls13) => self.tls13 = true,
            Some(Item::RawKeys) => self.raw_keys = true,
            Some(Item::Aead) => self.aead = true,
            Some(Item::Implied) => {}
            None => return Err(refused(word, names::all())),
        }
        Ok(())
    }

    fn remove(&mut self, word: &str, name: &str) -> Result<(), PriorityError> {
        match Item::named(name) {
            Some(Item::Suites(suites)) => self.priority.suites.retain(|one| !suites.contains(one)),
            Some(Item::Groups(groups)) => self.priority.groups.retain(|one| !groups.contains(one)),
            Some(Item::Schemes(schemes)) => {
                self.priority.schemes.retain(|one| !schemes.contains(one));
            }
            Some(Item::Tls13) => self.tls13 = false,
            Some(Item::RawKeys) => self.raw_keys = false,
            Some(Item::Aead) => self.aead = false,
            // Words of TLS 1.2 and before, whose counterparts in TLS 1.3 are no choice.
            Some(Item::Implied) => {}
            // What we never had is easily gone without, if it is a real name.
            None if names::is_known_to_gnutls(name) => {}
            None => return Err(refused(word, names::all())),
        }
        Ok(())
    }

    fn finish(self) -> Result<Priority, PriorityError> {
        let nothing = |missing, expected: String| Err(PriorityError::Nothing { missing, expected });
        if !self.tls13 {
            return nothing("protocol version", "+VERS-TLS1.3".to_owned());
        }
        if !self.raw_keys {
            return nothing("raw public keys", "+CTYPE-RAWPK".to_owned());
        }
        if !self.aead {
            return nothing("authenticated encryption", "+AEAD".to_owned());
        }
        if self.priority.suites.is_empty() {
            return nothing("cipher suite", names::of(names::SUITES));
        }
        if self.priority.groups.is_empty() {
            return nothing(
                "key exchange with forward secrecy",
                names::of(names::GROUPS),
            );
        }
        if self.priority.schemes.is_empty() {
            return nothing("signature scheme", names::of(names::SCHEMES));
        }
        Ok(self.priority)
    }
}

enum Sign {
    Add,
    Remove,
    Flag,
}

fn split(word: &str) -> Option<(Sign, &str)> {
    let (sign, name) = word.split_at_checked(1)?;
    let sign = match sign {
        "+" => Sign::Add,
        "-" | "!" => Sign::Remove,
        "%" => Sign::Flag,
        _ => return None,
    };
    Some((sign, name))
}

fn refused(token: &str, expected: String) -> PriorityError {
    PriorityError::Token {
        token: token.to_owned(),
        expected,
    }
}

fn append<T: Copy + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(*item);
        }
    }
}

#[cfg(test)]
mod tests;
