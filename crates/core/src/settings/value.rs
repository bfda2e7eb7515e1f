//! Single values: from the text of one key to one type.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::Problem;
use crate::ini::is_space;
use crate::secret::Secret;

/// Padding is optional and stray bits at the end are ignored, for Python ignores them too.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `1 yes true on`, `0 no false off`, in either case.
pub(super) fn boolean(text: &str) -> Result<bool, Problem> {
    let text = text.trim_matches(is_space);
    match text.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "0" | "no" | "false" | "off" => Ok(false),
        _ => Err(Problem::Boolean(text.to_owned())),
    }
}

/// A decimal number from `min` to `max`.
pub(super) fn number(text: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let text = text.trim_matches(is_space);
    let wrong = || Problem::Number {
        found: text.to_owned(),
        min,
        max,
    };
    let number = text.parse().map_err(|_| wrong())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(wrong())
    }
}

/// A fault in base64, with its line of the value, from 0.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Base64Error {
    pub(super) line: usize,
    pub(super) problem: Problem,
}

/// A secret in base64, white space ignored.
pub(super) fn base64(text: &str) -> Result<Secret, Base64Error> {
    // One allocation, so that nothing of it is left behind unwiped.
    let mut packed = Zeroizing::new(String::with_capacity(text.len()));
    packed.extend(text.chars().filter(|c| !is_space(*c)));
    let bytes = BASE64.decode(packed.as_bytes()).map_err(|_| fault(text))?;
    let secret = Secret::new(bytes);
    if secret.is_empty() {
        let problem = Problem::EmptySecret;
        return Err(Base64Error { line: 0, problem });
    }
    Ok(secret)
}

/// Finds what the decoder complained of. It names some byte, not always the first.
fn fault(text: &str) -> Base64Error {
    for (line, text) in text.split('\n').enumerate() {
        let wrong = |c: char| !(is_space(c) || c.is_ascii_alphanumeric() || "+/=".contains(c));
        if let Some(column) = text.chars().position(wrong) {
            let problem = Problem::Base64 { column: column + 1 };
            return Base64Error { line, problem };
        }
    }
    Base64Error {
        line: text.matches('\n').count(),
        problem: Problem::Base64Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_python() {
        for (text, value) in [("1", true), ("YES", true), ("On", true), ("oFF", false)] {
            assert_eq!(boolean(text), Ok(value));
        }
        assert!(boolean("").is_err());
        assert_eq!(
            boolean("maybe").unwrap_err().to_string(),
            "expected 1, yes, true, on, 0, no, false or off, found \"maybe\""
        );
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        assert_eq!(number("65535", 0, 65535), Ok(65535));
        for text in ["65536", "-1", "", "0x10", "99999999999999999999"] {
            assert!(number(text, 0, 65535).is_err());
        }
    }

    #[test]
    fn base64_is_read_across_lines() {
        assert_eq!(base64("\nYW\nJ j\nZA==").unwrap().expose(), b"abcd");
        assert_eq!(base64("YWJjZA").unwrap().expose(), b"abcd");
    }

    #[test]
    fn the_first_character_that_is_no_base64_is_found() {
        let error = base64("\nYWJj\nZGé!").unwrap_err();
        let problem = Problem::Base64 { column: 3 };
        assert_eq!(error, Base64Error { line: 2, problem });
    }

    #[test]
    fn half_a_secret_and_an_empty_one_are_refused() {
        assert_eq!(base64("YWJjZ").unwrap_err().problem, Problem::Base64Cut);
        assert_eq!(base64(" \n ").unwrap_err().problem, Problem::EmptySecret);
    }
}
