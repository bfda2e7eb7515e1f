//! The name of a secret that a machine asks for.

use std::fmt;
use std::sync::Arc;

/// The greatest length of a name, in bytes.
pub const MAX_SECRET_NAME: usize = 63;

/// The name of a secret: a lower-case letter or digit, then up to 62 lower-case letters, digits, `.`, `_` and `-`.
///
/// `boot` is the password of the machine's disk; every other name is a named secret. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Arc<str>);

impl SecretName {
    /// The text of the name of the boot secret.
    pub const BOOT: &str = "boot";

    /// Fails when `text` is not of the form above.
    pub fn new(text: &str) -> Result<Self, SecretNameError> {
        let first = text.chars().next().ok_or(SecretNameError::Empty)?;
        if text.len() > MAX_SECRET_NAME {
            return Err(SecretNameError::TooLong(text.len()));
        }
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !letter(first) {
            return Err(SecretNameError::First(first));
        }
        match text
            .chars()
            .find(|c| !letter(*c) && !matches!(c, '.' | '_' | '-'))
        {
            Some(other) => Err(SecretNameError::Character(other)),
            None => Ok(Self(text.into())),
        }
    }

    /// The password of the machine's disk.
    pub fn boot() -> Self {
        Self(Self::BOOT.into())
    }

    /// True for the boot secret.
    pub fn is_boot(&self) -> bool {
        self.as_str() == Self::BOOT
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text cannot name a secret.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretNameError {
    /// The empty text.
    #[error("a secret needs a name, such as postgres.password")]
    Empty,
    /// Longer than [`MAX_SECRET_NAME`].
    #[error("a secret's name has at most {MAX_SECRET_NAME} characters, not {0}")]
    TooLong(usize),
    /// It begins with something else.
    #[error("a secret's name begins with a lower-case letter or a digit, not with {0:?}")]
    First(char),
    /// A character that no name has.
    #[error(
        "a secret's name consists of lower-case letters, digits, '.', '_' and '-', and has no {0:?}"
    )]
    Character(char),
}

impl fmt::Debug for SecretNameError {
    /// As for people: an error is linked into the boot client with both forms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_and_units() {
        for name in [
            "boot",
            "card.pin",
            "home.USER".to_lowercase().as_str(),
            "0",
            &"a".repeat(63),
        ] {
            assert_eq!(SecretName::new(name).unwrap().as_str(), name);
        }
        assert!(SecretName::boot().is_boot());
        assert_eq!(SecretName::new("boot"), Ok(SecretName::boot()));
        for (name, error) in [
            ("", SecretNameError::Empty),
            (".hidden", SecretNameError::First('.')),
            ("Boot", SecretNameError::First('B')),
            ("a/b", SecretNameError::Character('/')),
            ("a\n", SecretNameError::Character('\n')),
            ("ä", SecretNameError::First('ä')),
        ] {
            assert_eq!(SecretName::new(name), Err(error));
        }
        let long = "a".repeat(64);
        assert_eq!(SecretName::new(&long), Err(SecretNameError::TooLong(64)));
    }
}
