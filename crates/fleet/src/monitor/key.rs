//! A key as a person names it: `a`, `R`, `Ctrl-K`, `Meta-V`, `PageUp`.
//!
//! The same words stand in the help, in recordings of events and in tests. Knows no terminal library.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A key with its modifiers. Shift is part of the character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Key {
    /// A character, as typed.
    Char(char),
    /// Control with a character, in lower case.
    Ctrl(char),
    /// Meta (Alt, or Escape first) with a character, in lower case.
    Meta(char),
    /// A function key: 1 is F1.
    Function(u8),
    /// A key with a name of its own.
    Named(Named),
}

/// A key that types nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Named {
    Up,
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// To the start.
    Home,
    End,
    Tab,
    /// The tabulator with shift.
    BackTab,
    Enter,
    Esc,
    /// Takes back the last character.
    Backspace,
}

const NAMED: [(Named, &str); 11] = [
    (Named::Up, "Up"),
    (Named::Down, "Down"),
    (Named::PageUp, "PageUp"),
    (Named::PageDown, "PageDown"),
    (Named::Home, "Home"),
    (Named::End, "End"),
    (Named::Tab, "Tab"),
    (Named::BackTab, "Shift-Tab"),
    (Named::Enter, "Enter"),
    (Named::Esc, "Esc"),
    (Named::Backspace, "Backspace"),
];

/// The name of the space bar's character, which is invisible itself.
const SPACE: &str = "Space";

/// A text that names no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no key, expected one as a, Ctrl-K, Meta-V, F1, PageUp, Space")]
pub(crate) struct NoKey(String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Char(' ') => f.write_str(SPACE),
            Self::Char(c) => write!(f, "{c}"),
            Self::Ctrl(c) => write!(f, "Ctrl-{}", c.to_ascii_uppercase()),
            Self::Meta(c) => write!(f, "Meta-{}", c.to_ascii_uppercase()),
            Self::Function(number) => write!(f, "F{number}"),
            Self::Named(named) => {
                let known = NAMED.iter().find(|(key, _)| key == named);
                f.write_str(known.map_or("", |(_, name)| name))
            }
        }
    }
}

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let no_key = || NoKey(text.to_owned());
        if let Some(c) = only(text) {
            return Ok(Self::Char(c));
        }
        if text == SPACE {
            return Ok(Self::Char(' '));
        }
        if let Some((named, _)) = NAMED.iter().find(|(_, name)| *name == text) {
            return Ok(Self::Named(*named));
        }
        let after = |prefix| text.strip_prefix(prefix);
        let lower = |c: char| c.to_ascii_lowercase();
        if let Some(c) = after("Ctrl-").and_then(only) {
            return Ok(Self::Ctrl(lower(c)));
        }
        if let Some(c) = after("Meta-").and_then(only) {
            return Ok(Self::Meta(lower(c)));
        }
        let number = after("F").ok_or_else(no_key)?;
        number.parse().map(Self::Function).map_err(|_| no_key())
    }
}

impl TryFrom<String> for Key {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Self, NoKey> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

/// The character, if `text` is just one.
fn only(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_printed() {
        let mut keys = vec![
            Key::Char('a'),
            Key::Char('R'),
            Key::Char(' '),
            Key::Char('F'),
            Key::Ctrl('k'),
            Key::Meta('v'),
            Key::Function(12),
        ];
        keys.extend(NAMED.map(|(named, _)| Key::Named(named)));
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        for text in ["", "Ctrl-", "Ctrl-ab", "F999", "F-1", "up"] {
            assert!(text.parse::<Key>().is_err(), "{text:?}");
        }
    }
}
