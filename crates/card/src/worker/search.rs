//! The search for the card: connects to each reader with a card once, and remembers the cards that are not wanted.

use std::time::Duration;

use nightlatch_core::time::Monotonic;

use super::{HeldCard, PAUSE, Worker};
use crate::card_data::Aid;
use crate::card_lock::{NoCard, Whereabouts};
use crate::log;
use crate::session::{self, OpenCard, OpenFault};
use crate::transport::{AccessError, Connection, ReaderWithCard, Readers};

/// Another program may make or delete a key. The end of its connection is an event, and so is the end of the agent's own: with the
/// first event after this time such a card is looked at again.
const KEY_AGAIN: Duration = Duration::from_secs(10);

/// The message for a person about two cards with the same AID and the same key.
const IMITATION: &str =
    "two cards have the same AID and the same key: one of them is an imitation, take it out";

/// The message about a card that is not taken, since the reader that had it cannot be read.
const ELSEWHERE: &str = "a card with the same AID and the same key is in another reader: one of the two may be an imitation";

/// A card that was not taken.
#[derive(Clone, Debug)]
struct UnwantedCard {
    why: NoCard,
    detail: Option<String>,
    /// If it was read.
    aid: Option<Aid>,
}

impl UnwantedCard {
    const fn new(why: NoCard) -> Self {
        Self {
            why,
            detail: None,
            aid: None,
        }
    }
}

/// A card that is not wanted, or does not work. One that is not wanted is left alone until it is taken out: a connection keeps other
/// programs from it, and a selection may drop what they have verified.
#[derive(Debug)]
pub(super) struct JudgedCard {
    reader: ReaderWithCard,
    card: UnwantedCard,
    at: Monotonic,
}

impl JudgedCard {
    /// True when it is to be looked at again, though it was not taken out.
    fn is_due(&self, now: Monotonic) -> bool {
        let age = now.since(self.at);
        match self.card.why {
            NoCard::NoKey | NoCard::KeyKind | NoCard::OtherKey => age >= KEY_AGAIN,
            // The agent's own connection is an event, which must not cause the next one at once.
            NoCard::Faulty => age >= PAUSE,
            _ => false,
        }
    }
}

/// The reader that had the card whose PIN is kept.
#[derive(Debug)]
pub(super) struct KeptPlace {
    reader: ReaderWithCard,
    /// False after the end of pcscd, which counts insertions anew: until a card is found there that may be the same one.
    pub(super) is_counted: bool,
}

/// The result of a search, beside the cards that may be taken.
struct Missed {
    card: UnwantedCard,
    whereabouts: Whereabouts,
}

impl<R: Readers> Worker<R> {
    pub(super) fn find(&mut self, list: Vec<ReaderWithCard>, now: Monotonic) {
        self.review_judged(&list, now);
        let mut found = Vec::new();
        let mut missed = Missed {
            card: UnwantedCard::new(NoCard::Missing),
            whereabouts: Whereabouts::Gone,
        };
        for reader in list {
            let known = self.judged.iter().find(|judged| judged.reader == reader);
            let card = match known {
                Some(judged) => judged.card.clone(),
                None => match self.try_reader(&reader) {
                    Ok(Ok(held)) => {
                        found.push(held);
                        continue;
                    }
                    Ok(Err(card)) => {
                        self.judge(reader.clone(), card.clone(), now);
                        card
                    }
                    Err(OpenFault::Access(AccessError::NoService)) => {
                        return self.lose_service(now);
                    }
                    Err(OpenFault::Access(AccessError::InUse)) => UnwantedCard::new(NoCard::InUse),
                    Err(OpenFault::Access(AccessError::Removed)) => {
                        UnwantedCard::new(NoCard::Missing)
                    }
                    Err(fault) => {
                        let card = UnwantedCard {
                            detail: Some(fault.to_string()),
                            ..UnwantedCard::new(NoCard::Faulty)
                        };
                        self.judge(reader.clone(), card.clone(), now);
                        card
                    }
                },
            };
            missed.whereabouts = missed.whereabouts.max(self.whereabouts(reader, &card));
            // One that may still turn out to be the wanted card counts for most.
            let before = missed.card.why;
            if card.why.may_pass() || (card.why != NoCard::Missing && !before.may_pass()) {
                missed.card = card;
            }
        }
        self.choose(found, missed, now);
    }

    /// Takes the card that was unlocked, or the only one.
    fn choose(&mut self, mut found: Vec<HeldCard>, mut missed: Missed, now: Monotonic) {
        let is_kept = |held: &HeldCard| self.lock.keeps(&held.identity());
        let kept = found.iter().filter(|held| is_kept(held)).count();
        // A card that may be the kept one cannot be read now: one with its identity elsewhere may be an imitation.
        let is_in_doubt = kept == 1 && missed.whereabouts == Whereabouts::InPlace;
        let chosen = match (kept, found.len()) {
            _ if is_in_doubt => None,
            (1, _) => found.iter().position(is_kept),
            (0, 1) => Some(0),
            _ => None,
        };
        let chosen = chosen.map(|at| found.swap_remove(at));
        if is_in_doubt {
            missed.card.detail = Some(ELSEWHERE.to_owned());
        } else if chosen.is_none() && !found.is_empty() {
            missed.card = UnwantedCard {
                detail: has_twins(&found).then(|| IMITATION.to_owned()),
                ..UnwantedCard::new(NoCard::Several)
            };
        }
        if kept > 1 {
            log::alarm(&format!("the PIN is forgotten: {IMITATION}"));
            let order = self.lock.imitated();
            self.obey(order, now);
        }
        for held in found {
            // A card in doubt is compared anew at each look.
            if chosen.is_none() && !is_in_doubt {
                self.judge(held.reader, missed.card.clone(), now);
            }
            held.connection.release();
        }
        match chosen {
            Some(held) => self.take(held, now),
            None => self.miss(missed.card.why, missed.card.detail, missed.whereabouts, now),
        }
    }

