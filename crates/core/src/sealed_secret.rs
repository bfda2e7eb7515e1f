//! The form of a sealed secret: a header in clear, and an OpenPGP message with the same header and the value
//! (docs/decisions/0173).
//!
//! Nothing here is proved: the header in clear is for the server and for people. A machine believes the header that
//! [`SecretHeader::split`] finds in a plaintext whose signature it has verified, and only where both are the same.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::calendar::DateTime;
use crate::digits;
use crate::key_id::KeyId;
use crate::secret::Secret;
use crate::secret_name::SecretName;
use crate::time::Wall;

/// The greatest length of a named secret's value, in bytes.
pub const MAX_VALUE: usize = 512 * 1024;

/// The greatest length of a sealed secret, in bytes: the value, the header twice, and what OpenPGP adds.
pub const MAX_SEALED: usize = MAX_VALUE + 16 * 1024;

/// The greatest length of a header with its empty line, in bytes.
const MAX_HEADER: usize = 512;

const FIRST_LINE: &str = "nightlatch-secret 1";
const BEGIN: &str = "-----BEGIN NIGHTLATCH SECRET-----";
const END: &str = "-----END NIGHTLATCH SECRET-----";
/// As in OpenPGP's and PEM's armour.
const LINE: usize = 64;

const MICROS: i64 = 1_000_000;

/// All that is said about the value of a named secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretHeader {
    /// The host key of the machine that it is for.
    pub host: KeyId,
    /// Its name; never `boot`.
    pub name: SecretName,
    /// Rises with every new value; never 0.
    pub serial: u64,
    /// The time of sealing, in whole seconds.
    pub created: Wall,
    /// The time from which it is worth nothing, in whole seconds.
    pub expires: Option<Wall>,
}

impl SecretHeader {
    /// The plaintext to sign and encrypt: the header, the empty line and `value`.
    ///
    /// # Errors
    /// A value that is too long or empty, a header that no reader accepts.
    pub fn plaintext(&self, value: &Secret) -> Result<Secret, SealedSecretError> {
        if value.is_empty() || value.len() > MAX_VALUE {
            return Err(SealedSecretError::ValueLength(value.len()));
        }
        let header = self.text()?;
        let mut plaintext = Vec::with_capacity(header.len() + value.len());
        plaintext.extend_from_slice(header.as_bytes());
        plaintext.extend_from_slice(value.expose());
        Ok(Secret::new(plaintext))
    }

    /// Reads the header at the start of `bytes`, a plaintext or a sealed secret. Returns what follows it.
    ///
    /// # Errors
    /// Anything but the one form in which [`Self::plaintext`] writes it.
    pub fn split(bytes: &[u8]) -> Result<(Self, &[u8]), SealedSecretError> {
        let head = &bytes[..bytes.len().min(MAX_HEADER)];
        let end = head.windows(2).position(|two| two == b"\n\n");
        let (header, rest) = bytes.split_at(end.ok_or(SealedSecretError::NoHeader)? + 2);
        let text = std::str::from_utf8(header).map_err(|_| SealedSecretError::NoHeader)?;
        let header = Self::parse(text)?;
        Ok((header, rest))
    }

    /// True from the time of its expiry on, and before its creation, as that clock is wrong. Never for one without expiry.
    pub fn is_expired(&self, now: Wall) -> bool {
        self.expires
            .is_some_and(|expires| now >= expires || now < self.created)
    }

    fn text(&self) -> Result<String, SealedSecretError> {
        let Self {
            host,
            name,
            serial,
            created,
            expires,
        } = self;
        let mut text = format!(
            "{FIRST_LINE}\nhost {host}\nname {name}\nserial {serial}\ncreated {}\n",
            time(*created)
        );
        if let Some(expires) = expires {
            text.push_str(&format!("expires {}\n", time(*expires)));
        }
        text.push('\n');
        // What is written can be read, and says the same.
        match Self::parse(&text)? == *self {
            true => Ok(text),
            false => Err(SealedSecretError::Time),
        }
    }

