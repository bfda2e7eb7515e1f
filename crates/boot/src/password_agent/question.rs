//! A question of systemd, as a file describes it (<https://systemd.io/PASSWORD_AGENTS/>).
//!
//! Pure: from text to [`Question`].

use std::path::PathBuf;

use nightlatch_core::digits;

/// A request for a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The datagram socket for the answer.
    pub socket: PathBuf,
    /// The process that asks, if the file names it.
    pub pid: Option<u32>,
    /// Until when, in microseconds of `CLOCK_MONOTONIC`; `None` for ever.
    pub not_after: Option<u64>,
    /// Identifies the same question when it comes again. Empty when the file has none.
    pub id: String,
    /// True for the PIN of a token. A wrong PIN uses up one of a few tries, and the password of a disk is none.
    pub for_pin: bool,
}

/// A file is no question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuestionError {
    /// The section is missing.
    #[error("expected a section [Ask]")]
    NoSection,
    /// There is no socket for the answer.
    #[error("expected Socket= with an absolute path")]
    NoSocket,
}

/// Reads a file's text. What makes no sense in a key is left out, as systemd's own agents do.
pub fn parse(text: &str) -> Result<Question, QuestionError> {
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| *line == "[Ask]")
        .ok_or(QuestionError::NoSection)?;
    let mut socket = None;
    let (mut pid, mut not_after, mut id) = (None, None, String::new());
    let mut for_pin = false;
    for line in lines.take_while(|line| !line.starts_with('[')) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        match key.trim_end() {
            "Socket" => socket = Some(value),
            "PID" => pid = digits::decimal(value),
            "NotAfter" => not_after = digits::decimal(value).filter(|due| *due > 0),
            "Id" => value.clone_into(&mut id),
            "Message" => for_pin = names_pin(value),
            _ => {}
        }
    }
    match socket {
        Some(socket) if socket.starts_with('/') => Ok(Question {
            socket: socket.into(),
            pid,
            not_after,
            id,
            for_pin,
        }),
        _ => Err(QuestionError::NoSocket),
    }
}

/// systemd-cryptsetup has no other mark on its question for the PIN of a TPM, a FIDO2 or a PKCS#11 token
/// ("Please enter TPM2 PIN:", "Please enter security token PIN:").
fn names_pin(message: &str) -> bool {
    let words = message.split(|letter: char| !letter.is_alphanumeric());
    words.into_iter().any(|word| word == "PIN")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_of_systemd_is_read() {
        let text = "[Ask]\nPID=181\nSocket=/run/systemd/ask-password/sck.5\nAcceptCached=1\nEcho=0\n\
                    NotAfter=12\nMessage=Please enter passphrase\nIcon=drive\nId=cryptsetup:/dev/x\n\
                    [Other]\nPID=2\n";
        let expected = Question {
            socket: "/run/systemd/ask-password/sck.5".into(),
            pid: Some(181),
            not_after: Some(12),
            id: "cryptsetup:/dev/x".into(),
            for_pin: false,
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_missing_is_not_made_up() {
        let question = parse("# c\n[Ask]\nSocket=/s\nNotAfter=0\nPID=x\n").unwrap();
        assert_eq!((question.pid, question.not_after), (None, None));
        assert_eq!(question.id, "");
        assert_eq!(parse("Socket=/s\n"), Err(QuestionError::NoSection));
        assert_eq!(parse("[Ask]\nSocket=s\n"), Err(QuestionError::NoSocket));
        assert_eq!(parse("[Ask]\nPID=1\n"), Err(QuestionError::NoSocket));
    }

    #[test]
    fn a_token_that_wants_its_pin_is_known() {
        let asks = |message: &str| {
            let text = format!("[Ask]\nSocket=/s\nMessage={message}\n");
            parse(&text).unwrap().for_pin
        };
        assert!(asks("Please enter TPM2 PIN:") && asks("Please enter security token PIN:"));
        assert!(!asks("Please enter passphrase for disk PINE (root):") && !asks("Pin"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\n){0,80}") {
            let _ = parse(&text);
            let _ = parse(&format!("[Ask]\n{text}"));
        }
    }
}
