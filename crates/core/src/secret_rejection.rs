//! The refusal of a sealed secret by the agent that got it from a server, as it is told to every server
//! (docs/decisions/0173).

use std::fmt;
use std::str::FromStr;

use crate::secret_name::SecretName;

/// The greatest number of rejections that one heartbeat tells.
pub const MAX_REJECTIONS: usize = 8;

/// The reason for which a machine does not believe a sealed secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RejectionReason {
    /// No pinned admin key has signed it, or it cannot be decrypted with the host's key.
    Forged,
    /// It is for another host or of another name, or its lines in clear differ from the signed ones.
    Swapped,
    /// The machine has had a newer one, or another one with the same serial.
    RolledBack,
    /// Its time is over, or the machine's clock is before its creation.
    Expired,
    /// It is no sealed secret.
    Malformed,
    /// Another one, of an agent that is newer than this program. It must not cost a sign of life.
    Other,
}

impl RejectionReason {
    /// Every reason, the most severe first.
    pub const ALL: [Self; 6] = [
        Self::Forged,
        Self::Swapped,
        Self::RolledBack,
        Self::Expired,
        Self::Malformed,
        Self::Other,
    ];

    /// Its word on the wire, in records and to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Swapped => "swapped",
            Self::RolledBack => "rolled-back",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// The reason with this word: lower-case letters and dashes.
    pub fn by_word(word: &str) -> Option<Self> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        let is_word = !word.is_empty() && word.bytes().all(is_letter);
        let known = Self::ALL.into_iter().find(|it| it.as_str() == word);
        is_word.then_some(known.unwrap_or(Self::Other))
    }

    /// The reason as the end of a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Forged => {
                "no admin key of the machine has signed it, or it is not encrypted to its host key"
            }
            Self::Swapped => "it is for another machine or another name",
            Self::RolledBack => "the machine has seen a newer one",
            Self::Expired => "it has expired, or the clock of the machine is wrong",
            Self::Malformed => "it is no sealed secret",
            Self::Other => "its agent, which is newer than this program, has a reason of its own",
        }
    }
}

impl fmt::Display for RejectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named secret that a machine has refused. As text: `REASON NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rejection {
    /// The reason.
    pub reason: RejectionReason,
    /// The name under which the machine asked for it; never `boot`.
    pub name: SecretName,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reason, self.name)
    }
}

impl FromStr for Rejection {
    type Err = RejectionError;

    fn from_str(text: &str) -> Result<Self, RejectionError> {
        let wrong = || RejectionError(text.to_owned());
        let (reason, name) = text.split_once(' ').ok_or_else(wrong)?;
        let reason = RejectionReason::by_word(reason).ok_or_else(wrong)?;
        let name = SecretName::new(name).ok().filter(|name| !name.is_boot());
        let name = name.ok_or_else(wrong)?;
        Ok(Self { reason, name })
    }
}

/// A text is no rejection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a word such as forged, a space and the name of a named secret; found {0:?}")]
pub struct RejectionError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_word() {
        for reason in RejectionReason::ALL {
            let name = SecretName::new("postgres.password").unwrap();
            let rejection = Rejection { reason, name };
            let text = rejection.to_string();
            assert_eq!(text, format!("{} postgres.password", reason.as_str()));
            assert_eq!(text.parse(), Ok(rejection));
        }
    }

    #[test]
    fn a_word_of_a_newer_agent_is_another_reason() {
        let rejection: Rejection = "stolen a".parse().unwrap();
        assert_eq!(rejection.to_string(), "other a");
    }

    #[test]
    fn another_form_is_an_error_that_quotes_it() {
        for text in [
            "",
            "forged",
            "forged ",
            " forged a",
            "forged  a",
            "forged a ",
            "forged a b",
            "Forged a",
            "rolled_back a",
            "forged boot",
            "forged A",
        ] {
            let error = text.parse::<Rejection>().unwrap_err();
            assert!(error.to_string().ends_with(&format!("found {text:?}")));
        }
    }
}
