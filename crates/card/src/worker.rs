//! The only user of the card: takes orders, holds the card exclusively, keeps the PIN, and does what `card_lock` decides. It runs
//! in a thread of its own, since the card may take long, or hang.

mod pin;
mod search;
mod signing;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use nightlatch_core::settings::card::CardSettings;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;

use crate::apdu::TooLong;
use crate::board::{Board, BoardCard, BoardState};
use crate::card_lock::{
    CardIdentity, CardLock, CardState, NoCard, PinOrder, PresentCard, Whereabouts,
};
use crate::key::{AuthKey, SignInput};
use crate::log;
use crate::named_card::WrongCard;
use crate::refused_pins::RefusedPins;
use crate::session::{self, NotTried, OpenCard, OpenFault, PinState};
use crate::transport::{AccessError, Connection, ReaderWithCard, Readers};

pub(crate) use pin::GivenPin;
use pin::KeptPin;
use search::{JudgedCard, KeptPlace};

/// Pause before a card is looked for again that could not be taken, or while pcscd is away: no event tells of these.
const PAUSE: Duration = Duration::from_millis(200);

/// An unlocked card that nobody uses is asked so often whether its PIN is verified still: `check` must not say so for long when
/// pcscd hangs, or the card has lost its state unseen.
const PROBE: Duration = Duration::from_secs(30);

/// Something that the card's thread does.
pub(crate) enum Order {
    Sign(SignOrder),
    Unlock {
        given: GivenPin,
        /// After that the PIN is not sent any more: its caller was told that the card is busy.
        until: Monotonic,
        reply: SyncSender<UnlockEnd>,
    },
    Lock {
        reply: SyncSender<LockEnd>,
    },
    /// Readers or cards have changed, or pcscd has come or gone.
    Look,
    /// Answers when all orders before it were carried out.
    Answer {
        reply: SyncSender<()>,
    },
    /// Resets the card and ends.
    Stop,
}

/// A signature that a client waits for.
pub(crate) struct SignOrder {
    /// The key that it must be of: the card may have changed meanwhile.
    pub(crate) key: AuthKey,
    pub(crate) input: SignInput,
    /// After that nobody waits any more.
    pub(crate) until: Monotonic,
    pub(crate) reply: SyncSender<Result<Vec<u8>, SignRefusal>>,
}

/// No signature.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SignRefusal {
    #[error("the card is not unlocked")]
    NotUnlocked(CardState),
    #[error("busy: the card has not answered in time")]
    Busy,
    #[error("another card is there now")]
    OtherKey,
    #[error(transparent)]
    TooLong(TooLong),
    #[error("{0}")]
    Failed(String),
}

/// The end of an order to unlock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UnlockEnd {
    Unlocked,
    /// It was unlocked: the PIN was not tried.
    Already,
    NoCard(CardState),
    /// It is not the card for which the PIN is.
    WrongCard(WrongCard),
    /// The card has refused this PIN before.
    RefusedBefore,
    /// The card has refused the PIN; so many tries are left.
    Rejected(u8),
    NotTried(NotTried),
    Failed(String),
}

/// The end of an order to lock: the PIN is forgotten in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockEnd {
    /// The card was reset, or there is none.
    Locked,
    /// The card that was there did not take the reset: its PIN may be verified still.
    NotReset,
}

/// Why the worker has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkerEnd {
    Stopped,
    /// Nobody can give an order any more.
    NoOrders,
}

/// The card that is held.
struct HeldCard {
    connection: Box<dyn Connection>,
    reader: ReaderWithCard,
    open: OpenCard,
}

impl HeldCard {
    fn identity(&self) -> CardIdentity {
        CardIdentity {
            aid: self.open.data.aid,
            key: self.open.key.clone(),
        }
    }
}

/// The card's thread.
pub(crate) struct Worker<R> {
    readers: R,
    /// The time now: the card may have taken long since an order was begun.
    clock: Box<dyn Fn() -> Monotonic + Send>,
    settings: CardSettings,
    board: Arc<Board>,
    lock: CardLock,
    held: Option<HeldCard>,
    judged: Vec<JudgedCard>,
    /// The reader that had the card whose PIN is kept.
    kept_in: Option<KeptPlace>,
    pin: Option<KeptPin>,
    refused: RefusedPins,
    /// Signatures that wait for the card to come back.
    waiting: Vec<SignOrder>,
    look_at: Option<Monotonic>,
    /// The end of the last order or look.
    last_turn: Monotonic,
    detail: Option<String>,
    signatures: u64,
}

