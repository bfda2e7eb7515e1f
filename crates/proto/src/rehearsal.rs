//! The server's first line to a machine that rehearses, inside TLS and before the payload.
//!
//! Only a client with `rehearsal` in its first line gets it, and only from a Nightlatch server: a stock server ignores
//! the word. It gives the reason of a refusal, which a refused boot does not get.

use std::fmt;
use std::time::Duration;

use nightlatch_core::digits;

/// The longest line, its end included.
const MAX_LINE: usize = 128;

const START: &str = "rehearsal ";

const YES: &str = "yes";

/// The answer to a rehearsal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RehearsalAnswer {
    /// A boot would get the secret now; it follows.
    Released(RehearsalTerms),
    /// A boot would get nothing, or the server cannot say, for this reason. Nothing follows.
    Refused(String),
}

/// The durations that limit how long the machine may be away, in whole seconds on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RehearsalTerms {
    /// Time left until it is disabled, if no further check succeeds.
    pub left: Duration,
    /// Time from a successful check to the deadline.
    pub timeout: Duration,
    /// The time between two checks.
    pub interval: Duration,
    /// The rehearsal raised an alarm, because none was allowed.
    pub alarm: bool,
}

impl RehearsalTerms {
    /// The longest absence that is safe at any time. Just before a check, the remaining time is shorter by one
    /// interval.
    pub fn safe_absence(&self) -> Duration {
        self.timeout.saturating_sub(self.interval)
    }
}

impl fmt::Display for RehearsalAnswer {
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

/// Bytes that are no answer to a rehearsal: the server may have taken the request for a boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server's answer is not one to a rehearsal")]
pub struct NotARehearsalAnswer;

/// Reads the line at the start of `bytes`. Also returns its length in bytes.
pub fn read(bytes: &[u8]) -> Result<(RehearsalAnswer, usize), NotARehearsalAnswer> {
    let head = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let end = head.windows(2).position(|two| two == b"\r\n");
    let end = end.ok_or(NotARehearsalAnswer)?;
    let line = std::str::from_utf8(&head[..end]).map_err(|_| NotARehearsalAnswer)?;
    let said = line.strip_prefix(START).ok_or(NotARehearsalAnswer)?;
    let answer = match said.split_once(' ') {
        Some(("released", terms)) => RehearsalAnswer::Released(read_terms(terms)?),
        Some(("refused", reason)) if is_a_reason(reason) => {
            RehearsalAnswer::Refused(reason.to_owned())
        }
        _ => return Err(NotARehearsalAnswer),
    };
    Ok((answer, end + 2))
}

/// Reasons are shown to a person as they are.
fn is_a_reason(reason: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    !reason.is_empty() && reason.bytes().all(plain)
}

/// Words that a later server adds are ignored.
fn read_terms(text: &str) -> Result<RehearsalTerms, NotARehearsalAnswer> {
    let word = |key: &str| {
        let mut words = text.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let seconds = |key: &str| {
        let value = word(key).and_then(digits::decimal);
        value.map(Duration::from_secs).ok_or(NotARehearsalAnswer)
    };
    Ok(RehearsalTerms {
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
            let terms = RehearsalTerms {
                left: Duration::from_secs(left),
                timeout: Duration::from_secs(timeout),
                interval: Duration::from_secs(interval),
                alarm,
            };
            for answer in [RehearsalAnswer::Released(terms), RehearsalAnswer::Refused("rehearsal-unproved".into())] {
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
            assert_eq!(read(bytes), Err(NotARehearsalAnswer));
        }
    }

    #[test]
    fn words_of_later_servers_are_ignored() {
        let line = b"rehearsal released later=x left=1 timeout=300 interval=120\r\n";
        let Ok((RehearsalAnswer::Released(terms), _)) = read(line) else {
            panic!("not read");
        };
        assert_eq!(terms.safe_absence(), Duration::from_secs(180));
    }
}
