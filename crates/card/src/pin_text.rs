//! Characters that no person chooses for a PIN, and that a file or a stray key adds to one. Each would cost a try. Pure.

use std::str;

/// The byte order mark that some editors put before UTF-8 text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A PIN that is not sent. Never says what else is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PinTextFault {
    #[error(
        "it begins with a byte order mark: write the file without one, as `printf %s PIN` does"
    )]
    ByteOrderMark,
    #[error("it is not UTF-8 text: write the file as UTF-8, as `printf %s PIN` does")]
    NotUtf8,
    #[error(
        "it contains a line end: a file has the PIN in its only line, as `printf %s PIN` writes it"
    )]
    LineEnd,
    #[error("it contains a NUL byte: the file is no text in UTF-8")]
    Nul,
    #[error("it contains the control character U+{0:04X}, as an arrow key makes it")]
    Control(u32),
    #[error("it begins or ends with a space")]
    Space,
}

/// Says whether a PIN may be sent.
pub(crate) fn check(pin: &[u8]) -> Result<(), PinTextFault> {
    let text = str::from_utf8(pin).map_err(|_| PinTextFault::NotUtf8)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err(PinTextFault::ByteOrderMark);
    }
    let control = text.chars().find(|letter| letter.is_control());
    match control {
        Some('\n' | '\r') => return Err(PinTextFault::LineEnd),
        Some('\0') => return Err(PinTextFault::Nul),
        Some(other) => return Err(PinTextFault::Control(other.into())),
        None => {}
    }
    match text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        true => Err(PinTextFault::Space),
        false => Ok(()),
    }
}

/// The content of a file without the one line end that it may have, of Unix or of Windows.
pub(crate) fn without_line_end(content: &[u8]) -> &[u8] {
    match content.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => content,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_file_or_a_stray_key_adds_is_refused_and_never_shown() {
        for (pin, fault) in [
            (&b"123456\r"[..], PinTextFault::LineEnd),
            (b"123456\n", PinTextFault::LineEnd),
            (b"123456\n654321", PinTextFault::LineEnd),
            (b"\xef\xbb\xbf123456", PinTextFault::ByteOrderMark),
            (b"123456 ", PinTextFault::Space),
            (b" 123456", PinTextFault::Space),
            ("123456\u{a0}".as_bytes(), PinTextFault::Space),
            (b"123456\t", PinTextFault::Control(9)),
            (b"123\x00456", PinTextFault::Nul),
            (b"123\x1b[A456", PinTextFault::Control(0x1b)),
            (b"1234567\x7f", PinTextFault::Control(0x7f)),
            ("123\u{9b}456".as_bytes(), PinTextFault::Control(0x9b)),
            (b"\xff\xfe1\x002\x00", PinTextFault::NotUtf8),
            (b"123456\xe9", PinTextFault::NotUtf8),
        ] {
            assert_eq!(check(pin), Err(fault));
            let text = fault.to_string();
            assert!(!text.contains("123") && !text.contains("456"), "{text}");
        }
        for pin in ["123456", "a long pass phrase", "\u{fc}ber-geheim"] {
            assert_eq!(check(pin.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn a_file_may_have_one_line_end() {
        for (content, pin) in [
            ("123456", "123456"),
            ("123456\n", "123456"),
            ("123456\r\n", "123456"),
            ("123456\n\n", "123456\n"),
            ("123456\r", "123456\r"),
            ("", ""),
        ] {
            assert_eq!(without_line_end(content.as_bytes()), pin.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn printable_text_is_a_pin(pin in "[!-~]([ -~]{0,60}[!-~])?") {
            prop_assert_eq!(check(pin.as_bytes()), Ok(()));
        }

        #[test]
        fn any_bytes_are_judged(pin: Vec<u8>) {
            let is_text = str::from_utf8(&pin).is_ok();
            prop_assert!(is_text || check(&pin) == Err(PinTextFault::NotUtf8));
        }
    }
}
