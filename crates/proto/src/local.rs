//! The protocol of the agent's local socket, by which programs of a machine get named secrets. A codec without sockets.
//!
//! The caller sends one line, `get NAME`. The agent answers with lines: `trying` and `waiting` while it asks servers, and a
//! last one. After `value LENGTH` come as many bytes, and nothing after them. A later version adds words to the request,
//! which an earlier agent refuses as `failed request`, or lines before the last one, which a caller that does not know
//! them ignores.

use std::fmt;
use std::time::Duration;

use nightlatch_core::digits;
use nightlatch_core::sealed_secret::MAX_VALUE;
use nightlatch_core::secret_name::{SecretName, SecretNameError};
use nightlatch_core::secret_rejection::RejectionReason;

use crate::release::{ReasonWord, WaitReason};

/// The longest line in either direction, its line feed included, in bytes.
pub const MAX_LINE: usize = 512;

/// The longest text of a failure, in bytes.
const MAX_TEXT: usize = 400;

const GET: &str = "get ";

/// A field that the server has not given.
const NOTHING: &str = "-";

/// The line of the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalRequest {
    /// The named secret that it asks for; never `boot`.
    pub name: SecretName,
}

impl LocalRequest {
    /// The line with its line feed.
    pub fn line(&self) -> String {
        format!("{GET}{}\n", self.name)
    }

    /// Reads a line without its line feed.
    ///
    /// # Errors
    /// Anything but `get` and the name of a named secret.
    pub fn parse(line: &str) -> Result<Self, LocalRequestError> {
        let name = line
            .strip_prefix(GET)
            .ok_or_else(|| LocalRequestError::Form(line.chars().take(80).collect()))?;
        let name = SecretName::new(name)?;
        match name.is_boot() {
            true => Err(LocalRequestError::Boot),
            false => Ok(Self { name }),
        }
    }
}

/// A line that asks for nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LocalRequestError {
    /// Another verb.
    #[error("expected `get` and the name of a secret, found {0:?}")]
    Form(String),
    /// No name of a secret.
    #[error(transparent)]
    Name(#[from] SecretNameError),
    /// The password of the disk.
    #[error("the secret boot is for the boot of this machine, and no named secret")]
    Boot,
}

/// A line of the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAnswer {
    /// The agent asks a server.
    Trying,
    /// A server lets the request wait.
    Waiting(LocalWaiting),
    /// So many trusted servers could not be reached: what the others say may not be all that there is to say.
    Unreached(usize),
    /// The last line: no server gives it, and this is the reason of one.
    Refused {
        /// The server's word for it.
        reason: Option<ReasonWord>,
        /// Time after which another request makes sense.
        retry: Option<Duration>,
    },
    /// The last line: a server gave a sealed secret that the agent does not believe.
    Rejected(RejectionReason),
    /// The last line: nobody could be asked, or this caller may not ask.
    Failed(LocalFailure),
    /// The last line: so many bytes follow, at most [`MAX_VALUE`].
    Value(usize),
}

/// A request waits at a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalWaiting {
    /// The server's word for the reason.
    pub reason: Option<ReasonWord>,
    /// Time until it is decided without a person, in whole seconds.
    pub left: Option<Duration>,
    /// Its number, which an administrator sees too.
    pub reference: u64,
}

impl LocalWaiting {
    /// True when a person has to decide.
    pub fn is_for_person(&self) -> bool {
        let reason = self.reason.as_ref().map(ReasonWord::as_str);
        reason.is_none_or(|reason| reason == WaitReason::Approval.as_str())
    }
}

/// A failure, with a text for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalFailure {
    /// Its kind.
    pub kind: LocalFailureKind,
    text: String,
}

impl LocalFailure {
    /// The text is made one line, and cut where it is too long.
    pub fn new(kind: LocalFailureKind, text: &str) -> Self {
        let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
        let mut text: String = text.chars().map(shown).collect();
        if text.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
        }
        let text = text.trim().to_owned();
        Self { kind, text }
    }

    /// The text for people, in one line.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The kind of a failure: a caller chooses its exit status and its advice by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalFailureKind {
    /// This user may not ask for this secret.
    NotAllowed,
    /// The agent serves as many callers as it can, in all or of this user.
    Busy,
    /// The user database does not tell who may ask.
    Lookup,
    /// No trusted server could be reached.
    NoServer,
    /// The machine cannot use named secrets: keys are missing or unusable.
    Setup,
    /// The agent's memory of this secret cannot be read or written.
    State,
    /// The request makes no sense to this agent.
    Request,
    /// A kind that only a later agent knows.
    Other,
}

