//! The callers of the control socket: each has a thread. The state comes from memory; to unlock and to lock are for root and the
//! agent's own user.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nightlatch_core::secret::Secret;
use nightlatch_sys::clock;
use nightlatch_sys::local_stream::{read_exact, read_line, write_all};
use nightlatch_sys::peers::PeerCredentials;
use nightlatch_sys::users::SystemUsers;
use zeroize::Zeroizing;

use crate::access::AccessRules;
use crate::board::Board;
use crate::card_lock::CardState;
use crate::control::{AnswerWord, ControlAnswer, ControlRequest, MAX_LINE};
use crate::log;
use crate::named_card::WrongCard;
use crate::policy::SigningPolicy;
use crate::report::{Sentence, StatusReport};
use crate::session::NotTried;
use crate::slots::{Slot, Slots};
use crate::worker::{GivenPin, Order, UnlockEnd};

/// Time for a caller to send its line and its PIN, and to take the answer.
const CALLER: Duration = Duration::from_secs(5);

/// Time for the card to take a PIN. The hash of a KDF object may need a second, the look for a card some more.
const CARD: Duration = Duration::from_secs(20);

/// Time for a PIN to be sent. A later one is dropped: the caller hears that the card is busy, and no try may follow that.
const PIN_SENT: Duration = Duration::from_secs(15);

/// Pause after a caller that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that callers need.
#[derive(Debug)]
pub(crate) struct ControlService {
    pub(crate) board: Arc<Board>,
    pub(crate) orders: SyncSender<Order>,
    pub(crate) access: AccessRules,
    pub(crate) policy: Arc<SigningPolicy>,
    pub(crate) slots: Slots,
}

