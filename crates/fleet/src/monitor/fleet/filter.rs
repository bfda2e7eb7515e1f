//! A filter of clients: a few words, all of which must match.
//!
//! `web` is part of the name or the host; `is:waiting` a state; `<10m` a deadline nearer than that.

use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_core::duration;
use nightlatch_core::time::Wall;

use crate::state::ClientState;

/// The help beside the line in which a filter is typed.
pub(crate) const HELP: &str =
    "part of name or host, is:waiting, is:suspect, is:failing, is:disabled, <10m";

/// Prefix of a state in a filter.
const STATE: &str = "is:";
/// Prefix of a deadline in a filter.
const NEARER: char = '<';

/// A filter, as typed and as understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Filter {
    text: String,
    words: Vec<Word>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Word {
    /// Part of the name or the host, in lower case.
    Part(String),
    /// The start of a state's name: it works while it is being typed.
    State(String),
    /// The deadline is nearer than this.
    Nearer(Duration),
}

impl Filter {
    /// Understands what was typed. Every text is a filter: an unfinished word filters by what there is
    /// of it.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            words: text.split_whitespace().filter_map(word).collect(),
        }
    }

    /// The text as it was typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// True when every client is shown.
    pub(crate) const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// True when the result depends on the time.
    pub(crate) fn looks_at_time(&self) -> bool {
        self.words
            .iter()
            .any(|word| matches!(word, Word::Nearer(_)))
    }

    /// True when `client` is shown.
    pub(crate) fn shows(&self, client: &ClientView, now: Wall) -> bool {
        self.words.iter().all(|word| match word {
            Word::Part(part) => contains(&client.name, part) || contains(&client.host, part),
            Word::State(start) => {
                let begins = |state: &ClientState| state.word().starts_with(start.as_str());
                let mut states = ClientState::ALL.iter().filter(|state| begins(state));
                states.any(|state| state.finds(client))
            }
            Word::Nearer(time) => client.expires.is_some_and(|at| at < now.after(*time)),
        })
    }
}

fn word(text: &str) -> Option<Word> {
    if let Some(state) = text.strip_prefix(STATE) {
        return Some(Word::State(state.to_lowercase()));
    }
    match text.strip_prefix(NEARER) {
        // Not a length of time yet: the word waits for its end.
        Some("") => None,
        Some(time) => duration::parse(time).ok().map(Word::Nearer),
        None => Some(Word::Part(text.to_lowercase())),
    }
}

/// Ignores the case of `text`; `part` is in lower case.
fn contains(text: &str, part: &str) -> bool {
    if text.is_ascii() {
        let (text, part) = (text.as_bytes(), part.as_bytes());
        let mut windows = text.windows(part.len().max(1));
        return windows.any(|window| window.eq_ignore_ascii_case(part));
    }
    text.to_lowercase().contains(part)
}
