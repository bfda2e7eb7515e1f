//! The first line a client sends: `1\r\n`, the version of the Mandos protocol.
//!
//! The line comes before TLS, so nothing in it is authenticated. Stock servers read only its first word.

/// The longest line that is read, its end included. Clients send 3 bytes; a peer that sends for ever must not cost
/// memory.
pub const MAX_LINE: usize = 128;

/// The protocol version that is spoken. Versions below it are served too, as Mandos serves them.
pub const VERSION: i64 = 1;

/// The line with which a client begins, its end included.
pub fn client_line() -> String {
    format!("{VERSION}\r\n")
}

/// The line with which the agent of a booted machine begins, its end included. The word can only lower its priority:
/// it is not authenticated, and a stock server ignores it.
pub fn agent_line() -> String {
    format!("{VERSION} agent\r\n")
}

/// The word by which clients before `nightlatch/1` said that they rehearse.
const REHEARSAL: &str = "rehearsal";

/// The first line of a client, parsed. Words after the version are ignored, as Mandos does, but for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// The protocol version, at most [`VERSION`]. Out of range, the nearest value.
    pub version: i64,
}

/// Collects the first line from whatever pieces the network delivers.
///
/// LF, CR LF and a CR before anything else end a line, and so does the end of the stream. A CR that
/// is the last byte so far may be half of a CR LF, so the reader waits for what follows, as Mandos
/// does.
#[derive(Default, Debug)]
pub struct LineReader {
    line: Vec<u8>,
}

/// The result of [`LineReader::push`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineProgress {
    /// The line has no end yet.
    More,
    /// The line is complete and acceptable. Bytes after its end were dropped, as Mandos does: a client sends nothing
    /// more before the server's ClientHello.
    Done(Greeting),
}

impl LineReader {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes from the peer. After an error or [`LineProgress::Done`] the reader is spent.
    pub fn push(&mut self, bytes: &[u8]) -> Result<LineProgress, GreetingError> {
        for &byte in bytes {
            let after_cr = self.line.last() == Some(&b'\r');
            if byte == b'\n' || after_cr {
                return self.finish().map(LineProgress::Done);
            }
            if self.line.len() + 1 == MAX_LINE {
                return Err(GreetingError::TooLong);
            }
            self.line.push(byte);
        }
        Ok(LineProgress::More)
    }

    /// The peer will send no more: what there is must be the line.
    pub fn finish(&mut self) -> Result<Greeting, GreetingError> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| GreetingError::NotText)?;
        parse(line)
    }
}

/// A first line that is not served. It is the peer's fault in each case; the peer gets no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GreetingError {
    /// No line end within [`MAX_LINE`] bytes.
    #[error("the first line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The line is not UTF-8.
    #[error("the first line is not text")]
    NotText,
    /// Nothing, or only blanks, before the end.
    #[error("the first line is empty, expected protocol version {VERSION}")]
    Empty,
    /// A rehearsal of an older client: served as a boot, it would release the secret.
    #[error("the word {REHEARSAL} of an older client, which is asked for by nightlatch/1 now")]
    Rehearsal,
    /// The first word is not a supported version.
    #[error("unknown protocol version {0:?}, expected {VERSION}")]
    Version(String),
}

fn parse(line: &str) -> Result<Greeting, GreetingError> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next().ok_or(GreetingError::Empty)?;
    let version = version(first).ok_or_else(|| GreetingError::Version(first.to_owned()))?;
    if words.any(|word| word == REHEARSAL) {
        return Err(GreetingError::Rehearsal);
    }
    Ok(Greeting { version })
}

/// An ASCII integer of at most [`VERSION`], with or without a sign.
fn version(field: &str) -> Option<i64> {
    let negative = field.starts_with('-');
    let digits = field.strip_prefix(['-', '+']).unwrap_or(field);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Only digits are left, so a failure means a number beyond i64.
    let version = match digits.parse::<i64>() {
        Ok(magnitude) if negative => -magnitude,
        Ok(magnitude) => magnitude,
        Err(_) if negative => i64::MIN,
        Err(_) => i64::MAX,
    };
    (version <= VERSION).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<LineProgress, GreetingError> {
        LineReader::new().push(bytes)
    }

    fn version_of(line: &[u8]) -> Option<i64> {
        match read(line) {
            Ok(LineProgress::Done(greeting)) => Some(greeting.version),
            _ => None,
        }
    }

    #[test]
    fn the_stock_line_is_served() {
        assert_eq!(version_of(b"1\r\n"), Some(1));
        assert_eq!(client_line(), "1\r\n");
        assert_eq!(agent_line(), "1 agent\r\n");
        assert_eq!(version_of(agent_line().as_bytes()), Some(1));
    }

    #[test]
    fn what_mandos_served_is_served() {
        for (line, version) in [
            (&b"0\n"[..], 0),
            (b"-5 foo bar\r\n", -5),
            (b"+1\n", 1),
            (b"  1 extra words\n", 1),
            (b"\t001\n", 1),
            (b"-99999999999999999999999999\n", i64::MIN),
        ] {
            assert_eq!(version_of(line), Some(version), "{line:?}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        for line in [
            &b"2\r\n"[..],
            b"1.0\r\n",
            b"abc\n",
            b"0_1\n",
            b"--1\n",
            b"+\n",
            b"0x1\n",
            "\u{661}\n".as_bytes(),
            b"99999999999999999999999999\n",
            b"boot=1 1\n",
        ] {
            assert!(
                matches!(read(line), Err(GreetingError::Version(_))),
                "{line:?}"
            );
        }
        assert_eq!(read(b"\r\n"), Err(GreetingError::Empty));
        assert_eq!(read(b"  \n"), Err(GreetingError::Empty));
        assert_eq!(read(b"1 \xff\n"), Err(GreetingError::NotText));
        // Never as a boot.
        let rehearsal = b"1 boot=00112233445566778899aabbccddeeff rehearsal\r\n";
        assert_eq!(read(rehearsal), Err(GreetingError::Rehearsal));
    }

    #[test]
    fn each_kind_of_line_end_is_known() {
        assert_eq!(version_of(b"1\n"), Some(1));
        assert_eq!(version_of(b"1\r\nrest"), Some(1));
        assert_eq!(version_of(b"1\rX"), Some(1));
        let mut reader = LineReader::new();
        assert_eq!(reader.push(b"1"), Ok(LineProgress::More));
        assert_eq!(reader.push(b"\r"), Ok(LineProgress::More));
        assert!(matches!(reader.push(b"\n"), Ok(LineProgress::Done(_))));
    }

    #[test]
    fn the_end_of_the_stream_ends_the_line() {
        let mut reader = LineReader::new();
        assert_eq!(reader.push(b"1"), Ok(LineProgress::More));
        assert_eq!(reader.finish().map(|greeting| greeting.version), Ok(1));
        assert_eq!(LineReader::new().finish(), Err(GreetingError::Empty));
    }

    #[test]
    fn a_line_of_the_greatest_length_is_served_and_no_longer_one() {
        let mut line = vec![b' '; MAX_LINE - 2];
        line.extend(b"1\n");
        assert_eq!(version_of(&line), Some(1));
        line.insert(0, b' ');
        assert_eq!(read(&line), Err(GreetingError::TooLong));
        assert_eq!(read(&[b'1'; 100_003]), Err(GreetingError::TooLong));
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(bytes: Vec<u8>, cut: proptest::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut reader = LineReader::new();
            let in_pieces = match reader.push(head) {
                Ok(LineProgress::More) => reader.push(tail),
                done => done,
            };
            prop_assert_eq!(in_pieces, read(&bytes));
        }
    }
}
