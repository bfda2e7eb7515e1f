//! What our server says first to a machine that rehearses: one line inside TLS, before the payload.
//!
//! Only who said `rehearsal` in its first line gets it, and only from a server of ours: a stock server
//! takes no notice of the word. It tells the machine what a refused boot would never learn.

use std::fmt;
use std::time::Duration;

use nightlatch_core::digits;

/// The longest line, its end included.
const MAX_LINE: usize = 128;

const START: &str = "rehearsal ";

const YES: &str = "yes";

/// The answer to a rehearsal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A boot would get the secret now; it follows.
    Released(Terms),
    /// A boot would get nothing, or nobody can tell whether it would, for the reason that is named.
    /// Nothing follows.
    Refused(String),
}

/// How long the machine may be away. Whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Until it is disabled, if no check succeeds any more.
    pub left: Duration,
    /// What each check that succeeds gives it.
    pub timeout: Duration,
    /// The time between two checks.
    pub interval: Duration,
    /// The rehearsal raised an alarm, as one that nobody allowed does.
    pub alarm: bool,
}

impl Terms {
    /// How long the machine may be away whenever it goes: just before a check the time that the last
    /// one gave is shorter by an interval.
    pub fn always(&self) -> Duration {
        self.timeout.saturating_sub(self.interval)
    }
}

impl fmt::Display for Answer {
    /// The line, its end included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released(terms) => write!(
                f,
                "{START}released left={} timeout={} interval={} alarm={}\r\n",
                terms.left.as_secs(),
                terms.timeout.as_secs(),
                terms.interval.as_secs(),
                if terms.alarm { YES } else { "no" }
            ),
            Self::Refused(reason) => write!(f, "{START}refused {reason}\r\n"),
        }
    }
}

/// What a server sent that is no answer to a rehearsal: it may have taken it for a boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server did not answer as one that knows rehearsals")]
pub struct NotAnAnswer;

/// Reads the line at the start of what the server sent, and says how many bytes it takes.
pub fn read(bytes: &[u8]) -> Result<(Answer, usize), NotAnAnswer> {
    let head = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let end = head.windows(2).position(|two| two == b"\r\n");
    let end = end.ok_or(NotAnAnswer)?;
    let line = std::str::from_utf8(&head[..end]).map_err(|_| NotAnAnswer)?;
    let said = line.strip_prefix(START).ok_or(NotAnAnswer)?;
    let answer = match said.split_once(' ') {
        Some(("released", terms)) => Answer::Released(read_terms(terms)?),
        Some(("refused", reason)) if is_a_reason(reason) => Answer::Refused(reason.to_owned()),
        _ => return Err(NotAnAnswer),
    };
    Ok((answer, end + 2))
}

/// It is shown to a person as it is.
fn is_a_reason(reason: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    !reason.is_empty() && reason.bytes().all(plain)
}

/// Words that a later server adds are ignored.
fn read_terms(text: &str) -> Result<Terms, NotAnAnswer> {
    let word = |key: &str| {
        let mut words = text.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let seconds = |key: &str| {
        let value = word(key).and_then(digits::decimal);
        value.map(Duration::from_secs).ok_or(NotAnAnswer)
    };
    Ok(Terms {
        left: seconds("left")?,
        timeout: seconds("timeout")?,
        interval: seconds("interval")?,
        alarm: word("alarm") == Some(YES),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(left: u64, timeout: u64, interval: u64, alarm: bool, rest: Vec<u8>) {
            let terms = Terms {
                left: Duration::from_secs(left),
                timeout: Duration::from_secs(timeout),
                interval: Duration::from_secs(interval),
                alarm,
            };
            for answer in [Answer::Released(terms), Answer::Refused("rehearsal-unproved".into())] {
                let line = answer.to_string();
                let bytes = [line.as_bytes(), &rest].concat();
                prop_assert_eq!(read(&bytes), Ok((answer, line.len())));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[START.as_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn a_payload_is_no_answer() {
        for bytes in [
            &b"-----BEGIN PGP MESSAGE-----\r\n"[..],
            b"\x84\x5e\x03",
            b"",
            b"rehearsal released left=1 timeout=2\r\n",
            b"rehearsal refused \x1b[1m\r\n",
            b"rehearsal refused denied",
        ] {
            assert_eq!(read(bytes), Err(NotAnAnswer));
        }
    }

    #[test]
    fn words_of_later_servers_are_ignored() {
        let line = b"rehearsal released later=x left=1 timeout=300 interval=120\r\n";
        let Ok((Answer::Released(terms), _)) = read(line) else {
            panic!("not read");
        };
        assert_eq!(terms.always(), Duration::from_secs(180));
    }
}
