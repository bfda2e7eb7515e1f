//! The hash chain, and one entry as it is shown and exported.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::digits::{self, Hex};

/// An entry's hash. All zero before the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The link with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The link's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChainHash {
    type Err = RecordLineError;

    /// 64 hexadecimal digits in lower case.
    fn from_str(text: &str) -> Result<Self, RecordLineError> {
        // One text for each hash.
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let bytes = digits::hex(text.as_bytes()).filter(|_| lower);
        bytes.map(Self).ok_or(RecordLineError)
    }
}

/// A place in the chain: after entry `seq`, whose hash is `hash`. The default is the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChainPosition {
    /// The entry's number; entries count from 1.
    pub seq: u64,
    /// The entry's hash.
    pub hash: ChainHash,
}

impl ChainPosition {
    /// The place after one more entry with this text.
    pub fn next(self, text: &str) -> Self {
        let seq = self.seq + 1;
        let mut hash = Sha256::new();
        hash.update(self.hash.0);
        hash.update(seq.to_be_bytes());
        hash.update(text);
        Self {
            seq,
            hash: ChainHash(hash.finalize().into()),
        }
    }

    /// The place after `line`, which must be the next entry.
    pub fn check(self, line: &RecordLine) -> Result<Self, ChainError> {
        if line.seq != self.seq + 1 {
            return Err(ChainError::Missing {
                expected: self.seq + 1,
                found: line.seq,
            });
        }
        let next = self.next(&line.text);
        if next.hash == line.hash {
            Ok(next)
        } else {
            Err(ChainError::Changed(line.seq))
        }
    }
}

/// A record is not as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainError {
    /// An entry does not follow the one before it.
    #[error("record {expected} is missing: the next one is {found}")]
    Missing {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// An entry's text or hash is not what was written, or something before it is not.
    #[error("record {0}, or one before it, was changed")]
    Changed(u64),
}

/// One entry with its place, as it is shown, exported and verified:
/// `{"seq":7,"hash":"…","record":{…}}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordLine {
    /// Its number, from 1.
    pub seq: u64,
    /// Hash over its text and the hash before it.
    pub hash: ChainHash,
    /// Its text, a JSON object.
    pub text: Arc<str>,
}

const SEQ: &str = "{\"seq\":";
const HASH: &str = ",\"hash\":\"";
const RECORD: &str = "\",\"record\":";
const END: &str = "}";

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, hash, text } = self;
        write!(f, "{SEQ}{seq}{HASH}{hash}{RECORD}{text}{END}")
    }
}

impl FromStr for RecordLine {
    type Err = RecordLineError;

    fn from_str(text: &str) -> Result<Self, RecordLineError> {
        let rest = text.strip_prefix(SEQ).ok_or(RecordLineError)?;
        let (seq, rest) = rest.split_once(HASH).ok_or(RecordLineError)?;
        let (hash, rest) = rest.split_once(RECORD).ok_or(RecordLineError)?;
        let text = rest.strip_suffix(END).ok_or(RecordLineError)?;
        let number: u64 = seq.parse().map_err(|_| RecordLineError)?;
        // One text for each line: no sign, no leading zero.
        if number.to_string() != seq {
            return Err(RecordLineError);
        }
        Ok(Self {
            seq: number,
            hash: hash.parse()?,
            text: text.into(),
        })
    }
}

/// Text that is no [`RecordLine`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(r#"expected a record as {{"seq":…,"hash":"…","record":{{…}}}}"#)]
pub struct RecordLineError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(texts: &[String]) -> Vec<RecordLine> {
        let mut at = ChainPosition::default();
        let mut lines = Vec::new();
        for text in texts {
            at = at.next(text);
            lines.push(RecordLine {
                seq: at.seq,
                hash: at.hash,
                text: text.as_str().into(),
            });
        }
        lines
    }

    fn verify(lines: &[RecordLine]) -> Result<ChainPosition, ChainError> {
        lines
            .iter()
            .try_fold(ChainPosition::default(), |at, line| at.check(line))
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // printf '%064d0000000000000001%s' 0 "$(printf '{}' | xxd -p)" | xxd -r -p | sha256sum
        let first = ChainPosition::default().next("{}");
        assert_eq!(
            first.hash.to_string(),
            "1bad765d926feacace97a8ddcd329a1f4254c208affc1ba86b3c7d59e8fba83e"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_done_to_a_record_shows(
            texts in prop::collection::vec("[{}a-c]{0,4}", 2..8),
            at in any::<prop::sample::Index>(),
            other in any::<prop::sample::Index>(),
            deed in 0..4u8,
        ) {
            let whole = lines(&texts);
            prop_assert_eq!(verify(&whole).map(|end| end.seq), Ok(texts.len() as u64));
            let (at, other) = (at.index(texts.len() - 1), other.index(texts.len()));
            let mut touched = whole.clone();
            match deed {
                0 => drop(touched.remove(at)),
                1 => touched.swap(at, other),
                2 => touched[at].text = format!("{}!", touched[at].text).into(),
                _ => touched.insert(at, whole[other].clone()),
            }
            prop_assert_eq!(verify(&touched).is_err(), touched != whole);
        }

        #[test]
        fn a_line_is_read_as_it_is_written(seq in any::<u64>(), hash in any::<[u8; 32]>(), text in ".*") {
            let line = RecordLine { seq, hash: ChainHash(hash), text: text.into() };
            prop_assert_eq!(line.to_string().parse(), Ok(line));
        }

        #[test]
        fn what_is_no_line_is_refused(text in ".*") {
            if let Ok(line) = text.parse::<RecordLine>() {
                prop_assert_eq!(line.to_string(), text);
            }
        }
    }
}