impl<R: Readers> Worker<R> {
    pub(crate) fn new(readers: R, settings: CardSettings, board: Arc<Board>) -> Self {
        Self {
            lock: CardLock::new(settings.after_removal),
            readers,
            clock: Box::new(|| clock::now().mono),
            settings,
            board,
            held: None,
            judged: Vec::new(),
            kept_in: None,
            pin: None,
            refused: RefusedPins::default(),
            waiting: Vec::new(),
            look_at: None,
            last_turn: Monotonic::from_boot(Duration::ZERO),
            detail: None,
            signatures: 0,
        }
    }

    /// Carries out orders until one says to stop, or nobody can give one any more.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) -> WorkerEnd {
        loop {
            let left = self.deadline().map(|at| at.since((self.clock)()));
            let order = match left {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(left) => orders.recv_timeout(left),
            };
            let now = (self.clock)();
            match order {
                Ok(Order::Stop) => return WorkerEnd::Stopped,
                Err(RecvTimeoutError::Disconnected) => return WorkerEnd::NoOrders,
                Ok(order) => self.carry_out(order, now),
                Err(RecvTimeoutError::Timeout) => self.tick(now),
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    fn deadline(&self) -> Option<Monotonic> {
        let waiting = self.waiting.iter().map(|order| order.until);
        let others = [self.look_at, self.lock.deadline(), self.probe_at()];
        waiting.chain(others.into_iter().flatten()).min()
    }

    fn probe_at(&self) -> Option<Monotonic> {
        let is_unlocked = matches!(self.lock.state(), CardState::Unlocked(_));
        is_unlocked.then(|| self.last_turn.after(PROBE))
    }

    pub(crate) fn carry_out(&mut self, order: Order, now: Monotonic) {
        self.board.begin(now);
        match order {
            Order::Sign(order) => self.sign(order, now),
            // A caller that is gone misses its answer.
            Order::Unlock {
                given,
                until,
                reply,
            } => {
                let end = self.unlock(given, until, now);
                self.publish();
                if let Some(end) = end {
                    let _ = reply.try_send(end);
                }
            }
            Order::Lock { reply } => {
                let end = self.lock_by_person(now);
                self.publish();
                let _ = reply.try_send(end);
            }
            Order::Look => self.look(now),
            Order::Answer { reply } => {
                let _ = reply.try_send(());
            }
            Order::Stop => {}
        }
        self.settle(now);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Monotonic) {
        self.board.begin(now);
        let is_due = |at: Option<Monotonic>| at.is_some_and(|at| at <= now);
        if is_due(self.look_at) || is_due(self.lock.deadline()) {
            self.look(now);
        } else if is_due(self.probe_at()) {
            self.look_at_state(now);
        }
        self.settle(now);
    }

    /// After each event: signatures that waited, and the board.
    fn settle(&mut self, mut now: Monotonic) {
        if !self.lock.recovers() {
            for order in std::mem::take(&mut self.waiting) {
                // Each of those before may have taken long.
                now = now.max((self.clock)());
                self.board.begin(now);
                self.sign(order, now);
            }
        }
        let (late, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|order: &SignOrder| order.until <= now);
        self.waiting = waiting;
        for order in late {
            let _ = order.reply.try_send(Err(SignRefusal::Busy));
        }
        self.publish();
        self.board.end();
        self.last_turn = now.max((self.clock)());
    }

    fn publish(&self) {
        let before = self.board.last();
        let held = self.held.as_ref();
        let limits = held.map(|held| held.open.data.limits).unwrap_or_default();
        let card = match (self.lock.card(), self.lock.recovers()) {
            (Some(card), _) => Some(BoardCard {
                aid: card.identity.aid,
                key: card.identity.key.clone(),
                tries: Some(card.tries),
                touch: card.touch,
                limits,
            }),
            (None, true) => before.card.clone(),
            (None, false) => None,
        };
        let state = BoardState {
            state: self.lock.state(),
            recovers: self.lock.recovers(),
            card,
            detail: self.detail.clone(),
            signatures: self.signatures,
        };
        if before.state != state.state {
            log::info(&format!("{}", crate::report::Sentence(&state)));
        }
        if *before != state {
            self.board.write(state);
        }
    }

    fn obey(&mut self, order: PinOrder, now: Monotonic) {
        match order {
            PinOrder::Leave => {}
            PinOrder::Forget => self.pin = None,
            PinOrder::Verify => self.verify_kept(now),
        }
    }

    // The card comes and goes.

    fn look(&mut self, now: Monotonic) {
        self.look_at = None;
        let list = match self.readers.with_card() {
            Ok(list) => list,
            Err(AccessError::NoService) => return self.lose_service(now),
            // The connection to the card may still work.
            Err(_) if self.held.is_some() => {
                self.look_at = Some(now.after(PAUSE));
                return;
            }
            Err(error) => {
                let detail = Some(error.to_string());
                return self.miss(NoCard::Faulty, detail, Whereabouts::Unknown, now);
            }
        };
        if let Some(held) = &self.held {
            if list.contains(&held.reader) {
                return;
            }
            self.lose_card(now);
        } else if self.was_exchanged(&list) {
            self.lose_card(now);
        }
        self.find(list, now);
    }

    /// Holds this card from now on.
    fn take(&mut self, mut held: HeldCard, now: Monotonic) {
        let state = match self.fresh_state(&mut held) {
            Ok(state) => state,
            Err(fault) => return self.drop_card(fault, now),
        };
        let mut card = PresentCard {
            identity: held.identity(),
            touch: held.open.data.touch,
            tries: held.open.data.pin.tries,
        };
        if let PinState::Left(left) = state {
            card.tries = card.tries.min(left);
        }
        self.held = Some(held);
        self.note_place();
        self.detail = None;
        let order = self.lock.present(card, state == PinState::Verified);
        if order == PinOrder::Forget {
            log::alarm(
                "the PIN is forgotten: this is not the card that was unlocked, or tries of its PIN were used elsewhere",
            );
        }
        if self.lock.has_lost_tries() {
            self.detail = Some("the card's answer to the PIN was lost twice".to_owned());
        }
        self.obey(order, now);
    }

    /// The card's word on its PIN. One that is verified is reset, unless its PIN is kept: nobody has given it to this agent.
    fn fresh_state(&self, held: &mut HeldCard) -> Result<PinState, OpenFault> {
        let state = session::pin_state(&mut *held.connection, &held.open.data.limits)?;
        if state != PinState::Verified || self.lock.keeps(&held.identity()) {
            return Ok(state);
        }
        held.connection.reset()?;
        held.open = session::open(&mut *held.connection)?;
        let state = session::pin_state(&mut *held.connection, &held.open.data.limits)?;
        Ok(state)
    }

    fn miss(
        &mut self,
        why: NoCard,
        detail: Option<String>,
        whereabouts: Whereabouts,
        now: Monotonic,
    ) {
        self.held = None;
        self.detail = detail;
        let order = self.lock.absent(why, whereabouts, now);
        self.obey(order, now);
        // Of all else an event tells.
        if why.may_pass() || self.lock.recovers() {
            self.look_at = Some(now.after(PAUSE));
        }
    }

    fn lose_service(&mut self, now: Monotonic) {
        self.held = None;
        self.detail = None;
        // Another pcscd counts the cards anew.
        self.judged.clear();
        if let Some(place) = &mut self.kept_in {
            place.is_counted = false;
        }
        self.lock.service_lost();
        self.look_at = Some(now.after(PAUSE));
    }

    fn lose_card(&mut self, now: Monotonic) {
        self.held = None;
        self.detail = None;
        self.kept_in = None;
        let order = self.lock.removed(now);
        self.obey(order, now);
    }

    /// The connection to the card broke.
    fn drop_card(&mut self, fault: impl Into<OpenFault>, now: Monotonic) {
        match fault.into() {
            OpenFault::Access(AccessError::NoService) => self.lose_service(now),
            OpenFault::Access(AccessError::Removed) => {
                self.lose_card(now);
                self.look_at = Some(now.after(PAUSE));
            }
            fault => {
                let detail = Some(fault.to_string());
                self.miss(NoCard::Faulty, detail, Whereabouts::InPlace, now);
            }
        }
    }

    /// Resets the card: no PIN is verified any more. Then reads it again.
    fn reset(&mut self, now: Monotonic) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        let done = held.connection.reset().map_err(OpenFault::Access);
        self.reopen(held, done, now);
    }

    /// Goes on after a reset: selects and reads the card again, and verifies the kept PIN if the rules allow it.
    fn recover(&mut self, now: Monotonic) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        let done = held.connection.reconnect().map_err(OpenFault::Access);
        self.reopen(held, done, now);
    }

    fn reopen(&mut self, mut held: HeldCard, done: Result<(), OpenFault>, now: Monotonic) {
        match done.and_then(|()| session::open(&mut *held.connection)) {
            Ok(open) => {
                held.open = open;
                self.take(held, now);
            }
            Err(fault) => {
                drop(held);
                self.drop_card(fault, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
