//! The lines of the control socket. Pure.
//!
//! ```text
//! status                     -> the lines of a report, and the end
//! lock                       -> done
//! unlock person|file LENGTH [card=NAME] [key=FINGERPRINT]
//!                            and so many bytes: the PIN, for that card alone
//!                            -> done | already | WORD TEXT
//! ```

use std::fmt;

use crate::card_lock::TriedBy;
use crate::named_card::NamedCard;

/// The longest line of a request: one that names a card and its key has 111 bytes.
pub(crate) const MAX_LINE: usize = 128;

/// The longest PIN that is read. A card takes 127 bytes at most.
pub(crate) const MAX_PIN: usize = 127;

/// What a command wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ControlRequest {
    Status,
    Lock,
    Unlock {
        by: TriedBy,
        length: usize,
        named: NamedCard,
    },
}

impl ControlRequest {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["status"] => Some(Self::Status),
            ["lock"] => Some(Self::Lock),
            ["unlock", by, length, ref named @ ..] => {
                let by = match by {
                    "person" => TriedBy::Person,
                    "file" => TriedBy::Agent,
                    _ => return None,
                };
                let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = length.parse().ok().filter(|length| *length <= MAX_PIN)?;
                let named = NamedCard::parse(named)?;
                is_number.then_some(Self::Unlock { by, length, named })
            }
            _ => None,
        }
    }
}

impl fmt::Display for ControlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Lock => f.write_str("lock"),
            Self::Unlock { by, length, named } => {
                let by = match by {
                    TriedBy::Person => "person",
                    TriedBy::Agent => "file",
                };
                write!(f, "unlock {by} {length}{named}")
            }
        }
    }
}

/// The kind of an answer to `lock` and `unlock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AnswerWord {
    Done,
    /// It was unlocked before.
    Already,
    WrongPin,
    NoCard,
    /// Not the one for which the PIN is.
    OtherCard,
    /// A PIN from a file for a card that is not named, or not its key.
    NotNamed,
    NoService,
    TooFewTries,
    /// The PIN was not tried.
    NotTried,
    NotAllowed,
    Busy,
    Failed,
}

impl AnswerWord {
    const ALL: [Self; 12] = [
        Self::Done,
        Self::Already,
        Self::WrongPin,
        Self::NoCard,
        Self::OtherCard,
        Self::NotNamed,
        Self::NoService,
        Self::TooFewTries,
        Self::NotTried,
        Self::NotAllowed,
        Self::Busy,
        Self::Failed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already",
            Self::WrongPin => "wrong-pin",
            Self::NoCard => "no-card",
            Self::OtherCard => "other-card",
            Self::NotNamed => "not-named",
            Self::NoService => "no-service",
            Self::TooFewTries => "too-few-tries",
            Self::NotTried => "not-tried",
            Self::NotAllowed => "not-allowed",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// The line that answers `lock` and `unlock`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ControlAnswer {
    pub(crate) word: AnswerWord,
    /// For a person; may be empty.
    pub(crate) text: String,
}

impl ControlAnswer {
    pub(crate) fn new(word: AnswerWord, text: impl fmt::Display) -> Self {
        let text = text.to_string().replace('\n', " ");
        Self { word, text }
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let word = AnswerWord::ALL.into_iter().find(|it| it.as_str() == word)?;
        let text = text.to_owned();
        Some(Self { word, text })
    }
}

impl fmt::Display for ControlAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word.as_str())?;
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(f, " {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let named = NamedCard {
            card: nightlatch_core::settings::card::CardName::parse(
                "d2760001240103040006123456780000",
            ),
            key: Some("SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE".to_owned()),
        };
        let longest = format!("unlock person 127{named}");
        assert!(longest.len() <= MAX_LINE);
        for (line, request) in [
            ("status", ControlRequest::Status),
            ("lock", ControlRequest::Lock),
            (
                "unlock person 6",
                ControlRequest::Unlock {
                    by: TriedBy::Person,
                    length: 6,
                    named: NamedCard::default(),
                },
            ),
            (
                &longest,
                ControlRequest::Unlock {
                    by: TriedBy::Person,
                    length: 127,
                    named,
                },
            ),
            (
                "unlock file 127",
                ControlRequest::Unlock {
                    by: TriedBy::Agent,
                    length: 127,
                    named: NamedCard::default(),
                },
            ),
        ] {
            assert_eq!(request.to_string(), line);
            assert_eq!(ControlRequest::parse(line), Some(request));
        }
        for line in [
            "",
            "status ",
            "unlock",
            "unlock person",
            "unlock person 128",
            "unlock agent 6",
            "unlock file +6",
            "unlock file 6 ",
            "unlock file 6 card=1",
            "unlock file 6 more",
        ] {
            assert_eq!(ControlRequest::parse(line), None, "{line}");
        }
        for word in AnswerWord::ALL {
            for text in ["", "2 tries are left"] {
                let answer = ControlAnswer::new(word, text);
                assert_eq!(ControlAnswer::parse(&answer.to_string()), Some(answer));
            }
        }
        assert_eq!(ControlAnswer::parse("perhaps"), None);
    }
}
