//! The states of a card and of its PIN, and what follows from each event. Pure: it knows neither the PIN nor the card, and gets
//! the time as an argument.

use std::time::Duration;

use nightlatch_core::settings::card::AfterRemoval;
use nightlatch_core::time::Monotonic;

use crate::card_data::{Aid, Touch};
use crate::key::AuthKey;

/// Time for a card to be back after pcscd is. pcscd finds readers at USB one after the other; a card that stays away for longer
/// counts as taken out.
pub(crate) const RETURN: Duration = Duration::from_secs(10);

/// So long signatures wait for a card that was unlocked and does not work: as long as one waits at all.
const REPAIR: Duration = Duration::from_secs(5);

/// With so many tries left the agent tries the kept PIN by itself, and that of a file.
const AGENT_TRIES: u8 = 3;

/// So many tries in a row may end without an answer; then the agent makes no other one by itself.
const LOST_TRIES: u8 = 2;

/// With so many tries left a person may try. The last one is never used up.
const PERSON_TRIES: u8 = 2;

/// What a PIN belongs to: it is sent to no other card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CardIdentity {
    pub(crate) aid: Aid,
    pub(crate) key: AuthKey,
}

/// The card that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PresentCard {
    pub(crate) identity: CardIdentity,
    pub(crate) touch: Touch,
    pub(crate) tries: u8,
}

/// Why there is no card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoCard {
    /// No reader has an OpenPGP card.
    Missing,
    /// None of those that are there is the one that card.conf names.
    NotTheNamed,
    /// Several, and card.conf names none.
    Several,
    /// It has no authentication key, or one that SSH cannot use.
    NoKey,
    /// Its authentication key is of a kind that SSH has no name for.
    KeyKind,
    /// Its authentication key is not the one that card.conf names.
    OtherKey,
    /// Another program has it.
    InUse,
    /// It does not answer as an OpenPGP card.
    Faulty,
}

impl NoCard {
    /// True when the next attempt to take the card may succeed without an event that tells of it.
    pub(crate) const fn may_pass(self) -> bool {
        matches!(self, Self::InUse | Self::Faulty)
    }
}

/// The place of the card whose PIN is kept, as far as the readers tell, while it is not held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Whereabouts {
    /// No reader has it: it counts as taken out, unless it may come back after a restart of pcscd.
    Gone,
    /// The readers do not tell. It counts as taken out only when the time for its return is over.
    Unknown,
    /// The reader that had it has a card that is in use or does not work now: it may be the same one.
    InPlace,
}

/// Why a card is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockReason {
    /// Nobody has unlocked it since the agent was started.
    Start,
    /// Somebody has locked it.
    Person,
    /// It was taken out, or did not come back.
    Removed,
    /// Another card than the one that was unlocked is there.
    OtherCard,
    /// It has refused the PIN.
    WrongPin,
    /// The agent does not try the PIN by itself with so few tries left.
    Tries,
    /// It has answered in an unexpected way when the PIN was to be tried.
    Doubt,
}

/// Who causes a try of the PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TriedBy {
    Agent,
    Person,
}

/// No try is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{left} of the tries for the PIN are left, and {needed} are needed")]
pub(crate) struct TooFewTries {
    pub(crate) left: u8,
    pub(crate) needed: u8,
}

/// Says whether the PIN may be tried.
pub(crate) const fn may_try(by: TriedBy, left: u8) -> Result<(), TooFewTries> {
    let needed = match by {
        TriedBy::Agent => AGENT_TRIES,
        TriedBy::Person => PERSON_TRIES,
    };
    match left >= needed {
        true => Ok(()),
        false => Err(TooFewTries { left, needed }),
    }
}

/// What the worker has to do about the PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum PinOrder {
    Leave,
    Forget,
    /// Verify the kept one now.
    Verify,
}

/// The end of a try, or of what stands before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TryEnd {
    Verified,
    /// The card has refused the PIN; so many tries are left.
    Rejected(u8),
    /// No try was made, or the card has answered neither yes nor no.
    Doubt,
    /// The connection broke before the card's answer came: perhaps it was tried.
    Lost,
}