    fn parse(text: &str) -> Result<Self, SealedSecretError> {
        let mut lines = text.split_terminator('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(SealedSecretError::NoHeader);
        }
        let mut value = |key: &'static str| {
            let line = lines.next().and_then(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.strip_prefix(' '));
            value.ok_or(SealedSecretError::Line(key))
        };
        let host = value("host")?;
        let host = host
            .parse()
            .ok()
            .filter(|id: &KeyId| id.to_string() == host)
            .ok_or(SealedSecretError::Line("host"))?;
        let name = SecretName::new(value("name")?)
            .ok()
            .filter(|name| !name.is_boot())
            .ok_or(SealedSecretError::Line("name"))?;
        let serial = value("serial")?;
        let serial = digits::decimal::<u64>(serial)
            .filter(|number| *number > 0 && number.to_string() == serial)
            .ok_or(SealedSecretError::Line("serial"))?;
        let created = read_time("created", value("created")?)?;
        let expires = match lines.next() {
            Some("") => None,
            Some(line) => {
                let expires = line
                    .strip_prefix("expires ")
                    .ok_or(SealedSecretError::Line("expires"))?;
                let expires = read_time("expires", expires)?;
                if lines.next() != Some("") || expires <= created {
                    return Err(SealedSecretError::Line("expires"));
                }
                Some(expires)
            }
            None => return Err(SealedSecretError::NoHeader),
        };
        Ok(Self {
            host,
            name,
            serial,
            created,
            expires,
        })
    }
}

fn time(wall: Wall) -> String {
    format!("{}Z", DateTime::from(wall).to_second('T'))
}

/// `2026-11-30T02:24:10Z`, of the years 1970 to 9999.
fn read_time(key: &'static str, text: &str) -> Result<Wall, SealedSecretError> {
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(digits::decimal::<u8>);
    let wall = || {
        let date = DateTime {
            year: i64::from(text.get(0..4).and_then(digits::decimal::<u16>)?),
            month: number(5..7)?,
            day: number(8..10)?,
            hour: number(11..13)?,
            minute: number(14..16)?,
            second: number(17..19)?,
            micros: 0,
        };
        date.to_wall()
    };
    wall()
        .filter(|wall| wall.unix_micros() >= 0 && time(*wall) == text)
        .ok_or(SealedSecretError::Line(key))
}

/// A sealed secret: what servers keep and machines open.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    header: SecretHeader,
    bytes: Vec<u8>,
    message: usize,
}

impl SealedSecret {
    /// Puts the header in clear before the OpenPGP message with the same header.
    ///
    /// # Errors
    /// An empty message, one that is too long, a header that no reader accepts.
    pub fn new(header: &SecretHeader, message: &[u8]) -> Result<Self, SealedSecretError> {
        let mut bytes = header.text()?.into_bytes();
        bytes.extend_from_slice(message);
        Self::from_bytes(bytes)
    }

