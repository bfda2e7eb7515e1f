//! What a client is called: the name of its section.

use std::borrow::Borrow;
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
