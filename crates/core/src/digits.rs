//! Strict parsing of decimal and hexadecimal digits: the standard library also accepts a sign, which no format here
//! has.

use std::fmt;
use std::str::FromStr;

/// A decimal number without a sign. `None` when it is anything else, or does not fit.
pub fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Bytes from two hexadecimal digits each, in either case. `None` for another number of digits, or other characters.
pub fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    // A hexadecimal digit is below 16, so it always fits.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Prints bytes in hexadecimal digits: `{}` and `{:x}` in lower case, `{:X}` in upper case.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'b>(pub &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(self, f)
    }
}

impl fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::UpperHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sign_is_no_digit() {
        assert_eq!(decimal::<u32>("5"), Some(5));
        for text in ["+5", "-5", "", " 5", "5 ", "4294967296", "٥"] {
            assert_eq!(decimal::<u32>(text), None, "{text:?}");
        }
        assert_eq!(hex(b"0fA0"), Some([0x0f, 0xa0]));
        for text in ["+fa0", "0f+0", "-fa0", "0fa", "0fa00", "", "0x0f", "0g00"] {
            assert_eq!(hex::<2>(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_their_digits(bytes: [u8; 8], upper: bool) {
            let text = if upper { format!("{:X}", Hex(&bytes)) } else { Hex(&bytes).to_string() };
            prop_assert_eq!(hex(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn parsed_bytes_print_to_the_same_text(text in "[0-9a-f+ -]{0,8}") {
            if let Some(bytes) = hex::<4>(text.as_bytes()) {
                prop_assert_eq!(Hex(&bytes).to_string(), text);
            }
        }
    }
}
