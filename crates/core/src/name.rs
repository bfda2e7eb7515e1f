//! What a client is called: the name of its section.

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
    /// Takes `text` as a name; refused when it is empty, spans lines, or is `DEFAULT`, which names
    /// the section of defaults.
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

    /// The name as text.
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

/// Why a text cannot name a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a client needs a name")]
    Empty,
    /// `DEFAULT`, the section whose values every client inherits.
    #[error("DEFAULT holds the values that every client inherits and cannot name a client")]
    Reserved,
    /// A line break, tabulator or other control character.
    #[error("a client's name cannot hold the control character {0:?}")]
    Control(char),
}

/// The order of names for people: numbers in them count as numbers, so that `host2` comes before `host10`.
/// Names that differ are never `Equal`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(first), Some(second)) = (left.chars().next(), right.chars().next()) else {
            // One is the beginning of the other, but for zeros before a number.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let (number, rest) = split_number(left);
            let (other, other_rest) = split_number(right);
            // Without zeros before it, the longer number is the larger one.
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

/// The number that `text` begins with, without zeros before it, and what follows.
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
    fn people_expect_host2_before_host10() {
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
                    natural(name, other),
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
            prop_assert_eq!(natural(a, b).is_eq(), a == b);
            prop_assert_eq!(natural(a, b), natural(b, a).reverse());
            if natural(a, b).is_le() && natural(b, c).is_le() {
                prop_assert!(natural(a, c).is_le());
            }
        }
    }
}
