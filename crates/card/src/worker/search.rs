//! The search for the card: connects to each reader with a card once, and remembers the cards that are not wanted.

use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::{HeldCard, PAUSE, Worker};
use crate::card_lock::NoCard;
use crate::session::{self, OpenFault};
use crate::transport::{AccessError, ReaderWithCard, Readers};

/// Another program may make or delete a key. The end of its connection is an event, and so is the end of the agent's own: with the
/// first event after this time such a card is looked at again.
const KEY_AGAIN: Duration = Duration::from_secs(10);

/// A card that is not wanted, or does not work. One that is not wanted is left alone until it is taken out: a connection keeps other
/// programs from it, and a selection may drop what they have verified.
#[derive(Debug)]
pub(super) struct JudgedCard {
    reader: ReaderWithCard,
    why: NoCard,
    detail: Option<String>,
    at: Monotonic,
}

impl JudgedCard {
    /// True when it is to be looked at again, though it was not taken out.
    fn is_due(&self, now: Monotonic) -> bool {
        let age = now.since(self.at);
        match self.why {
            NoCard::NoKey | NoCard::KeyKind | NoCard::OtherKey => age >= KEY_AGAIN,
            // The agent's own connection is an event, which must not cause the next one at once.
            NoCard::Faulty => age >= PAUSE,
            _ => false,
        }
    }
}

impl<R: Readers> Worker<R> {
    pub(super) fn find(&mut self, list: Vec<ReaderWithCard>, now: Monotonic) {
        self.review_judged(&list, now);
        let mut found = Vec::new();
        let mut why = (NoCard::Missing, None);
        for reader in list {
            let known = self.judged.iter().find(|card| card.reader == reader);
            let seen = match known {
                Some(card) => (card.why, card.detail.clone()),
                None => match self.try_reader(&reader) {
                    Ok(Ok(held)) => {
                        found.push(held);
                        continue;
                    }
                    Ok(Err(why)) => {
                        self.judge(reader, why, None, now);
                        (why, None)
                    }
                    Err(OpenFault::Access(AccessError::NoService)) => {
                        return self.lose_service(now);
                    }
                    Err(OpenFault::Access(AccessError::InUse)) => (NoCard::InUse, None),
                    Err(OpenFault::Access(AccessError::Removed)) => (NoCard::Missing, None),
                    Err(fault) => {
                        let detail = Some(fault.to_string());
                        self.judge(reader, NoCard::Faulty, detail.clone(), now);
                        (NoCard::Faulty, detail)
                    }
                },
            };
            // One that may still turn out to be the wanted card counts for most.
            if seen.0.may_pass() || (seen.0 != NoCard::Missing && !why.0.may_pass()) {
                why = seen;
            }
        }
        // The card that was unlocked comes before all others.
        let kept = found
            .iter()
            .position(|held| self.lock.keeps(&held.identity()));
        let chosen = match (kept, found.len()) {
            (Some(at), _) => Some(found.swap_remove(at)),
            (None, 1) => found.pop(),
            (None, _) => None,
        };
        if chosen.is_none() && !found.is_empty() {
            why = (NoCard::Several, None);
        }
        for held in found {
            if chosen.is_none() {
                self.judge(held.reader, NoCard::Several, None, now);
            }
            held.connection.release();
        }
        match chosen {
            Some(held) => self.take(held, now),
            None => self.miss(why.0, why.1, now),
        }
    }

    fn judge(
        &mut self,
        reader: ReaderWithCard,
        why: NoCard,
        detail: Option<String>,
        at: Monotonic,
    ) {
        self.judged.push(JudgedCard {
            reader,
            why,
            detail,
            at,
        });
    }

    /// Forgets what may be otherwise now.
    fn review_judged(&mut self, list: &[ReaderWithCard], now: Monotonic) {
        let is_judged =
            |reader: &ReaderWithCard| self.judged.iter().any(|card| card.reader == *reader);
        let is_left = |card: &JudgedCard| list.contains(&card.reader) && !card.is_due(now);
        // With another card there may be another choice.
        let is_same = self.judged.iter().all(is_left) && list.iter().all(is_judged);
        self.judged.retain(|card| {
            let is_choice = card.why == NoCard::Several;
            is_left(card) && (is_same || !is_choice)
        });
    }

    /// Takes the card of a reader and reads it. One that is not wanted is given back without a reset.
    fn try_reader(
        &mut self,
        reader: &ReaderWithCard,
    ) -> Result<Result<HeldCard, NoCard>, OpenFault> {
        let mut connection = self.readers.connect(&reader.name)?;
        let open = match session::open(&mut *connection) {
            Ok(open) => open,
            Err(fault) => {
                connection.release();
                return match fault {
                    OpenFault::NotOpenPgp(_) => Ok(Err(NoCard::Missing)),
                    OpenFault::NoKey => Ok(Err(NoCard::NoKey)),
                    OpenFault::KeyKind => Ok(Err(NoCard::KeyKind)),
                    fault => Err(fault),
                };
            }
        };
        let card_name = self.settings.card;
        let key_name = self.settings.key.as_ref();
        let unwanted = if card_name.is_some_and(|name| !name.is(open.data.aid.as_bytes())) {
            Some(NoCard::NotTheNamed)
        } else if key_name.is_some_and(|key| *key != open.key.fingerprint()) {
            Some(NoCard::OtherKey)
        } else {
            None
        };
        Ok(match unwanted {
            Some(why) => {
                connection.release();
                Err(why)
            }
            None => Ok(HeldCard {
                connection,
                reader: reader.clone(),
                open,
            }),
        })
    }
}
