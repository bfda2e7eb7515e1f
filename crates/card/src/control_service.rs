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

use crate::admission::{Admission, Newcomer, NotAdmitted};
use crate::board::Board;
use crate::card_lock::CardState;
use crate::control::{AnswerWord, ControlAnswer, ControlRequest, MAX_LINE};
use crate::log;
use crate::named_card::WrongCard;
use crate::policy::SigningPolicy;
use crate::report::{Sentence, StatusReport};
use crate::session::NotTried;
use crate::worker::{GivenPin, LockEnd, Order, UnlockEnd};

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
    pub(crate) policy: Arc<SigningPolicy>,
    pub(crate) admission: Admission,
}

impl ControlService {
    /// Serves callers for ever.
    pub(crate) fn accept_all(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let accepted = listener.accept().and_then(|(stream, _)| {
                let peer = PeerCredentials::of(&stream)?;
                let Some(newcomer) = self.admission.begin(peer.user, &stream)? else {
                    return Ok(());
                };
                let service = Arc::clone(self);
                let thread = thread::Builder::new().name("caller".to_owned());
                thread.spawn(move || {
                    // A caller that goes away misses its answer.
                    let _ = service.serve(stream, &peer, newcomer);
                })?;
                Ok(())
            });
            if let Err(error) = accepted {
                log::info(&format!("cannot accept a caller: {error}"));
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }

    fn serve(
        &self,
        mut stream: UnixStream,
        peer: &PeerCredentials,
        mut newcomer: Newcomer,
    ) -> io::Result<()> {
        let slot = match self.admission.finish(&mut newcomer, peer, &SystemUsers) {
            Ok(slot) => slot,
            // Nothing is read: it could take its time to send it.
            Err(NotAdmitted::NotAllowed) => {
                return write_all(&mut stream, not_allowed(peer.user).as_bytes(), CALLER);
            }
            Err(NotAdmitted::TooMany) => return Ok(()),
        };
        drop(newcomer);
        let line = read_line(&mut stream, MAX_LINE, CALLER)?;
        // Until here it makes room for others.
        slot.set_idle(false);
        let request = ControlRequest::parse(&line).ok_or(io::ErrorKind::InvalidData)?;
        let answer = match request {
            ControlRequest::Status => {
                let now = clock::now().wall;
                let policy = self.policy.report(now, clock::known_ahead_of_utc(now));
                StatusReport::new(&self.board.read(), policy).lines()
            }
            // The PIN of one who may not unlock is not waited for.
            _ if !self.admission.access().may_unlock(peer.user) => not_allowed(peer.user),
            ControlRequest::Lock => format!("{}\n", self.lock(peer.user)),
            ControlRequest::Unlock { by, length, named } => {
                let mut pin = Zeroizing::new(vec![0; length]);
                read_exact(&mut stream, &mut pin, CALLER)?;
                let pin = Secret::new(std::mem::take(&mut *pin));
                format!("{}\n", self.unlock(GivenPin { pin, by, named }, peer.user))
            }
        };
        write_all(&mut stream, answer.as_bytes(), CALLER)
    }

    fn lock(&self, user: u32) -> ControlAnswer {
        let (reply, done) = sync_channel(1);
        let queued = self.orders.try_send(Order::Lock { reply });
        let end = match queued {
            Ok(()) => done.recv_timeout(CARD).ok(),
            Err(_) => None,
        };
        let Some(end) = end else {
            return ControlAnswer::new(AnswerWord::Busy, "the card does not answer");
        };
        if end == LockEnd::NotReset {
            log::alarm(&format!(
                "user {user} locks the card, and it was not reset; its PIN is forgotten"
            ));
            let text = format!(
                "the PIN is forgotten, but the card was not reset: {}; take it out to be sure that it is locked",
                Sentence(&self.board.last())
            );
            return ControlAnswer::new(AnswerWord::Failed, text);
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

fn not_allowed(user: u32) -> String {
    let text = format!("user {user} may not do this");
    format!("{}\n", ControlAnswer::new(AnswerWord::NotAllowed, text))
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::mpsc::Receiver;

    use nightlatch_core::settings::caller::AllowedCaller;
    use nightlatch_core::settings::card::CardSettings;
    use nightlatch_sys::users::UserDatabase as _;

    use super::*;
    use crate::access::AccessRules;

    /// The agent's own user. No user of the machine has this number.
    const OWN: u32 = 4_000_000;
    const STRANGER: u32 = 4_000_001;

    /// `nobody`, whom every machine has, may use the card.
    fn service() -> (Arc<ControlService>, Receiver<Order>) {
        let settings = CardSettings {
            allow: vec![AllowedCaller::User("nobody".to_owned())],
            ..CardSettings::default()
        };
        let (orders, received) = sync_channel(4);
        let service = ControlService {
            board: Arc::new(Board::new()),
            orders,
            policy: Arc::new(SigningPolicy::new(&settings, OWN, || None)),
            admission: Admission::new(AccessRules::new(OWN, &settings)),
        };
        (Arc::new(service), received)
    }

    /// Connects a caller that has sent `sent` so far.
    fn connect(service: &Arc<ControlService>, user: u32, sent: &str) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let newcomer = service.admission.begin(user, &ours).unwrap().unwrap();
        theirs.write_all(sent.as_bytes()).unwrap();
        let service = Arc::clone(service);
        let groups = Vec::new();
        thread::spawn(move || service.serve(ours, &PeerCredentials { user, groups }, newcomer));
        // Less than a caller has to send its PIN.
        theirs.set_read_timeout(Some(CALLER / 2)).unwrap();
        theirs
    }

    #[test]
    fn one_who_may_not_use_the_card_is_answered_at_once() {
        let (service, _orders) = service();
        for sent in ["", "status\n", "unlock person 6\n"] {
            let mut caller = connect(&service, STRANGER, sent);
            let mut answer = vec![0; MAX_LINE];
            let length = caller.read(&mut answer).unwrap();
            let expected = format!("not-allowed user {STRANGER} may not do this\n");
            assert_eq!(answer[..length], *expected.as_bytes(), "{sent}");
        }
    }

    #[test]
    fn the_pin_of_one_who_may_use_the_card_and_not_unlock_it_is_not_waited_for() {
        let (service, _orders) = service();
        let nobody = SystemUsers.user_id("nobody").unwrap().unwrap();
        let mut caller = connect(&service, nobody, "unlock person 6\n");
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        assert_eq!(
            answer,
            format!("not-allowed user {nobody} may not do this\n")
        );
        let mut caller = connect(&service, nobody, "status\n");
        answer.clear();
        caller.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("state no-service\n"), "{answer}");
    }

    #[test]
    fn a_lock_without_a_reset_is_told() {
        let (service, orders) = service();
        for (end, word) in [
            (LockEnd::Locked, AnswerWord::Done),
            (LockEnd::NotReset, AnswerWord::Failed),
        ] {
            let called = Arc::clone(&service);
            let caller = thread::spawn(move || called.lock(0));
            let Ok(Order::Lock { reply }) = orders.recv() else {
                panic!("another order");
            };
            reply.send(end).unwrap();
            assert_eq!(caller.join().unwrap().word, word, "{end:?}");
        }
    }
}