impl ControlService {
    /// Serves callers for ever.
    pub(crate) fn accept_all(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let accepted = listener.accept().and_then(|(stream, _)| {
                let peer = PeerCredentials::of(&stream)?;
                let Some(slot) = self.take(peer.user, &stream)? else {
                    return Ok(());
                };
                let service = Arc::clone(self);
                let thread = thread::Builder::new().name("caller".to_owned());
                thread.spawn(move || {
                    // A caller that goes away misses its answer.
                    let _ = service.serve(stream, &peer, &slot);
                })?;
                Ok(())
            });
            if let Err(error) = accepted {
                log::info(&format!("cannot accept a caller: {error}"));
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }

    fn take(&self, user: u32, stream: &UnixStream) -> io::Result<Option<Slot>> {
        let is_trusted = self.access.may_unlock(user);
        Ok(self.slots.take(user, is_trusted, stream.try_clone()?))
    }

    fn serve(&self, mut stream: UnixStream, peer: &PeerCredentials, slot: &Slot) -> io::Result<()> {
        let line = read_line(&mut stream, MAX_LINE, CALLER)?;
        // Until here it makes room for others.
        slot.set_idle(false);
        let request = ControlRequest::parse(&line).ok_or(io::ErrorKind::InvalidData)?;
        let answer = match request {
            ControlRequest::Status if self.access.may_use(peer, &SystemUsers) => {
                let now = clock::now().wall;
                let policy = self.policy.report(now, clock::known_ahead_of_utc(now));
                StatusReport::new(&self.board.read(), policy).lines()
            }
            ControlRequest::Lock if self.access.may_unlock(peer.user) => {
                format!("{}\n", self.lock(peer.user))
            }
            ControlRequest::Unlock { by, length, named } if self.access.may_unlock(peer.user) => {
                let mut pin = Zeroizing::new(vec![0; length]);
                read_exact(&mut stream, &mut pin, CALLER)?;
                let pin = Secret::new(std::mem::take(&mut *pin));
                format!("{}\n", self.unlock(GivenPin { pin, by, named }, peer.user))
            }
            refused => {
                if let ControlRequest::Unlock { length, .. } = refused {
                    // To close a socket with unread bytes would drop the answer.
                    read_exact(&mut stream, &mut Zeroizing::new(vec![0; length]), CALLER)?;
                }
                let text = format!("user {} may not do this", peer.user);
                format!("{}\n", ControlAnswer::new(AnswerWord::NotAllowed, text))
            }
        };
        write_all(&mut stream, answer.as_bytes(), CALLER)
    }

    fn lock(&self, user: u32) -> ControlAnswer {
        let (reply, done) = sync_channel(1);
        let queued = self.orders.try_send(Order::Lock { reply });
        if queued.is_err() || done.recv_timeout(CARD).is_err() {
            return ControlAnswer::new(AnswerWord::Busy, "the card does not answer");
        }
        log::info(&format!("locked by user {user}"));
        ControlAnswer::new(AnswerWord::Done, "")
    }

    fn unlock(&self, given: GivenPin, user: u32) -> ControlAnswer {
        let (reply, end) = sync_channel(1);
        let queued = self.orders.try_send(Order::Unlock {
            given,
            until: clock::now().mono.after(PIN_SENT),
            reply,
        });
        let end = match queued {
            Ok(()) => end.recv_timeout(CARD).ok(),
            Err(_) => None,
        };
        let Some(end) = end else {
            return ControlAnswer::new(AnswerWord::Busy, "the card does not answer");
        };
        log::info(&format!("user {user} gives a PIN: {}", word(&end)));
        let text = match &end {
            UnlockEnd::Unlocked | UnlockEnd::Already => String::new(),
            UnlockEnd::NoCard(_) => Sentence(&self.board.read()).to_string(),
            UnlockEnd::WrongCard(wrong) => wrong.to_string(),
            UnlockEnd::RefusedBefore => "the PIN was not tried: the card has refused this one before; give the right one, or \
                                         type this one if the card has it now"
                .to_owned(),
            UnlockEnd::Rejected(left) => {
                format!("the card has refused the PIN; {left} tries are left")
            }
            UnlockEnd::NotTried(why) => format!("the PIN was not tried: {why}"),
            UnlockEnd::Failed(why) => why.clone(),
        };
        ControlAnswer::new(answer_word(&end), text)
    }
}

const fn answer_word(end: &UnlockEnd) -> AnswerWord {
    match end {
        UnlockEnd::Unlocked => AnswerWord::Done,
        UnlockEnd::Already => AnswerWord::Already,
        UnlockEnd::NoCard(CardState::NoService) => AnswerWord::NoService,
        UnlockEnd::NoCard(_) => AnswerWord::NoCard,
        UnlockEnd::WrongCard(WrongCard::NotNamed { .. }) => AnswerWord::NotNamed,
        UnlockEnd::WrongCard(_) => AnswerWord::OtherCard,
        UnlockEnd::RefusedBefore => AnswerWord::NotTried,
        UnlockEnd::Rejected(_) => AnswerWord::WrongPin,
        UnlockEnd::NotTried(NotTried::TooFewTries(_)) => AnswerWord::TooFewTries,
        UnlockEnd::NotTried(_) => AnswerWord::NotTried,
        UnlockEnd::Failed(_) => AnswerWord::Failed,
    }
}

const fn word(end: &UnlockEnd) -> &'static str {
    match end {
        UnlockEnd::Unlocked => "the card is unlocked",
        UnlockEnd::Already => "the card was unlocked before",
        UnlockEnd::NoCard(_) => "there is no card",
        UnlockEnd::WrongCard(WrongCard::NotNamed { .. }) => {
            "it is from a file, and card.conf does not name the card and its key"
        }
        UnlockEnd::WrongCard(_) => "it is for another card",
        UnlockEnd::RefusedBefore => "the card has refused it before",
        UnlockEnd::Rejected(_) => "the card has refused it",
        UnlockEnd::NotTried(_) => "it was not tried",
        UnlockEnd::Failed(_) => "the card has failed",
    }
}