impl LocalFailureKind {
    const ALL: [Self; 8] = [
        Self::NotAllowed,
        Self::Busy,
        Self::Lookup,
        Self::NoServer,
        Self::Setup,
        Self::State,
        Self::Request,
        Self::Other,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not-allowed",
            Self::Busy => "busy",
            Self::Lookup => "lookup",
            Self::NoServer => "no-server",
            Self::Setup => "setup",
            Self::State => "state",
            Self::Request => "request",
            Self::Other => "other",
        }
    }
}

impl LocalAnswer {
    /// The line with its line feed.
    pub fn line(&self) -> String {
        format!("{self}\n")
    }

    /// True when no line follows.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Trying | Self::Waiting(_) | Self::Unreached(_))
    }

    /// Reads a line without its line feed; `None` for one that a later agent may send before the last one.
    ///
    /// # Errors
    /// A line of a known word in another form.
    pub fn parse(line: &str) -> Result<Option<Self>, LocalAnswerError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match word {
            "trying" if rest.is_empty() => Some(Self::Trying),
            "waiting" => waiting(rest).map(Self::Waiting),
            "unreached" => digits::decimal(rest).map(Self::Unreached),
            "refused" => refused(rest),
            "rejected" => RejectionReason::by_word(rest).map(Self::Rejected),
            "failed" => failed(rest).map(Self::Failed),
            "value" => digits::decimal(rest)
                .filter(|length| (1..=MAX_VALUE).contains(length))
                .map(Self::Value),
            "trying" => None,
            _ => return Ok(None),
        };
        let wrong = || LocalAnswerError(line.chars().take(80).collect());
        answer.map(Some).ok_or_else(wrong)
    }
}

impl fmt::Display for LocalAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trying => f.write_str("trying"),
            Self::Waiting(LocalWaiting {
                reason,
                left,
                reference,
            }) => {
                let (reason, left) = (shown(reason), seconds(*left));
                write!(f, "waiting {reason} {left} {reference}")
            }
            Self::Unreached(count) => write!(f, "unreached {count}"),
            Self::Refused { reason, retry } => {
                write!(f, "refused {} {}", shown(reason), seconds(*retry))
            }
            Self::Rejected(reason) => write!(f, "rejected {reason}"),
            Self::Failed(failure) => {
                write!(f, "failed {} {}", failure.kind.as_str(), failure.text)
            }
            Self::Value(length) => write!(f, "value {length}"),
        }
    }
}

/// A line that is no answer of an agent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the agent sent a line that is not of its protocol: {0:?}")]
pub struct LocalAnswerError(String);

fn shown(reason: &Option<ReasonWord>) -> &str {
    reason.as_ref().map_or(NOTHING, ReasonWord::as_str)
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or(NOTHING.to_owned(), |time| time.as_secs().to_string())
}

fn waiting(rest: &str) -> Option<LocalWaiting> {
    let mut words = rest.split(' ');
    let (reason, left) = reason_and_time(&mut words)?;
    let reference = digits::decimal(words.next()?)?;
    words.next().is_none().then_some(LocalWaiting {
        reason,
        left,
        reference,
    })
}

fn refused(rest: &str) -> Option<LocalAnswer> {
    let mut words = rest.split(' ');
    let (reason, retry) = reason_and_time(&mut words)?;
    let answer = LocalAnswer::Refused { reason, retry };
    words.next().is_none().then_some(answer)
}

fn failed(rest: &str) -> Option<LocalFailure> {
    let (word, text) = rest.split_once(' ')?;
    let kind = LocalFailureKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == word);
    Some(LocalFailure::new(
        kind.unwrap_or(LocalFailureKind::Other),
        text,
    ))
}