/// The state of the card for those who ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CardState {
    /// pcscd is not there.
    NoService,
    /// pcscd or the card has not answered the card's thread for some time: only [`crate::board`] says so.
    NoAnswer,
    NoCard(NoCard),
    Locked(LockReason),
    /// Neither the agent nor a person may try the PIN.
    TooFewTries,
    Unlocked(Touch),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Presence {
    NoService,
    Absent(NoCard),
    Present(PresentCard),
}

/// One card, its PIN, and whether it is verified.
#[derive(Clone, Debug)]
pub(crate) struct CardLock {
    after_removal: AfterRemoval,
    presence: Presence,
    /// The card for which a PIN is kept.
    kept_for: Option<CardIdentity>,
    is_verified: bool,
    reason: LockReason,
    /// Tries of the kept PIN, one after the other, whose answer was lost.
    lost_tries: u8,
    /// Until then a card that was there before pcscd ended may come back.
    returns_until: Option<Monotonic>,
    /// Until then a card that was unlocked and does not work is waited for.
    works_until: Option<Monotonic>,
}

impl CardLock {
    pub(crate) const fn new(after_removal: AfterRemoval) -> Self {
        Self {
            after_removal,
            presence: Presence::NoService,
            kept_for: None,
            is_verified: false,
            reason: LockReason::Start,
            lost_tries: 0,
            returns_until: None,
            works_until: None,
        }
    }

    pub(crate) fn state(&self) -> CardState {
        match &self.presence {
            Presence::NoService => CardState::NoService,
            Presence::Absent(why) => CardState::NoCard(*why),
            Presence::Present(card) if self.is_verified => CardState::Unlocked(card.touch),
            Presence::Present(card) if may_try(TriedBy::Person, card.tries).is_err() => {
                CardState::TooFewTries
            }
            Presence::Present(_) => CardState::Locked(self.reason),
        }
    }

    /// True when the agent tries the PIN no more by itself, because answers were lost.
    pub(crate) const fn has_lost_tries(&self) -> bool {
        self.lost_tries >= LOST_TRIES
    }

    pub(crate) const fn card(&self) -> Option<&PresentCard> {
        match &self.presence {
            Presence::Present(card) => Some(card),
            Presence::NoService | Presence::Absent(_) => None,
        }
    }

    /// True when a PIN is kept for this card.
    pub(crate) fn keeps(&self, identity: &CardIdentity) -> bool {
        self.kept_for.as_ref() == Some(identity)
    }

    /// The AID of the card for which a PIN is kept.
    pub(crate) fn kept_aid(&self) -> Option<&Aid> {
        self.kept_for.as_ref().map(|kept| &kept.aid)
    }

    /// True while pcscd is away, while a card may come back after it, and for a while when the card does not work, to be unlocked
    /// without a person: signatures wait for it. A PIN may be kept for longer.
    pub(crate) const fn recovers(&self) -> bool {
        let is_awaited = match self.presence {
            Presence::NoService => true,
            Presence::Absent(_) => self.returns_until.is_some() || self.works_until.is_some(),
            Presence::Present(_) => false,
        };
        self.kept_for.is_some() && is_awaited
    }

