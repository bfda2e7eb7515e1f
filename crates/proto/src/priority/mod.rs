//! GnuTLS priority strings (`--priority`, gnutls documentation "Priority strings"), as far as Mandos
//! documents them, mapped to what our TLS library offers.
//!
//! TLS 1.3 with raw public keys is the only protocol there is, so a string can only narrow and order
//! the parameters. What it asks for beyond that is refused, never ignored.

use std::str::FromStr;

use rustls::crypto::SupportedKxGroup;
use rustls::{SignatureScheme, SupportedCipherSuite};

mod names;

use names::{CipherSuite, InitialKeyword, KeyExchangeGroup, PriorityItem, Scheme};

/// The default of Mandos (mandos(8), mandos-client(8mandos)).
pub const DEFAULT: &str =
    "SECURE128:!CTYPE-X.509:+CTYPE-RAWPK:!RSA:!VERS-ALL:+VERS-TLS1.3:%PROFILE_ULTRA";

/// The TLS parameters that may be used, most preferred first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Priority {
    suites: Vec<CipherSuite>,
    groups: Vec<KeyExchangeGroup>,
    schemes: Vec<Scheme>,
}

impl Default for Priority {
    /// The meaning of [`DEFAULT`].
    fn default() -> Self {
        Self {
            suites: CipherSuite::ALL.to_vec(),
            groups: KeyExchangeGroup::ALL.to_vec(),
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

/// A priority string that is refused. The administrator can mend it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PriorityError {
    /// The first token is no known set of defaults.
    #[error("priority string begins with {0:?}, expected one of {keywords}", keywords = InitialKeyword::NAMES.join(", "))]
    InitialKeyword(String),
    /// A token that asks for something we do not have.
    #[error("{token:?} in the priority string is not supported, expected {expected}")]
    Token {
        /// The token as given.
        token: String,
        /// The tokens that are accepted in its place.
        expected: String,
    },
    /// Nothing is left of something that every connection needs.
    #[error("the priority string leaves no {missing}, expected at least one of {expected}")]
    Nothing {
        /// The missing kind of parameter.
        missing: &'static str,
        /// Tokens that add one.
        expected: String,
    },
}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let mut tokens = text
            .split(':')
            .map(str::trim)
            .filter(|token| !token.is_empty());
        let first = tokens.next().unwrap_or_default();
        let keyword = InitialKeyword::named(first)
            .ok_or_else(|| PriorityError::InitialKeyword(first.to_owned()))?;
        let mut draft = Draft::of(keyword);
        for token in tokens {
            draft.apply(token)?;
        }
        draft.finish()
    }
}

/// A priority while its string is read.
struct Draft {
    priority: Priority,
    /// TLS 1.3 is enabled.
    tls13: bool,
    /// Raw public keys are enabled: unlike in GnuTLS from the start, since the protocol has no other keys.
    raw_keys: bool,
    /// Authenticated encryption is enabled; TLS 1.3 has no other.
    aead: bool,
}

impl Draft {
    fn of(keyword: InitialKeyword) -> Self {
        let mut priority = Priority::default();
        match keyword {
            InitialKeyword::Normal => {}
            InitialKeyword::Performance => priority.suites.rotate_right(1),
            InitialKeyword::Secure192 => {
                priority
                    .suites
                    .retain(|suite| *suite != CipherSuite::Aes128Gcm);
                // The hybrid group is as strong as its stronger part, ML-KEM-768 of category 3.
                priority.groups.retain(|group| {
                    matches!(
                        group,
                        KeyExchangeGroup::X25519MlKem768 | KeyExchangeGroup::P384
                    )
                });
            }
            InitialKeyword::None => {
                priority.suites.clear();
                priority.groups.clear();
                priority.schemes.clear();
            }
        }
        Self {
            priority,
            tls13: !matches!(keyword, InitialKeyword::None),
            raw_keys: !matches!(keyword, InitialKeyword::None),
            aead: !matches!(keyword, InitialKeyword::None),
        }
    }

    fn apply(&mut self, token: &str) -> Result<(), PriorityError> {
        let Some((sign, name)) = split(token) else {
            return Err(refused(
                token,
                "a word that begins with +, -, ! or %".to_owned(),
            ));
        };
        match sign {
            Sign::Flag if names::is_harmless_flag(name) => Ok(()),
            Sign::Flag => Err(refused(token, names::flags())),
            Sign::Add => self.add(token, name),
            Sign::Remove => self.remove(token, name),
        }
    }

    fn add(&mut self, token: &str, name: &str) -> Result<(), PriorityError> {
        match PriorityItem::named(name) {
            Some(PriorityItem::Suites(suites)) => append(&mut self.priority.suites, suites),
            Some(PriorityItem::Groups(groups)) => append(&mut self.priority.groups, groups),
            Some(PriorityItem::Schemes(schemes)) => append(&mut self.priority.schemes, schemes),
            Some(PriorityItem::Tls13) => self.tls13 = true,
            Some(PriorityItem::RawKeys) => self.raw_keys = true,
            Some(PriorityItem::Aead) => self.aead = true,
            Some(PriorityItem::Implied) => {}
            None => return Err(refused(token, names::all())),
        }
        Ok(())
    }

    fn remove(&mut self, token: &str, name: &str) -> Result<(), PriorityError> {
        match PriorityItem::named(name) {
            Some(PriorityItem::Suites(suites)) => {
                self.priority.suites.retain(|one| !suites.contains(one))
            }
            Some(PriorityItem::Groups(groups)) => {
                self.priority.groups.retain(|one| !groups.contains(one))
            }
            Some(PriorityItem::Schemes(schemes)) => {
                self.priority.schemes.retain(|one| !schemes.contains(one));
            }
            Some(PriorityItem::Tls13) => self.tls13 = false,
            Some(PriorityItem::RawKeys) => self.raw_keys = false,
            Some(PriorityItem::Aead) => self.aead = false,
            // Tokens of TLS 1.2 and before, which have no choice in TLS 1.3.
            Some(PriorityItem::Implied) => {}
            // Removing an algorithm that we do not support changes nothing, if its name exists.
            None if names::is_known_to_gnutls(name) => {}
            None => return Err(refused(token, names::all())),
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

fn split(token: &str) -> Option<(Sign, &str)> {
    let (sign, name) = token.split_at_checked(1)?;
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