fn reason_and_time<'w>(
    words: &mut impl Iterator<Item = &'w str>,
) -> Option<(Option<ReasonWord>, Option<Duration>)> {
    let reason = match words.next()? {
        NOTHING => None,
        word => Some(ReasonWord::new(word)?),
    };
    let time = match words.next()? {
        NOTHING => None,
        seconds => Some(Duration::from_secs(digits::decimal(seconds)?)),
    };
    Some((reason, time))
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn answers() -> impl Strategy<Value = LocalAnswer> {
        let words =
            || option::of("[a-z][a-z-]{0,39}".prop_map(|word| ReasonWord::new(&word).unwrap()));
        let times = || option::of(any::<u64>().prop_map(Duration::from_secs));
        let waiting = (words(), times(), any::<u64>());
        let reasons = prop::sample::select(RejectionReason::ALL.as_slice());
        let kinds = prop::sample::select(LocalFailureKind::ALL.as_slice());
        prop_oneof![
            Just(LocalAnswer::Trying),
            any::<usize>().prop_map(LocalAnswer::Unreached),
            waiting.prop_map(
                |(reason, left, reference)| LocalAnswer::Waiting(LocalWaiting {
                    reason,
                    left,
                    reference
                })
            ),
            (words(), times()).prop_map(|(reason, retry)| LocalAnswer::Refused { reason, retry }),
            reasons.prop_map(LocalAnswer::Rejected),
            (kinds, ".{0,600}")
                .prop_map(|(kind, text)| { LocalAnswer::Failed(LocalFailure::new(kind, &text)) }),
            (1..=MAX_VALUE).prop_map(LocalAnswer::Value),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(answer in answers()) {
            let line = answer.line();
            prop_assert!(line.len() <= MAX_LINE, "{}", line.len());
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(LocalAnswer::parse(line), Ok(Some(answer)));
        }

        #[test]
        fn any_line_is_read_or_refused(line in ".{0,600}") {
            if let Ok(Some(answer)) = LocalAnswer::parse(&line) {
                prop_assert_eq!(LocalAnswer::parse(answer.to_string().as_str()), Ok(Some(answer)));
            }
            if let Ok(request) = LocalRequest::parse(&line) {
                prop_assert_eq!(request.line(), format!("{line}\n"));
            }
        }
    }

    #[test]
    fn the_lines_are_those_of_the_document() {
        let reason = ReasonWord::new("approval");
        for (answer, line) in [
            (
                LocalAnswer::Waiting(LocalWaiting {
                    reason: reason.clone(),
                    left: Some(Duration::from_millis(58_900)),
                    reference: 4711,
                }),
                "waiting approval 58 4711\n",
            ),
            (
                LocalAnswer::Refused {
                    reason: None,
                    retry: None,
                },
                "refused - -\n",
            ),
            (
                LocalAnswer::Rejected(RejectionReason::RolledBack),
                "rejected rolled-back\n",
            ),
            (
                LocalAnswer::Failed(LocalFailure::new(LocalFailureKind::Busy, "8\ncallers\n")),
                "failed busy 8 callers\n",
            ),
            (LocalAnswer::Unreached(2), "unreached 2\n"),
            (LocalAnswer::Value(17), "value 17\n"),
        ] {
            assert_eq!(answer.line(), line);
        }
        let name = SecretName::new("db").unwrap();
        assert_eq!(LocalRequest { name }.line(), "get db\n");
    }

    #[test]
    fn other_forms_are_refused_and_lines_of_later_agents_are_not() {
        for line in [
            "trying 1",
            "waiting",
            "waiting approval 58",
            "waiting approval 58 4711 x",
            "waiting approval -1 4711",
            "waiting Approval 58 4711",
            "unreached",
            "unreached -1",
            "refused",
            "refused x",
            "rejected",
            "rejected Stolen",
            "failed busy",
            "value 0",
            "value",
            "value 524289",
            "value +1",
        ] {
            let error = LocalAnswer::parse(line).unwrap_err();
            assert!(error.to_string().contains(line), "{error}");
        }
        assert_eq!(LocalAnswer::parse("progress 5 of 9"), Ok(None));
        let Ok(Some(LocalAnswer::Failed(failure))) =
            LocalAnswer::parse("failed eclipse of the sun")
        else {
            panic!("a failure of a later agent");
        };
        assert_eq!(failure.kind, LocalFailureKind::Other);
        assert_eq!(failure.text(), "of the sun");
        for line in [
            "", "get", "get ", "get boot", "get Db", "get db ", "put db", "get db 2",
        ] {
            assert!(LocalRequest::parse(line).is_err(), "{line:?}");
        }
    }
}
