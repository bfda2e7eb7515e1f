//! Signatures: one command for the card, and what follows when the card has lost its state meanwhile.

use nightlatch_core::time::Monotonic;

use super::{SignOrder, SignRefusal, Worker};
use crate::card_data::Touch;
use crate::card_lock::CardState;
use crate::session::{self, AuthenticateFault, TransmitFault};
use crate::transport::{AccessError, Readers};

impl<R: Readers> Worker<R> {
    /// Signs, or keeps the order while the card may come back.
    pub(super) fn sign(&mut self, order: SignOrder, now: Monotonic) {
        if order.until <= now {
            return;
        }
        let mut end = self.try_sign(&order);
        if matches!(end, Err(SignFault::StateLost)) {
            // Once only: a card that loses its state again and again must not be sent the PIN in a loop.
            self.recover(now);
            end = self.try_sign(&order);
        }
        let answer = match end {
            Ok(signature) => Ok(signature),
            Err(SignFault::Refused(refusal)) => Err(refusal),
            Err(SignFault::Broken(fault)) => {
                let what = fault.to_string();
                self.drop_card(fault, now);
                Err(SignRefusal::Failed(what))
            }
            Err(SignFault::StateLost) => Err(SignRefusal::Failed(
                "the card has lost its PIN twice".to_owned(),
            )),
        };
        match answer {
            // The card may come back in time.
            Err(_) if self.lock.recovers() => self.waiting.push(order),
            answer => {
                let _ = order.reply.try_send(answer);
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
            Ok(raw) => {
                self.signatures += 1;
                Ok(raw)
            }
            Err(
                AuthenticateFault::NotVerified
                | AuthenticateFault::Transmit(TransmitFault::Access(AccessError::Reset)),
            ) => Err(SignFault::StateLost),
            Err(AuthenticateFault::Transmit(TransmitFault::TooLong(fault))) => {
                refused(SignRefusal::TooLong(fault))
            }
            Err(AuthenticateFault::Transmit(fault)) => Err(SignFault::Broken(fault)),
            Err(AuthenticateFault::NotTouched) if touch == Touch::Needed => {
                let what = "the card waits for a touch, and none came";
                refused(SignRefusal::Failed(what.to_owned()))
            }
            Err(fault) => refused(SignRefusal::Failed(fault.to_string())),
        }
    }
}

enum SignFault {
    Refused(SignRefusal),
    /// The PIN is not verified any more.
    StateLost,
    Broken(TransmitFault),
}
