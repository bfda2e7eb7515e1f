//! The protocol of Plymouth's daemon: a stream, one byte for the kind of each message.
//!
//! Pure: bytes in, bytes out. To the daemon: the kind; then `\x02`, the argument's length with its final NUL in one
//! byte, the argument and NUL, or NUL alone without an argument. From the daemon: the kind; an answer is followed by
//! its length in four bytes, the lowest first, and that many bytes.

use nightlatch_core::secret::{Secret, SecretBuffer};

/// The name of the socket in the abstract namespace (unix(7)).
pub const SOCKET: &[u8] = b"/org/freedesktop/plymouthd";

/// Are you there?
pub const PING: &[u8] = b"P\0";
/// Show the splash screen.
pub const SHOW_SPLASH: &[u8] = b"$\0";

const ASK_FOR_PASSWORD: u8 = b'*';
const ARGUMENT: u8 = 0x02;

const ACKNOWLEDGED: u8 = 0x06;
const REFUSED: u8 = 0x15;
const ANSWER: u8 = 0x02;
const NO_ANSWER: u8 = 0x05;

/// The length is one byte, and counts the NUL.
const MAX_ARGUMENT: usize = 254;

/// The longest password that is taken of a person's keyboard.
const MAX_PASSWORD: usize = 64 * 1024;

/// Asks the person at the screen. A question that is too long is cut off.
pub fn ask_for_password(question: &str) -> Vec<u8> {
    let mut question = question.replace('\0', "");
    let mut end = question.len().min(MAX_ARGUMENT);
    while !question.is_char_boundary(end) {
        end -= 1;
    }
    question.truncate(end);
    let length = u8::try_from(end + 1).unwrap_or(u8::MAX);
    let head = [ASK_FOR_PASSWORD, ARGUMENT, length];
    [&head[..], question.as_bytes(), b"\0"].concat()
}

/// A message from the daemon.
#[derive(PartialEq, Eq, Debug)]
pub enum PlymouthReply {
    /// It has understood.
    Acknowledged,
    /// It does not do that, or not for this user.
    Refused,
    /// The password that was typed.
    Answer(Secret),
    /// Nobody will answer.
    NoAnswer,
}

/// A malformed reply.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyError {
    /// Its first byte is that of no reply.
    #[error("Plymouth said {0:#04x}, which is no reply")]
    Unknown(u8),
    /// An answer longer than `MAX_PASSWORD`.
    #[error("Plymouth announced an answer of {0} bytes")]
    TooLong(usize),
}

/// The reply in what came so far, once it is whole.
pub fn reply(came: &SecretBuffer) -> Result<Option<PlymouthReply>, ReplyError> {
    let Some((kind, rest)) = came.expose().split_first() else {
        return Ok(None);
    };
    match *kind {
        ACKNOWLEDGED => Ok(Some(PlymouthReply::Acknowledged)),
        REFUSED => Ok(Some(PlymouthReply::Refused)),
        NO_ANSWER => Ok(Some(PlymouthReply::NoAnswer)),
        ANSWER => answer(rest),
        unknown => Err(ReplyError::Unknown(unknown)),
    }
}

fn answer(rest: &[u8]) -> Result<Option<PlymouthReply>, ReplyError> {
    let Some((length, rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_PASSWORD {
        return Err(ReplyError::TooLong(length));
    }
    let password = rest.get(..length);
    Ok(password.map(|password| PlymouthReply::Answer(Secret::new(password.to_vec()))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<PlymouthReply>, ReplyError> {
        let mut came = SecretBuffer::default();
        came.append(bytes);
        reply(&came)
    }

    #[test]
    fn a_question_fits_its_length() {
        assert_eq!(ask_for_password("Who?"), b"*\x02\x05Who?\0");
        let long = ask_for_password(&"ä".repeat(200));
        assert_eq!((long.len(), long[2]), (3 + 254 + 1, 255));
        let odd = ask_for_password(&format!("a{}", "ä".repeat(200)));
        assert_eq!((odd.len(), odd[2]), (3 + 253 + 1, 254));
    }

    #[test]
    fn replies_are_read_once_they_are_whole() {
        let answer = b"\x02\x02\0\0\0pw";
        for length in 0..answer.len() {
            assert_eq!(read(&answer[..length]), Ok(None));
        }
        let password = Secret::new(b"pw".to_vec());
        assert_eq!(read(answer), Ok(Some(PlymouthReply::Answer(password))));
        assert_eq!(read(b"\x06"), Ok(Some(PlymouthReply::Acknowledged)));
        assert_eq!(read(b"\x15"), Ok(Some(PlymouthReply::Refused)));
        assert_eq!(read(b"\x05"), Ok(Some(PlymouthReply::NoAnswer)));
        assert!(read(b"x").is_err() && read(b"\x02\xff\xff\xff\xff").is_err());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes);
        }
    }
}
