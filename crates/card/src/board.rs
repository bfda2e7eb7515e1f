//! The state of the card in memory: written by the card's thread, read by all others at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;

use crate::apdu::CommandLimits;
use crate::card_data::{Aid, Touch};
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
    pub(crate) touch: Touch,
    /// The lengths of commands that the card takes.
    pub(crate) limits: CommandLimits,
}

/// A card's thread that has been at one order for longer than this hangs, for those who ask.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The place where the state stands.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Posted>);

#[derive(Debug)]
struct Posted {
    state: Arc<BoardState>,
    /// Since then the card's thread has been at an order: pcscd or the card may hang meanwhile.
    busy_since: Option<Monotonic>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let state = BoardState {
            state: CardState::NoService,
            recovers: false,
            card: None,
            detail: None,
            signatures: 0,
        };
        Self(Mutex::new(Posted {
            state: Arc::new(state),
            busy_since: None,
        }))
    }

    /// The state now, for clients and callers.
    pub(crate) fn read(&self) -> Arc<BoardState> {
        self.read_at(clock::now().mono)
    }

    pub(crate) fn read_at(&self, now: Monotonic) -> Arc<BoardState> {
        let posted = self.posted();
        let hangs = |since| now.since(since) > ANSWERS_WITHIN;
        match posted.busy_since.is_some_and(hangs) {
            false => Arc::clone(&posted.state),
            true => Arc::new(BoardState {
                state: CardState::NoAnswer,
                recovers: false,
                ..BoardState::clone(&posted.state)
            }),
        }
    }

    /// What was written last, for the card's thread.
    pub(crate) fn last(&self) -> Arc<BoardState> {
        Arc::clone(&self.posted().state)
    }

    pub(crate) fn write(&self, state: BoardState) {
        self.posted().state = Arc::new(state);
    }

    /// The card's thread begins with an order, or with the next part of it.
    pub(crate) fn begin(&self, now: Monotonic) {
        self.posted().busy_since = Some(now);
    }

    /// It is done with the order.
    pub(crate) fn end(&self) {
        self.posted().busy_since = None;
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_busy_for_long_has_a_state_of_its_own() {
        let at = |seconds| Monotonic::from_boot(Duration::from_secs(seconds));
        let board = Board::new();
        let unlocked = BoardState {
            state: CardState::Unlocked(Touch::Off),
            recovers: true,
            ..BoardState::clone(&board.last())
        };
        board.write(unlocked.clone());
        board.begin(at(10));
        assert_eq!(*board.read_at(at(15)), unlocked);
        let hangs = board.read_at(at(16));
        assert_eq!((hangs.state, hangs.recovers), (CardState::NoAnswer, false));
        board.begin(at(16));
        assert_eq!(*board.read_at(at(16)), unlocked);
        board.end();
        assert_eq!(*board.read_at(at(100)), unlocked);
    }
}
