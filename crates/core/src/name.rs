//! The name of a client, which is that of its section.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The name of a client: the section name in `clients.conf`, any non-empty text of one line.
///
/// Case matters. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// Fails when `text` is empty, spans lines, or is `DEFAULT`, the section of defaults.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text == "DEFAULT" {
            return Err(NameError::Reserved);
        }
        if let Some(character) = text.chars().find(|c| c.is_control()) {
            return Err(NameError::Control(character));
        }
        Ok(Self(text.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ClientName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text cannot be the name of a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// The empty text.
    #[error("a client needs a name")]
    Empty,
    /// `DEFAULT`, the section whose values every client inherits.
    #[error("DEFAULT holds the values that every client inherits and cannot name a client")]
    Reserved,
    /// A line break, tabulator or other control character.
    #[error("a client's name cannot hold the control character {0:?}")]
    Control(char),
}

/// A name as the last word of a shell's command line, for the commands that texts suggest. A name that begins with `-`
/// has `--` before it, so that no program takes it for an option.
pub fn shell_word(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain) {
        return name.to_owned();
    }
    let end_of_options = if name.starts_with('-') { "-- " } else { "" };
    format!("{end_of_options}'{}'", name.replace('\'', r"'\''"))
}

/// Compares names in natural order: digits compare as numbers, so that `host2` comes before `host10`. Different names
/// are never `Equal`.
pub fn compare_naturally(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(first), Some(second)) = (left.chars().next(), right.chars().next()) else {
            // One is a prefix of the other, apart from leading zeros of numbers.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let (number, rest) = split_number(left);
            let (other, other_rest) = split_number(right);
            // Without leading zeros the longer number is the larger one.
            let order = number
                .len()
                .cmp(&other.len())
                .then_with(|| number.cmp(other));
            if order.is_ne() {
                return order;
            }
            (left, right) = (rest, other_rest);
        } else if first == second {
            left = &left[first.len_utf8()..];
            right = &right[second.len_utf8()..];
        } else {
            return first.cmp(&second);
        }
    }
}

/// The number at the start of `text`, without leading zeros, and the rest.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    (number.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_words_of_a_shell() {
        assert_eq!(shell_word("foo.example-1"), "foo.example-1");
        assert_eq!(shell_word("it's me"), r"'it'\''s me'");
        assert_eq!(shell_word("--all"), "-- '--all'");
    }

    #[test]
    fn host2_comes_before_host10() {
        let sorted = [
            "a",
            "a0",
            "a00",
            "a01",
            "a1",
            "a1b",
            "a2",
            "a10",
            "a10b2",
            "a10b10",
            "a99999999999999999999",
            "a100000000000000000000",
            "b1",
            "host",
            "host-2",
            "host-10",
            "host2",
            "host10",
        ];
        for (place, name) in sorted.iter().enumerate() {
            for (other_place, other) in sorted.iter().enumerate() {
                assert_eq!(
                    compare_naturally(name, other),
                    place.cmp(&other_place),
                    "{name} {other}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn the_natural_order_is_an_order(names in prop::collection::vec("[a0-2é]{0,4}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(compare_naturally(a, b).is_eq(), a == b);
            prop_assert_eq!(compare_naturally(a, b), compare_naturally(b, a).reverse());
            if compare_naturally(a, b).is_le() && compare_naturally(b, c).is_le() {
                prop_assert!(compare_naturally(a, c).is_le());
            }
        }
    }
}
