//! One line of the record (`docs/dbus.md`): its parts, its hash, and how it is shown to a person.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::output::Style;
use crate::output::table::visible;

/// Room for the longest kind that is common.
const KIND: usize = 12;

/// The hash before the first record.
const BEFORE_FIRST: [u8; 32] = [0; 32];

/// A line as it is chained.
#[derive(Deserialize, Debug)]
pub(super) struct Line<'l> {
    /// The sequence number, from 1.
    pub(super) seq: u64,
    hash: &'l str,
    #[serde(borrow)]
    record: &'l RawValue,
}

/// What happened.
#[derive(Deserialize, Debug)]
pub(super) struct Record {
    /// RFC 3339, UTC.
    pub(super) time: String,
    /// What kind of thing.
    pub(super) kind: String,
    /// Whom it is about.
    pub(super) client: Option<String>,
    key_id: Option<String>,
    peer: Option<String>,
    interface: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    who: Option<String>,
    /// What is alarming about it.
    pub(super) alarm: Option<String>,
    detail: Option<String>,
}

/// The hash of a record. Displayed in hexadecimal as in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hash([u8; 32]);

impl<'l> Line<'l> {
    /// Takes a line apart.
    pub(super) fn read(line: &'l str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// What happened.
    pub(super) fn record(&self) -> Result<Record, serde_json::Error> {
        serde_json::from_str(self.record.get())
    }

    /// The hash that it says to have; `None` when that is no hash.
    pub(super) fn stated_hash(&self) -> Option<Hash> {
        Hash::read(self.hash)
    }

    /// The hash that it has when it follows `before`: over that hash, the sequence number as 8 bytes,
    /// big-endian, and the record to the byte.
    pub(super) fn hash_after(&self, before: Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(before.0);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.record.get());
        Hash(hasher.finalize().into())
    }
}

impl Hash {
    /// That before the first record.
    pub(super) const FIRST: Self = Self(BEFORE_FIRST);

    /// Reads 64 hexadecimal digits in lower case.
    pub(super) fn read(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Record {
    /// One line for a person.
    pub(super) fn show(&self, coloured: bool) -> String {
        let style = match (self.kind.as_str(), &self.alarm) {
            (_, Some(_)) | ("alarm", _) => Style::Bad,
            ("refused" | "denied" | "expired" | "undelivered" | "check-failed", _) => {
                Style::Warning
            }
            ("released" | "approved" | "enabled", _) => Style::Good,
            _ => Style::Plain,
        };
        // Seconds are enough for people.
        let time = match self.time.split_once('.') {
            Some((seconds, _)) => format!("{seconds}Z"),
            None => self.time.clone(),
        };
        let time = Style::Dim.paint(&visible(&time), coloured);
        let kind = style.paint(&format!("{:<KIND$}", visible(&self.kind)), coloured);
        let mut line = format!("{time}  {kind}");
        let from = [("from ", &self.peer), ("on ", &self.interface)];
        let why = [("", &self.reason), ("by ", &self.who), ("", &self.detail)];
        let mut add = |label: &str, part: &str| {
            line.push_str("  ");
            line.push_str(label);
            line.push_str(&visible(part));
        };
        if let Some(whom) = self.client.as_ref().or(self.key_id.as_ref()) {
            add("", whom);
        }
        // What was answered is mostly the kind.
        if let Some(decision) = self.decision.as_ref().filter(|word| **word != self.kind) {
            add("", decision);
        }
        for (label, part) in from.into_iter().chain(why) {
            if let Some(part) = part {
                add(label, part);
            }
        }
        if let Some(alarm) = &self.alarm {
            let alarm = Style::Bad.paint(&format!("ALARM: {}", visible(alarm)), coloured);
            line.push_str("  ");
            line.push_str(&alarm);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A line that follows `before`, and its hash.
    pub(crate) fn chained(seq: u64, record: &str, before: Hash) -> (String, Hash) {
        let mut hasher = Sha256::new();
        hasher.update(before.0);
        hasher.update(seq.to_be_bytes());
        hasher.update(record.as_bytes());
        let hash = Hash(hasher.finalize().into());
        let line = format!("{{\"seq\":{seq},\"hash\":\"{hash}\",\"record\":{record}}}");
        (line, hash)
    }

    #[test]
    fn a_line_has_the_hash_of_what_it_says() {
        let record = r#"{"time":"2026-11-21T23:19:55.400000Z","kind":"started"}"#;
        let (text, hash) = chained(7, record, Hash::FIRST);
        let line = Line::read(&text).unwrap();
        assert_eq!(line.stated_hash(), Some(hash));
        assert_eq!(line.hash_after(Hash::FIRST), hash);
        assert_ne!(line.hash_after(hash), hash);
        assert_eq!(Hash::read(&hash.to_string()), Some(hash));
        assert_eq!(Hash::read("AB"), None);
    }

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        // { printf '%064d%016d' 0 1 | xxd -r -p; printf '{}'; } | sha256sum
        let line = Line::read(r#"{"seq":1,"hash":"","record":{}}"#).unwrap();
        let expected = "1bad765d926feacace97a8ddcd329a1f4254c208affc1ba86b3c7d59e8fba83e";
        assert_eq!(line.hash_after(Hash::FIRST).to_string(), expected);
    }

    #[test]
    fn a_person_reads_one_line() {
        let record: Record = serde_json::from_str(
            r#"{"time":"2026-11-21T23:19:55.400000Z","kind":"refused","client":"foo\u001b[2J",
               "peer":"fe80::1","reason":"disabled","alarm":"second-request","decision":"refused"}"#,
        )
        .unwrap();
        assert_eq!(
            record.show(false),
            "2026-11-21T23:19:55Z  refused       foo\\u{1b}[2J  from fe80::1  disabled  \
             ALARM: second-request"
        );
    }
}