    /// When [`Self::absent`] must be told again at the latest. Later than the time of the last event.
    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        match self.presence {
            Presence::Absent(_) => {
                let both = [self.returns_until, self.works_until];
                both.into_iter().flatten().min()
            }
            Presence::NoService | Presence::Present(_) => None,
        }
    }

    /// pcscd is not there, or has ended: whether the card was taken out meanwhile is not seen.
    pub(crate) fn service_lost(&mut self) {
        self.presence = Presence::NoService;
        self.is_verified = false;
        self.returns_until = None;
        self.works_until = None;
    }

    /// pcscd is there, and the card is not.
    pub(crate) fn absent(
        &mut self,
        why: NoCard,
        whereabouts: Whereabouts,
        now: Monotonic,
    ) -> PinOrder {
        let before = std::mem::replace(&mut self.presence, Presence::Absent(why));
        let was_present = matches!(before, Presence::Present(_));
        self.is_verified = false;
        if before == Presence::NoService && self.kept_for.is_some() {
            self.returns_until = Some(now.after(RETURN));
        }
        let is_kept_there = whereabouts == Whereabouts::InPlace && self.kept_for.is_some();
        if was_present && is_kept_there {
            self.works_until = Some(now.after(REPAIR));
        }
        let may_work = |until: &Monotonic| is_kept_there && now < *until;
        self.works_until = self.works_until.filter(may_work);
        // Whatever the reason is: a deadline in the past would keep the worker busy.
        let is_over = self.returns_until.is_some_and(|until| until <= now);
        self.returns_until = self.returns_until.filter(|until| now < *until);
        let is_gone = match whereabouts {
            Whereabouts::Gone => true,
            Whereabouts::Unknown => is_over,
            Whereabouts::InPlace => false,
        };
        if !is_gone || self.returns_until.is_some() {
            return PinOrder::Leave;
        }
        // One that goes away while the PIN is tried was not taken out by a person: it is absent since the answer was lost.
        if was_present {
            self.lost_tries = 0;
        }
        match (self.after_removal, &self.kept_for) {
            (AfterRemoval::Person, Some(_)) => self.forget(LockReason::Removed),
            _ => PinOrder::Leave,
        }
    }

    /// The card was taken out and put in again, or another one: told before [`Self::present`].
    pub(crate) fn removed(&mut self, now: Monotonic) -> PinOrder {
        // What was seen is no longer a return after a restart.
        self.returns_until = None;
        if self.presence == Presence::NoService {
            self.presence = Presence::Absent(NoCard::Missing);
        }
        self.absent(NoCard::Missing, Whereabouts::Gone, now)
    }

    /// The card was reset by another program or by its reader: what came before it counts no longer.
    pub(crate) const fn reset_elsewhere(&mut self) {
        self.lost_tries = 0;
    }

    /// The card is held and was read. `is_verified`: it says so itself, which counts only for the card whose PIN is kept.
    pub(crate) fn present(&mut self, card: PresentCard, is_verified: bool) -> PinOrder {
        let fits = self.kept_for.as_ref().map(|kept| *kept == card.identity);
        let tries = card.tries;
        self.presence = Presence::Present(card);
        self.returns_until = None;
        self.works_until = None;
        self.is_verified = false;
        match fits {
            None => PinOrder::Leave,
            Some(false) => self.forget(LockReason::OtherCard),
            Some(true) if is_verified => {
                self.is_verified = true;
                self.lost_tries = 0;
                PinOrder::Leave
            }
            Some(true) if self.has_lost_tries() => {
                self.reason = LockReason::Doubt;
                PinOrder::Leave
            }
            Some(true) => match may_try(TriedBy::Agent, tries) {
                Ok(()) => PinOrder::Verify,
                Err(TooFewTries { .. }) => self.forget(LockReason::Tries),
            },
        }
    }

    /// A try of the PIN of the present card has ended.
    pub(crate) fn tried(&mut self, end: TryEnd) -> PinOrder {
        let Presence::Present(card) = &mut self.presence else {
            return PinOrder::Leave;
        };
        match end {
            TryEnd::Verified => {
                // The counter is full again after it.
                card.tries = card.tries.max(AGENT_TRIES);
                self.kept_for = Some(card.identity.clone());
                self.is_verified = true;
                self.lost_tries = 0;
                PinOrder::Leave
            }
            TryEnd::Lost => {
                if self.kept_for.as_ref() == Some(&card.identity) {
                    self.lost_tries = self.lost_tries.saturating_add(1);
                }
                self.is_verified = false;
                self.presence = Presence::Absent(NoCard::Faulty);
                PinOrder::Leave
            }
            TryEnd::Rejected(left) => {
                card.tries = left;
                self.forget(LockReason::WrongPin)
            }
            TryEnd::Doubt => {
                self.is_verified = false;
                self.reason = LockReason::Doubt;
                PinOrder::Leave
            }
        }
    }

    /// There are two cards with the identity of the one whose PIN is kept: which one is an imitation is not known.
    pub(crate) fn imitated(&mut self) -> PinOrder {
        self.forget(LockReason::OtherCard)
    }

    /// A person wants it locked.
    pub(crate) fn lock(&mut self) -> PinOrder {
        self.forget(LockReason::Person)
    }

    fn forget(&mut self, reason: LockReason) -> PinOrder {
        self.kept_for = None;
        self.lost_tries = 0;
        self.returns_until = None;
        self.works_until = None;
        self.is_verified = false;
        self.reason = reason;
        PinOrder::Forget
    }
}

#[cfg(test)]
mod tests;
