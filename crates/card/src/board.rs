//! The state of the card in memory: written by the card's thread, read by all others at once.

use std::sync::{Arc, Mutex, PoisonError};

use crate::card_data::Aid;
use crate::card_lock::CardState;
use crate::key::AuthKey;

/// What is known about the card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BoardState {
    pub(crate) state: CardState,
    /// True while the agent gets the card back by itself: signatures may wait.
    pub(crate) recovers: bool,
    /// The card that is there, or that is to come back.
    pub(crate) card: Option<BoardCard>,
    /// The last fault, for a person.
    pub(crate) detail: Option<String>,
    /// Signatures since the agent was started. The card does not count those of its authentication key.
    pub(crate) signatures: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BoardCard {
    pub(crate) aid: Aid,
    pub(crate) key: AuthKey,
    /// Tries left for the PIN, as last read.
    pub(crate) tries: Option<u8>,
}

/// The place where the state stands.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Arc<BoardState>>);

impl Board {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Arc::new(BoardState {
            state: CardState::NoService,
            recovers: false,
            card: None,
            detail: None,
            signatures: 0,
        })))
    }

    pub(crate) fn read(&self) -> Arc<BoardState> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn write(&self, state: BoardState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }
}