    /// The place of the card whose PIN is kept, as far as a card that was not taken tells.
    fn whereabouts(&mut self, reader: ReaderWithCard, card: &UnwantedCard) -> Whereabouts {
        let is_kept = card.aid.is_some() && card.aid.as_ref() == self.lock.kept_aid();
        match (card.why, &mut self.kept_in) {
            (NoCard::InUse | NoCard::Faulty, Some(place)) if place.reader.name == reader.name => {
                if !place.is_counted {
                    let is_counted = true;
                    *place = KeptPlace { reader, is_counted };
                }
                Whereabouts::InPlace
            }
            (NoCard::NoKey | NoCard::KeyKind | NoCard::OtherKey, _) if is_kept => {
                Whereabouts::Unknown
            }
            _ => Whereabouts::Gone,
        }
    }

    /// Remembers the reader of the card whose PIN is kept, while it is held.
    pub(super) fn note_place(&mut self) {
        if let Some(held) = &self.held
            && self.lock.keeps(&held.identity())
        {
            self.kept_in = Some(KeptPlace {
                reader: held.reader.clone(),
                is_counted: true,
            });
        }
    }

    /// True when the card whose PIN is kept was taken out while nobody held it, though one is in its reader again.
    pub(super) fn was_exchanged(&self, list: &[ReaderWithCard]) -> bool {
        let counted = self.kept_in.as_ref().filter(|place| place.is_counted);
        self.lock.kept_aid().is_some() && counted.is_some_and(|place| !list.contains(&place.reader))
    }

    fn judge(&mut self, reader: ReaderWithCard, card: UnwantedCard, at: Monotonic) {
        self.judged.push(JudgedCard { reader, card, at });
    }

    /// Forgets what may be otherwise now.
    fn review_judged(&mut self, list: &[ReaderWithCard], now: Monotonic) {
        let is_judged =
            |reader: &ReaderWithCard| self.judged.iter().any(|card| card.reader == *reader);
        let is_left = |card: &JudgedCard| list.contains(&card.reader) && !card.is_due(now);
        // With another card there may be another choice.
        let is_same = self.judged.iter().all(is_left) && list.iter().all(is_judged);
        self.judged.retain(|judged| {
            let is_choice = judged.card.why == NoCard::Several;
            is_left(judged) && (is_same || !is_choice)
        });
    }

    /// Takes the card of a reader and reads it. One that is not wanted is given back without a reset.
    fn try_reader(
        &mut self,
        reader: &ReaderWithCard,
    ) -> Result<Result<HeldCard, UnwantedCard>, OpenFault> {
        let mut connection = self.readers.connect(&reader.name)?;
        match self.read_wanted(&mut *connection) {
            Ok(Ok(open)) => Ok(Ok(HeldCard {
                connection,
                reader: reader.clone(),
                open,
            })),
            Ok(Err(card)) => {
                connection.release();
                Ok(Err(card))
            }
            Err(fault) => {
                connection.release();
                Err(fault)
            }
        }
    }

    /// Reads a card, until it turns out that it is not the wanted one.
    fn read_wanted(
        &self,
        card: &mut dyn Connection,
    ) -> Result<Result<OpenCard, UnwantedCard>, OpenFault> {
        let data = match session::select(card) {
            Ok(data) => data,
            Err(OpenFault::NotOpenPgp(_)) => return Ok(Err(UnwantedCard::new(NoCard::Missing))),
            Err(fault) => return Err(fault),
        };
        let unwanted = |why| {
            Ok(Err(UnwantedCard {
                aid: Some(data.aid),
                ..UnwantedCard::new(why)
            }))
        };
        let name = self.settings.card;
        if name.is_some_and(|name| !name.is(data.aid.as_bytes())) {
            return unwanted(NoCard::NotTheNamed);
        }
        let key = match session::read_key(card, &data) {
            Ok(key) => key,
            Err(OpenFault::NoKey) => return unwanted(NoCard::NoKey),
            Err(OpenFault::KeyKind) => return unwanted(NoCard::KeyKind),
            Err(fault) => return Err(fault),
        };
        let name = self.settings.key.as_ref();
        if name.is_some_and(|name| *name != key.fingerprint()) {
            return unwanted(NoCard::OtherKey);
        }
        Ok(Ok(OpenCard { data, key }))
    }
}

/// True when two of the cards say that they are the same one.
fn has_twins(found: &[HeldCard]) -> bool {
    let mut rest = found.iter();
    while let Some(held) = rest.next() {
        let identity = held.identity();
        if rest.clone().any(|other| other.identity() == identity) {
            return true;
        }
    }
    false
}