    /// Reads the bytes as a server keeps them.
    ///
    /// # Errors
    /// A header in another form, no message after it, more than [`MAX_SEALED`] bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SealedSecretError> {
        if bytes.len() > MAX_SEALED {
            return Err(SealedSecretError::SealedLength(bytes.len()));
        }
        let (header, message) = SecretHeader::split(&bytes)?;
        if message.is_empty() {
            return Err(SealedSecretError::NoMessage);
        }
        let message = bytes.len() - message.len();
        Ok(Self {
            header,
            bytes,
            message,
        })
    }

    /// Reads it as text: between its lines of armour, or the base64 alone. White space does not matter.
    ///
    /// # Errors
    /// Armour without an end, text after it, no base64, and those of [`Self::from_bytes`].
    pub fn from_text(text: &str) -> Result<Self, SealedSecretError> {
        let text = text.trim();
        let body = match text.strip_prefix(BEGIN) {
            Some(rest) => rest.strip_suffix(END).ok_or(SealedSecretError::Armor)?,
            None => text,
        };
        let base64: String = body.split_ascii_whitespace().collect();
        let bytes = BASE64
            .decode(base64)
            .map_err(|_| SealedSecretError::Armor)?;
        Self::from_bytes(bytes)
    }

    /// The text of a file: base64 between lines of armour.
    pub fn to_text(&self) -> String {
        let base64 = self.to_base64();
        let lines = base64.as_bytes().chunks(LINE);
        let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
        format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
    }

    /// The value of `secret.NAME` in a section.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.bytes)
    }

    /// The header in clear, which nobody has verified.
    pub const fn header(&self) -> &SecretHeader {
        &self.header
    }

    /// The OpenPGP message.
    pub fn message(&self) -> &[u8] {
        &self.bytes[self.message..]
    }

    /// All of it, as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 over all of it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({:?})", self.header)
    }
}

/// A text or a piece of bytes is no sealed secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealedSecretError {
    /// It does not begin with a header.
    #[error("no sealed secret: it does not begin with the header {FIRST_LINE:?}")]
    NoHeader,
    /// A line of the header is missing or has another form.
    #[error("no sealed secret: its header has no line `{0}` in the expected form and place")]
    Line(&'static str),
    /// A time that a header cannot hold.
    #[error("the times of a sealed secret are whole seconds of the years 1970 to 9999")]
    Time,
    /// There is nothing after the header.
    #[error("no sealed secret: no OpenPGP message follows the header")]
    NoMessage,
    /// Neither armour nor base64.
    #[error("no sealed secret: expected base64, alone or between {BEGIN:?} and {END:?}")]
    Armor,
    /// It is too long.
    #[error("a sealed secret has at most {MAX_SEALED} bytes, not {0}")]
    SealedLength(usize),
    /// Its value is empty or too long.
    #[error("the value of a named secret has 1 to {MAX_VALUE} bytes, not {0}")]
    ValueLength(usize),
}

