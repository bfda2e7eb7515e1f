//! The PIN: kept, verified by the agent or for a person, forgotten.

use nightlatch_core::secret::Secret;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::memory;

use super::{LockEnd, PAUSE, UnlockEnd, Worker};
use crate::card_lock::{CardState, TriedBy, TryEnd};
use crate::log;
use crate::named_card::{NamedCard, WrongCard};
use crate::session::{self, PinState, TransmitFault, VerifyEnd};
use crate::transport::{AccessError, Readers};

/// A PIN in memory that is never written to swap.
pub(super) struct KeptPin(Secret);

impl KeptPin {
    fn new(pin: Secret) -> Self {
        if let Err(error) = memory::lock(pin.expose()) {
            log::info(&format!("the memory of the PIN is not locked: {error}"));
        }
        Self(pin)
    }
}

/// A PIN to unlock a card with.
pub(crate) struct GivenPin {
    pub(crate) pin: Secret,
    pub(crate) by: TriedBy,
    /// The card for which it is.
    pub(crate) named: NamedCard,
}

impl<R: Readers> Worker<R> {
    pub(super) fn verify_kept(&mut self, now: Monotonic) {
        // It may have been exchanged since the readers were listed, while it was read.
        if !self.is_still_there(now) {
            return;
        }
        let (Some(held), Some(pin)) = (&mut self.held, &self.pin) else {
            return;
        };
        let end = session::verify(&mut *held.connection, &held.open, &pin.0, TriedBy::Agent);
        if matches!(end, VerifyEnd::Rejected(_)) {
            self.refused.note(&held.identity(), &pin.0);
            log::alarm(
                "the card has refused the PIN with which it was unlocked; it is not tried again",
            );
        }
        self.tried(&end, now);
    }

    fn is_still_there(&mut self, now: Monotonic) -> bool {
        let Some(held) = &self.held else {
            return false;
        };
        match self.readers.with_card() {
            Ok(list) if list.contains(&held.reader) => return true,
            Ok(_) => {
                self.lose_card(now);
                self.look_at = Some(now.after(PAUSE));
            }
            Err(error) => self.drop_card(error, now),
        }
        false
    }

    /// Tells the rules how a try has ended.
    fn tried(&mut self, end: &VerifyEnd, now: Monotonic) {
        let (told, detail) = match end {
            VerifyEnd::Verified => (TryEnd::Verified, None),
            VerifyEnd::Rejected(left) => (TryEnd::Rejected(*left), None),
            VerifyEnd::NotTried(why) => (TryEnd::Doubt, Some(why.to_string())),
            VerifyEnd::Unexpected(status) => {
                let what = format!("the card answers {status} to the PIN");
                (TryEnd::Doubt, Some(what))
            }
            VerifyEnd::Broken(fault) => return self.drop_card(fault.clone(), now),
            VerifyEnd::Lost(fault) => {
                let order = self.lock.tried(TryEnd::Lost);
                self.obey(order, now);
                return self.drop_card(fault.clone(), now);
            }
        };
        self.detail = detail;
        let order = self.lock.tried(told);
        self.obey(order, now);
    }

    /// No end: it is too late for the one who gave the PIN, and it was not sent.
    pub(super) fn unlock(
        &mut self,
        given: GivenPin,
        until: Monotonic,
        now: Monotonic,
    ) -> Option<UnlockEnd> {
        if until <= now {
            return None;
        }
        self.look_at_state(now);
        let is_unlocked = matches!(self.lock.state(), CardState::Unlocked(_));
        let Some(held) = &mut self.held else {
            return Some(UnlockEnd::NoCard(self.lock.state()));
        };
        let GivenPin { pin, by, named } = given;
        let identity = held.identity();
        match named.judge(&self.settings, by, &identity) {
            Ok(()) => {}
            // Nothing is sent.
            Err(WrongCard::NotNamed { .. }) if is_unlocked => {}
            Err(wrong) => return Some(UnlockEnd::WrongCard(wrong)),
        }
        if is_unlocked {
            return Some(UnlockEnd::Already);
        }
        let card = &mut *held.connection;
        let end = match session::before_verify(card, &held.open, &pin, by) {
            // The card, or the hash of its KDF object, may have taken long.
            Ok(_) if until <= (self.clock)() => return None,
            Ok(_) if by == TriedBy::Agent && self.refused.has(&identity, &pin) => {
                log::alarm("the card has refused this PIN before: it is not tried again");
                return Some(UnlockEnd::RefusedBefore);
            }
            Ok(ready) => session::send_pin(card, &held.open.data.limits, &pin, &ready),
            Err(end) => end,
        };
        match end {
            VerifyEnd::Verified => {
                self.refused.forget(&identity, &pin);
                self.pin = Some(KeptPin::new(pin));
            }
            VerifyEnd::Rejected(_) => self.refused.note(&identity, &pin),
            _ => {}
        }
        // What was not tried changes nothing.
        if !matches!(end, VerifyEnd::NotTried(_)) {
            self.tried(&end, now);
            self.note_place();
        }
        Some(unlock_end(end))
    }

    /// The card as it is now, not as it was last seen: before a PIN is given, and now and then while nobody uses it.
    pub(super) fn look_at_state(&mut self, now: Monotonic) {
        if let Some(held) = &mut self.held {
            let state = session::pin_state(&mut *held.connection, &held.open.data.limits);
            let is_unlocked = matches!(self.lock.state(), CardState::Unlocked(_));
            match state {
                // Somebody else has verified a PIN, or the agent has and the answer was lost. A PIN would not be tested.
                Ok(PinState::Verified) if !is_unlocked => self.reset(now),
                // It has lost the PIN, and nobody was told.
                Ok(PinState::Left(_) | PinState::Unknown(_)) if is_unlocked => self.recover(now),
                Ok(_) => {}
                Err(TransmitFault::Access(AccessError::Reset)) => {
                    self.lock.reset_elsewhere();
                    self.recover(now);
                }
                Err(fault) => self.drop_card(fault, now),
            }
        }
        if self.held.is_none() {
            self.judged.clear();
            self.look(now);
        }
    }

    pub(super) fn lock_by_person(&mut self, now: Monotonic) -> LockEnd {
        let order = self.lock.lock();
        self.obey(order, now);
        let had_card = self.held.is_some();
        self.reset(now);
        match had_card && self.held.is_none() {
            true => LockEnd::NotReset,
            false => LockEnd::Locked,
        }
    }
}

fn unlock_end(end: VerifyEnd) -> UnlockEnd {
    match end {
        VerifyEnd::Verified => UnlockEnd::Unlocked,
        VerifyEnd::Rejected(left) => {
            log::alarm(&format!(
                "the card has refused a PIN; {left} tries are left"
            ));
            UnlockEnd::Rejected(left)
        }
        VerifyEnd::NotTried(why) => UnlockEnd::NotTried(why),
        VerifyEnd::Unexpected(status) => {
            UnlockEnd::Failed(format!("the card answers {status} to the PIN"))
        }
        VerifyEnd::Broken(fault) | VerifyEnd::Lost(fault) => UnlockEnd::Failed(fault.to_string()),
    }
}
