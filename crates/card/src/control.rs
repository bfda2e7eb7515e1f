//! The lines of the control socket. Pure.
//!
//! ```text
//! status                     -> the lines of a report, and the end
//! lock                       -> done
//! unlock person|file LENGTH  and so many bytes: the PIN
//!                            -> done | already | WORD TEXT
//! ```

use std::fmt;

use crate::card_lock::TriedBy;

/// The longest line of a request.
pub(crate) const MAX_LINE: usize = 64;

/// The longest PIN that is read. A card takes 127 bytes at most.
pub(crate) const MAX_PIN: usize = 127;

/// What a command wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ControlRequest {
    Status,
    Lock,
    Unlock { by: TriedBy, length: usize },
}

impl ControlRequest {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["status"] => Some(Self::Status),
            ["lock"] => Some(Self::Lock),
            ["unlock", by, length] => {
                let by = match by {
                    "person" => TriedBy::Person,
                    "file" => TriedBy::Agent,
                    _ => return None,
                };
                let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
                let length = length.parse().ok().filter(|length| *length <= MAX_PIN)?;
                is_number.then_some(Self::Unlock { by, length })
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
            Self::Unlock { by, length } => {
                let by = match by {
                    TriedBy::Person => "person",
                    TriedBy::Agent => "file",
                };
                write!(f, "unlock {by} {length}")
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
    NoService,
    TooFewTries,
    /// The PIN was not tried.
    NotTried,
    NotAllowed,
    Busy,
    Failed,
}

impl AnswerWord {
    const ALL: [Self; 10] = [
        Self::Done,
        Self::Already,
        Self::WrongPin,
        Self::NoCard,
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
        for (line, request) in [
            ("status", ControlRequest::Status),
            ("lock", ControlRequest::Lock),
            (
                "unlock person 6",
                ControlRequest::Unlock {
                    by: TriedBy::Person,
                    length: 6,
                },
            ),
            (
                "unlock file 127",
                ControlRequest::Unlock {
                    by: TriedBy::Agent,
                    length: 127,
                },
            ),
        ] {
            assert_eq!(ControlRequest::parse(line), Some(request));
            assert_eq!(request.to_string(), line);
        }
        for line in [
            "",
            "status ",
            "unlock",
            "unlock person",
            "unlock person 128",
            "unlock agent 6",
            "unlock file +6",
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