/// The text of a whole-second time for a header; what is finer is cut off.
pub fn whole_seconds(wall: Wall) -> Wall {
    Wall::from_unix_micros(wall.unix_micros().div_euclid(MICROS) * MICROS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SecretHeader {
        SecretHeader {
            host: KeyId::from_bytes([7; 32]).unwrap(),
            name: SecretName::new("postgres.password").unwrap(),
            serial: 1_796_000_000_000,
            created: Wall::from_unix_micros(1_795_919_050 * MICROS),
            expires: Some(Wall::from_unix_micros(1_827_455_050 * MICROS)),
        }
    }

    #[test]
    fn the_form_is_as_documented() {
        let sealed = SealedSecret::new(&header(), b"message").unwrap();
        let host = "07".repeat(32);
        let expected = format!(
            "nightlatch-secret 1\nhost {host}\nname postgres.password\nserial 1796000000000\n\
             created 2026-11-29T02:24:10Z\nexpires 2027-11-29T02:24:10Z\n\nmessage"
        );
        assert_eq!(sealed.as_bytes(), expected.as_bytes());
        assert_eq!(sealed.message(), b"message");
        let text = sealed.to_text();
        assert!(text.starts_with(BEGIN) && text.ends_with("SECRET-----\n"));
        assert!(text.lines().all(|line| line.len() <= LINE));
        for text in [
            text.replace('\n', "\r\n"),
            sealed.to_base64(),
            format!("\n {}\n", sealed.to_base64()),
        ] {
            assert_eq!(SealedSecret::from_text(&text), Ok(sealed.clone()));
        }
    }

    #[test]
    fn a_plaintext_has_the_header_before_the_value() {
        let value = Secret::new(b"\n\nvalue\n".to_vec());
        let plaintext = header().plaintext(&value).unwrap();
        assert_eq!(
            SecretHeader::split(plaintext.expose()),
            Ok((header(), value.expose()))
        );
        for length in [0, MAX_VALUE + 1] {
            let value = Secret::new(vec![1; length]);
            assert_eq!(
                header().plaintext(&value),
                Err(SealedSecretError::ValueLength(length))
            );
        }
        let most = Secret::new(vec![1; MAX_VALUE]);
        assert!(header().plaintext(&most).is_ok());
    }

    #[test]
    fn another_form_is_an_error() {
        let good = String::from_utf8(SealedSecret::new(&header(), b"m").unwrap().bytes).unwrap();
        let host = "07".repeat(32);
        for (from, to, line) in [
            ("secret 1", "secret 2", None),
            ("host 07", "host AB", Some("host")),
            (host.as_str(), "07", Some("host")),
            ("postgres.password", "boot", Some("name")),
            ("postgres.password", "Postgres", Some("name")),
            ("serial 1", "serial 01", Some("serial")),
            ("serial 1796000000000", "serial 0", Some("serial")),
            ("serial 1", "serial +1", Some("serial")),
            ("2026-11-29", "2026-11-31", Some("created")),
            ("02:24:10Z\ne", "02:24:60Z\ne", Some("created")),
            ("2026-11-29T", "2026-11-29 ", Some("created")),
            ("2027-11-29", "2026-11-29", Some("expires")),
            ("created 2026", "made 2026", Some("created")),
            ("expires ", "until ", Some("expires")),
            ("10Z\n\n", "10Z\nmore x\n\n", Some("expires")),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let expected = line.map_or(SealedSecretError::NoHeader, SealedSecretError::Line);
            let found = SealedSecret::from_bytes(text.clone().into_bytes());
            assert_eq!(found, Err(expected), "{text}");
        }
        let bare = good.strip_suffix('m').unwrap().as_bytes().to_vec();
        assert_eq!(
            SealedSecret::from_bytes(bare),
            Err(SealedSecretError::NoMessage)
        );
        for text in ["", "!", BEGIN] {
            assert!(SealedSecret::from_text(text).is_err());
        }
        assert_eq!(
            SealedSecret::from_bytes(vec![b'x'; MAX_SEALED + 1]),
            Err(SealedSecretError::SealedLength(MAX_SEALED + 1))
        );
        let mut finer = header();
        finer.created = finer.created.after(std::time::Duration::from_millis(1));
        let sealed = SealedSecret::new(&finer, b"m");
        assert_eq!(sealed, Err(SealedSecretError::Time));
        finer.created = whole_seconds(finer.created);
        assert_eq!(finer, header());
    }

    #[test]
    fn it_expires_at_its_time_and_with_a_wrong_clock() {
        let header = header();
        let (created, expires) = (header.created, header.expires.unwrap());
        let second = std::time::Duration::from_secs(1);
        assert!(header.is_expired(created.before(second)));
        assert!(!header.is_expired(created));
        assert!(!header.is_expired(expires.before(second)));
        assert!(header.is_expired(expires));
        let lasting = SecretHeader {
            expires: None,
            ..header
        };
        assert!(!lasting.is_expired(created.before(second)));
    }

    proptest! {
        #[test]
        fn what_can_be_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..300_usize) {
            let mut sealed = SealedSecret::new(&header(), &[&[1], bytes.as_slice()].concat()).unwrap().bytes;
            if let Some(byte) = sealed.get_mut(cut) {
                *byte = bytes.first().copied().unwrap_or(b'1');
            }
            if let Ok(read) = SealedSecret::from_bytes(sealed.clone()) {
                let again = SealedSecret::new(read.header(), read.message()).unwrap();
                prop_assert_eq!(again.as_bytes(), &sealed);
                prop_assert_eq!(SealedSecret::from_text(&read.to_text()).unwrap(), read);
            }
        }
    }
}
