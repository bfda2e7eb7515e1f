//! Signatures: one command for the card, and what follows when the card has lost its state meanwhile.

use nightlatch_core::time::Monotonic;

use super::{SignOrder, SignRefusal, Worker};
use crate::apdu::StatusWord;
use crate::card_data::Touch;
use crate::card_lock::CardState;
use crate::session::{self, AuthenticateFault, PinState, TransmitFault};
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
            // The card may have taken long.
            if order.until <= (self.clock)() {
                let _ = order.reply.try_send(Err(SignRefusal::Busy));
                return;
            }
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
            Err(AuthenticateFault::NotVerified) => {
                // 6982 has other reasons too: the Nitrokey 3 answers it when no touch came.
                let state = session::pin_state(&mut *held.connection, &limits);
                match (state, touch) {
                    (Ok(PinState::Verified), Touch::Needed) => refused(not_touched()),
                    (Ok(PinState::Verified), Touch::Off) => {
                        let fault = AuthenticateFault::Status(StatusWord::SECURITY);
                        refused(SignRefusal::Failed(fault.to_string()))
                    }
                    (Ok(_) | Err(TransmitFault::Access(AccessError::Reset)), _) => {
                        Err(SignFault::StateLost)
                    }
                    (Err(fault), _) => Err(SignFault::Broken(fault)),
                }
            }
            Err(AuthenticateFault::Transmit(TransmitFault::Access(AccessError::Reset))) => {
                Err(SignFault::StateLost)
            }
            Err(AuthenticateFault::Transmit(TransmitFault::TooLong(fault))) => {
                refused(SignRefusal::TooLong(fault))
            }
            Err(AuthenticateFault::Transmit(fault)) => Err(SignFault::Broken(fault)),
            Err(AuthenticateFault::NotTouched) if touch == Touch::Needed => refused(not_touched()),
            Err(fault) => refused(SignRefusal::Failed(fault.to_string())),
        }
    }
}

fn not_touched() -> SignRefusal {
    SignRefusal::Failed("the card waits for a touch, and none came".to_owned())
}

enum SignFault {
    Refused(SignRefusal),
    /// The PIN is not verified any more.
    StateLost,
    Broken(TransmitFault),
}
