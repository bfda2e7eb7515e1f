//! Signatures: one command for the card, and what follows when the card has lost its state meanwhile.

use nightlatch_core::time::Monotonic;

use super::{HeldCard, SignOrder, SignRefusal, Worker};
use crate::apdu::StatusWord;
use crate::card_data::Touch;
use crate::card_lock::{CardState, NoCard};
use crate::session::{self, AuthenticateFault, PinState, TransmitFault};
use crate::transport::{AccessError, Readers};

impl<R: Readers> Worker<R> {
    /// Signs, or keeps the order while the card may come back.
    pub(super) fn sign(&mut self, order: SignOrder, now: Monotonic) {
        if order.until <= now {
            let _ = order.reply.try_send(Err(SignRefusal::Busy));
            return;
        }
        let needs_touch = self.lock.state() == CardState::Unlocked(Touch::Needed);
        // Each is done once only: a card that loses its state or breaks again and again must not be sent the PIN in a loop.
        let end = match self.try_sign(&order) {
            Err(SignFault::StateLost) => {
                self.recover(now);
                self.try_again(&order)
            }
            Err(SignFault::Broken(fault)) => {
                let broke = SignRefusal::Failed(fault.to_string());
                self.reconnect(fault, now);
                match self.lock.state() {
                    // Nobody touches it a second time.
                    CardState::Unlocked(_) if needs_touch => Err(SignFault::Refused(broke)),
                    CardState::Unlocked(_) => self.try_again(&order),
                    state if self.lock.recovers() => {
                        Err(SignFault::Refused(SignRefusal::NotUnlocked(state)))
                    }
                    _ => Err(SignFault::Refused(broke)),
                }
            }
            end => end,
        };
        match end.map_err(|fault| self.refusal(fault, now)) {
            // The card may come back in time.
            Err(SignRefusal::NotUnlocked(_)) if self.lock.recovers() => self.waiting.push(order),
            answer => {
                let _ = order.reply.try_send(answer);
            }
        }
    }

    /// The card broke. A reader may do so for a moment: one that was unlocked is taken again at once.
    fn reconnect(&mut self, fault: TransmitFault, now: Monotonic) {
        self.drop_card(fault, now);
        if self.lock.state() == CardState::NoCard(NoCard::Faulty) && self.lock.recovers() {
            self.look(now);
        }
    }

    /// The second try, if somebody still waits for it: the card may have taken long.
    fn try_again(&mut self, order: &SignOrder) -> Result<Vec<u8>, SignFault> {
        match order.until <= (self.clock)() {
            true => Err(SignFault::Refused(SignRefusal::Busy)),
            false => self.try_sign(order),
        }
    }

    fn refusal(&mut self, fault: SignFault, now: Monotonic) -> SignRefusal {
        match fault {
            SignFault::Refused(refusal) => refusal,
            SignFault::StateLost => {
                SignRefusal::Failed("the card has lost its PIN twice".to_owned())
            }
            SignFault::Broken(fault) => {
                let what = fault.to_string();
                self.drop_card(fault, now);
                match self.lock.state() {
                    // It is not the request that has caused it.
                    state @ CardState::NoService => SignRefusal::NotUnlocked(state),
                    _ => SignRefusal::Failed(what),
                }
            }
        }
    }

    fn try_sign(&mut self, order: &SignOrder) -> Result<Vec<u8>, SignFault> {
        let state = self.lock.state();
        let (CardState::Unlocked(touch), Some(held)) = (state, &mut self.held) else {
            return Err(SignFault::Refused(SignRefusal::NotUnlocked(state)));
        };
        if held.open.key != order.key {
            return Err(SignFault::Refused(SignRefusal::OtherKey));
        }
        let limits = held.open.data.limits;
        let signed = session::authenticate(&mut *held.connection, &limits, &order.input);
        let refused = |refusal| Err(SignFault::Refused(refusal));
        match signed {
            Ok(raw) => match held.open.key.check_length(&raw) {
                Ok(()) => {
                    self.signatures += 1;
                    Ok(raw)
                }
                Err(fault) => refused(SignRefusal::Failed(fault.to_string())),
            },
            Err(AuthenticateFault::Transmit(TransmitFault::Access(AccessError::Reset))) => {
                Err(SignFault::StateLost)
            }
            Err(AuthenticateFault::Transmit(TransmitFault::TooLong(fault))) => {
                refused(SignRefusal::TooLong(fault))
            }
            Err(AuthenticateFault::Transmit(fault)) => Err(SignFault::Broken(fault)),
            Err(fault) => Err(judge_status(held, &fault, touch)),
        }
    }
}

/// The card has refused the signature with a status. Which one it is depends on the card and on what is selected: only an empty
/// VERIFY tells whether its PIN is lost.
fn judge_status(held: &mut HeldCard, fault: &AuthenticateFault, touch: Touch) -> SignFault {
    let state = session::pin_state(&mut *held.connection, &held.open.data.limits);
    match state {
        Ok(PinState::Verified) => {}
        Ok(_) | Err(TransmitFault::Access(AccessError::Reset)) => return SignFault::StateLost,
        Err(fault) => return SignFault::Broken(fault),
    }
    SignFault::Refused(SignRefusal::Failed(match (fault, touch) {
        // The Nitrokey 3 answers 6982 when no touch came.
        (AuthenticateFault::NotVerified | AuthenticateFault::NotTouched, Touch::Needed) => {
            "the card waits for a touch, and none came".to_owned()
        }
        (AuthenticateFault::NotVerified, Touch::Off) => {
            AuthenticateFault::Status(StatusWord::SECURITY).to_string()
        }
        (fault, _) => fault.to_string(),
    }))
}

enum SignFault {
    Refused(SignRefusal),
    /// The PIN is not verified any more.
    StateLost,
    Broken(TransmitFault),
}
