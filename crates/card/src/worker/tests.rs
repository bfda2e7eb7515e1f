use std::sync::mpsc::{Receiver, sync_channel};

use nightlatch_core::settings::card::{AfterRemoval, CardName};

use nightlatch_core::secret::Secret;

use super::*;
use crate::card_data::Touch;
use crate::card_lock::{LockReason, TriedBy};
use crate::named_card::NamedCard;
use crate::simulated::{PIN, SimulatedReaders};

fn at(milliseconds: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(milliseconds))
}

/// A worker that has the time of the simulated card.
fn worker(
    card: &SimulatedReaders,
    settings: CardSettings,
    board: &Arc<Board>,
) -> Worker<SimulatedReaders> {
    let mut worker = Worker::new(card.clone(), settings, Arc::clone(board));
    let card = card.clone();
    worker.clock = Box::new(move || card.card().now);
    worker
}

/// A PIN that a person types.
fn typed(pin: &[u8]) -> GivenPin {
    GivenPin {
        pin: Secret::new(pin.to_vec()),
        by: TriedBy::Person,
        named: NamedCard::default(),
    }
}

struct Bench {
    card: SimulatedReaders,
    board: Arc<Board>,
    worker: Worker<SimulatedReaders>,
}

type Signed = Receiver<Result<Vec<u8>, SignRefusal>>;

impl Bench {
    fn new() -> Self {
        Self::with(CardSettings::default())
    }

    fn with(settings: CardSettings) -> Self {
        let card = SimulatedReaders::new();
        let board = Arc::new(Board::new());
        let mut worker = worker(&card, settings, &board);
        worker.carry_out(Order::Look, at(0));
        Self {
            card,
            board,
            worker,
        }
    }

    fn unlocked() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
        assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
        bench
    }

    fn state(&self) -> CardState {
        self.board.read().state
    }

    /// The names of the simulated card, as an order from a file has them.
    fn named(&self) -> NamedCard {
        let card = self.card.card();
        let key = AuthKey::Ed25519(card.key);
        NamedCard {
            card: CardName::parse(&format!("0006:{:08X}", card.serial)),
            key: Some(key.fingerprint()),
        }
    }

    fn unlock(&mut self, pin: &[u8], by: TriedBy) -> UnlockEnd {
        let (reply, end) = sync_channel(1);
        let order = Order::Unlock {
            given: GivenPin {
                by,
                named: match by {
                    TriedBy::Person => NamedCard::default(),
                    TriedBy::Agent => self.named(),
                },
                ..typed(pin)
            },
            until: at(15_000),
            reply,
        };
        self.worker.carry_out(order, at(0));
        end.try_recv().unwrap()
    }

    fn order(&mut self, from: u64) -> Signed {
        let (reply, signed) = sync_channel(1);
        let key = AuthKey::Ed25519([7; 32]);
        let input = key.sign_input(b"data", 0).unwrap();
        let order = SignOrder {
            key,
            input,
            until: at(from + 5000),
            reply,
        };
        self.worker.carry_out(Order::Sign(order), at(from));
        signed
    }

    fn sign(&mut self) -> Result<Vec<u8>, SignRefusal> {
        self.order(0).try_recv().unwrap()
    }
}

#[test]
fn a_locked_card_refuses_and_an_unlocked_one_signs() {
    let mut bench = Bench::new();
    assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
    let refused = SignRefusal::NotUnlocked(CardState::Locked(LockReason::Start));
    assert_eq!(bench.sign(), Err(refused));
    assert_eq!(bench.unlock(PIN, TriedBy::Agent), UnlockEnd::Unlocked);
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
    assert_eq!(bench.board.read().signatures, 1);
    // Not tried again.
    assert_eq!(bench.unlock(b"654321", TriedBy::Person), UnlockEnd::Already);
    assert_eq!(bench.card.tried(), 1);
    let (reply, done) = sync_channel(1);
    bench.worker.carry_out(Order::Lock { reply }, at(0));
    assert_eq!(done.try_recv(), Ok(LockEnd::Locked));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Person));
    assert!(!bench.card.card().is_verified && bench.worker.pin.is_none());
}

#[test]
fn a_lock_that_could_not_reset_the_card_forgets_the_pin_and_says_so() {
    let mut bench = Bench::unlocked();
    bench.card.card().service = false;
    let (reply, done) = sync_channel(1);
    bench.worker.carry_out(Order::Lock { reply }, at(0));
    assert_eq!(done.try_recv(), Ok(LockEnd::NotReset));
    assert!(bench.worker.pin.is_none());
}

#[test]
fn a_reset_made_elsewhere_is_recovered_without_another_reset() {
    let mut bench = Bench::unlocked();
    let resets = bench.card.card().resets;
    bench.card.reset_elsewhere();
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
    assert_eq!(bench.card.card().resets, resets);
    assert_eq!(bench.card.tried(), 2);
    // One SELECT after each reset.
    assert_eq!(bench.card.count(0xa4), 2);
}

#[test]
fn a_card_that_has_lost_its_pin_is_verified_once_and_not_in_a_loop() {
    let mut bench = Bench::unlocked();
    bench.card.card().is_verified = false;
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
    for _ in 0..2 {
        bench.card.answer(0x88, true, &[0x69, 0x82]);
    }
    for _ in 0..4 {
        bench.card.answer(0x20, false, &[0x63, 0xc3]);
    }
    let end = bench.sign();
    assert!(matches!(end, Err(SignRefusal::Failed(_))), "{end:?}");
    // Once more, and then not again.
    assert_eq!(bench.card.tried(), 3);
}

#[test]
fn a_restart_of_pcscd_is_recovered_and_signatures_wait_for_it() {
    let mut bench = Bench::unlocked();
    bench.card.stop_service();
    let signed = bench.order(1000);
    assert_eq!(bench.state(), CardState::NoService);
    assert!(bench.board.read().recovers && bench.board.read().card.is_some());
    assert!(signed.try_recv().is_err());
    bench.card.card().service = true;
    bench.worker.tick(at(1200));
    assert_eq!(signed.try_recv().unwrap(), Ok(vec![9; 64]));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn a_signature_waits_for_five_seconds_and_no_longer() {
    let mut bench = Bench::unlocked();
    bench.card.card().service = false;
    let signed = bench.order(1000);
    bench.worker.tick(at(5999));
    assert!(signed.try_recv().is_err());
    bench.worker.tick(at(6000));
    assert_eq!(signed.try_recv(), Ok(Err(SignRefusal::Busy)));
    assert!(bench.worker.waiting.is_empty());
}

#[test]
fn after_a_removal_a_person_unlocks() {
    let mut bench = Bench::unlocked();
    bench.card.take_out();
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::Missing));
    assert!(bench.worker.pin.is_none() && bench.board.read().card.is_none());
    bench.card.put_in();
    bench.worker.carry_out(Order::Look, at(20));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Removed));
    assert_eq!(bench.card.tried(), 1);
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
}

#[test]
fn a_card_that_is_out_and_in_between_two_looks_was_taken_out_too() {
    let mut bench = Bench::unlocked();
    bench.card.take_out();
    bench.card.put_in();
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Removed));
    let mut bench = Bench::with(CardSettings {
        after_removal: AfterRemoval::Unlock,
        ..CardSettings::default()
    });
    assert_eq!(bench.unlock(PIN, TriedBy::Agent), UnlockEnd::Unlocked);
    bench.card.take_out();
    bench.card.put_in();
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn a_signature_does_not_wait_for_a_card_that_was_taken_out() {
    let mut bench = Bench::with(CardSettings {
        after_removal: AfterRemoval::Unlock,
        ..CardSettings::default()
    });
    assert_eq!(bench.unlock(PIN, TriedBy::Agent), UnlockEnd::Unlocked);
    bench.card.take_out();
    bench.worker.carry_out(Order::Look, at(10));
    let refused = SignRefusal::NotUnlocked(CardState::NoCard(NoCard::Missing));
    assert_eq!(bench.order(20).try_recv(), Ok(Err(refused)));
    assert!(!bench.board.read().recovers);
    // An event tells of it.
    assert_eq!(bench.worker.deadline(), None);
    bench.card.put_in();
    bench.worker.carry_out(Order::Look, at(30));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn another_card_after_a_restart_of_pcscd_is_never_sent_the_pin() {
    for other_key in [false, true] {
        let mut bench = Bench::unlocked();
        bench.card.card().service = false;
        bench.worker.carry_out(Order::Look, at(10));
        {
            let mut card = bench.card.card();
            card.service = true;
            card.is_verified = false;
            match other_key {
                true => card.key = [8; 32],
                false => card.serial = 2,
            }
        }
        bench.worker.carry_out(Order::Look, at(20));
        assert_eq!(bench.state(), CardState::Locked(LockReason::OtherCard));
        assert_eq!(bench.card.tried(), 1);
        assert!(bench.worker.pin.is_none());
    }
}

#[test]
fn a_pin_that_others_verified_is_not_inherited() {
    let card = SimulatedReaders::new();
    {
        let mut card = card.card();
        card.is_selected = true;
        card.is_verified = true;
    }
    let board = Arc::new(Board::new());
    let mut worker = worker(&card, CardSettings::default(), &board);
    worker.carry_out(Order::Look, at(0));
    assert_eq!(board.read().state, CardState::Locked(LockReason::Start));
    assert!(!card.card().is_verified && card.card().resets == 1);
}

#[test]
fn a_wrong_kept_pin_is_tried_once_and_never_blocks_the_card() {
    let mut bench = Bench::unlocked();
    bench.card.card().pin = b"changed".to_vec();
    for moment in 0..5 {
        bench.card.reset_elsewhere();
        let end = bench.order(moment * 10).try_recv().unwrap();
        assert!(matches!(end, Err(SignRefusal::NotUnlocked(_))), "{end:?}");
        bench.worker.carry_out(Order::Look, at(moment * 10));
    }
    assert_eq!(bench.state(), CardState::Locked(LockReason::WrongPin));
    assert_eq!((bench.card.tried(), bench.card.card().tries), (2, 2));
    // A PIN of a file needs three tries, a person two.
    let end = bench.unlock(b"changed", TriedBy::Agent);
    assert!(
        matches!(end, UnlockEnd::NotTried(NotTried::TooFewTries(_))),
        "{end:?}"
    );
    assert_eq!(
        bench.unlock(b"changed", TriedBy::Person),
        UnlockEnd::Unlocked
    );
}

#[test]
fn a_pin_that_is_late_is_never_sent() {
    // It has waited for too long, or the card takes too long before it is sent.
    for (now, step) in [(15_000, 0), (20_000, 0), (0, 4_000)] {
        let mut bench = Bench::new();
        {
            let mut card = bench.card.card();
            card.now = at(now);
            card.step = Duration::from_millis(step);
        }
        let (reply, end) = sync_channel(1);
        let order = Order::Unlock {
            given: typed(PIN),
            until: at(15_000),
            reply,
        };
        bench.worker.carry_out(order, at(now));
        assert!(end.try_recv().is_err());
        assert_eq!(bench.card.tried(), 0, "{now} {step}");
        assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
    }
}

#[test]
fn a_card_that_answers_6982_and_has_kept_its_pin_is_not_recovered() {
    for (touch, text) in [(0, "6982"), (1, "touch")] {
        let mut bench = Bench::new();
        bench.card.card().touch = touch;
        bench.card.take_out();
        bench.card.put_in();
        bench.worker.carry_out(Order::Look, at(0));
        assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
        bench.card.answer(0x88, true, &[0x69, 0x82]);
        let selected = bench.card.count(0xa4);
        let Err(SignRefusal::Failed(what)) = bench.sign() else {
            panic!("it was signed");
        };
        assert!(what.contains(text), "{what}");
        assert_eq!(bench.card.count(0xa4), selected);
        assert!(matches!(bench.state(), CardState::Unlocked(_)));
    }
}

#[test]
fn a_signature_that_is_late_after_a_recovery_is_not_made() {
    let mut bench = Bench::unlocked();
    bench.card.reset_elsewhere();
    bench.card.card().step = Duration::from_secs(1);
    let end = bench.order(0).try_recv();
    assert_eq!(end, Ok(Err(SignRefusal::Busy)));
    assert_eq!(bench.card.count(0x88), 0);
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn a_pin_whose_answer_is_lost_is_sent_once_more_and_not_without_end() {
    let faults = [AccessError::Faulty("mute".to_owned()), AccessError::Removed];
    for fault in faults {
        let mut bench = Bench::with(CardSettings {
            after_removal: AfterRemoval::Unlock,
            ..CardSettings::default()
        });
        assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
        // Once: the next try unlocks, and the counter begins anew.
        bench.card.lose_verify(fault.clone());
        bench.card.reset_elsewhere();
        let _ = bench.order(0);
        bench.worker.tick(at(1000));
        assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
        let before = bench.card.tried();
        for _ in 0..20 {
            bench.card.lose_verify(fault.clone());
        }
        bench.card.reset_elsewhere();
        let _ = bench.order(0);
        for moment in 1..10 {
            bench.worker.carry_out(Order::Look, at(moment * 1000));
        }
        assert_eq!(bench.card.tried() - before, 2, "{fault:?}");
        assert_eq!(bench.state(), CardState::Locked(LockReason::Doubt));
        let detail = bench.board.read().detail.clone().unwrap();
        assert!(detail.contains("lost"), "{detail}");
        assert_eq!(bench.worker.deadline(), None);
        // A restart of pcscd is no reason for another try; a removal is.
        bench.card.stop_service();
        bench.worker.carry_out(Order::Look, at(10_000));
        bench.card.card().service = true;
        bench.worker.carry_out(Order::Look, at(10_100));
        assert_eq!(bench.card.tried() - before, 2);
        bench.card.card().instead.clear();
        bench.card.take_out();
        bench.worker.carry_out(Order::Look, at(10_200));
        bench.card.put_in();
        bench.worker.carry_out(Order::Look, at(10_300));
        assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
    }
}

#[test]
fn after_lost_answers_a_person_unlocks() {
    let mut bench = Bench::unlocked();
    for _ in 0..2 {
        bench
            .card
            .lose_verify(AccessError::Faulty("mute".to_owned()));
    }
    bench.card.reset_elsewhere();
    let _ = bench.order(0);
    bench.worker.tick(at(1000));
    bench.worker.tick(at(2000));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Doubt));
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
    bench.card.reset_elsewhere();
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
}

#[test]
fn a_card_that_hangs_is_not_shown_as_unlocked() {
    let Bench {
        card,
        board,
        worker,
    } = Bench::unlocked();
    let (orders, received) = sync_channel(1);
    let thread = std::thread::spawn(move || worker.run(&received));
    card.card().hangs = true;
    let (reply, locked) = sync_channel(1);
    orders
        .send(Order::Unlock {
            given: typed(PIN),
            until: at(15_000),
            reply,
        })
        .unwrap();
    assert!(locked.recv_timeout(Duration::from_millis(200)).is_err());
    assert_eq!(
        board.read_at(at(5_000)).state,
        CardState::Unlocked(Touch::Off)
    );
    assert_eq!(board.read_at(at(5_001)).state, CardState::NoAnswer);
    card.card().hangs = false;
    assert_eq!(locked.recv(), Ok(UnlockEnd::Already));
    orders.send(Order::Stop).unwrap();
    assert_eq!(thread.join().unwrap(), WorkerEnd::Stopped);
    assert_eq!(
        board.read_at(at(9_000)).state,
        CardState::Unlocked(Touch::Off)
    );
}

#[test]
fn a_card_that_somebody_else_has_verified_can_be_unlocked() {
    let mut bench = Bench::new();
    bench.card.card().is_verified = true;
    assert_eq!(
        bench.unlock(b"654321", TriedBy::Person),
        UnlockEnd::Rejected(2)
    );
    bench.card.card().is_verified = true;
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
}

#[test]
fn a_verified_card_that_is_not_the_kept_one_is_reset() {
    let mut bench = Bench::unlocked();
    bench.card.stop_service();
    bench.worker.carry_out(Order::Look, at(10));
    {
        let mut card = bench.card.card();
        card.service = true;
        card.serial = 2;
        card.is_verified = true;
    }
    bench.worker.carry_out(Order::Look, at(20));
    assert_eq!(bench.state(), CardState::Locked(LockReason::OtherCard));
    assert!(!bench.card.card().is_verified);
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
}

#[test]
fn a_wrong_pin_of_a_person_leaves_the_last_try() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.unlock(b"654321", TriedBy::Person),
        UnlockEnd::Rejected(2)
    );
    assert_eq!(
        bench.unlock(b"654321", TriedBy::Person),
        UnlockEnd::Rejected(1)
    );
    assert_eq!(bench.state(), CardState::TooFewTries);
    let end = bench.unlock(PIN, TriedBy::Person);
    assert!(
        matches!(end, UnlockEnd::NotTried(NotTried::TooFewTries(_))),
        "{end:?}"
    );
    assert_eq!(bench.card.card().tries, 1);
}

#[test]
fn a_doubt_about_the_kdf_while_it_recovers_makes_no_try_and_keeps_the_state_plain() {
    let mut bench = Bench::unlocked();
    bench.card.card().kdf = vec![0x6f, 0];
    bench.card.reset_elsewhere();
    assert!(bench.sign().is_err());
    assert_eq!(bench.state(), CardState::Locked(LockReason::Doubt));
    let detail = bench.board.read().detail.clone().unwrap();
    assert!(detail.contains("6F00"), "{detail}");
    assert_eq!(bench.card.tried(), 1);
    let end = bench.unlock(PIN, TriedBy::Person);
    assert!(
        matches!(end, UnlockEnd::NotTried(NotTried::Kdf(_))),
        "{end:?}"
    );
}

#[test]
fn a_card_in_use_is_waited_for() {
    let card = SimulatedReaders::new();
    card.card().in_use = true;
    let board = Arc::new(Board::new());
    let mut worker = worker(&card, CardSettings::default(), &board);
    worker.carry_out(Order::Look, at(0));
    assert_eq!(board.read().state, CardState::NoCard(NoCard::InUse));
    card.card().in_use = false;
    let due = worker.deadline().unwrap();
    worker.tick(due);
    assert_eq!(board.read().state, CardState::Locked(LockReason::Start));
}

#[test]
fn a_card_that_is_in_use_for_long_does_not_keep_the_thread_busy() {
    for is_unlocked in [false, true] {
        let mut bench = match is_unlocked {
            true => Bench::unlocked(),
            false => Bench::new(),
        };
        bench.card.stop_service();
        bench.worker.carry_out(Order::Look, at(0));
        bench.card.card().service = true;
        bench.card.card().in_use = true;
        bench.worker.carry_out(Order::Look, at(0));
        for moment in [9_999, 10_000, 10_001, 30_000] {
            bench.worker.tick(at(moment));
            assert_eq!(bench.state(), CardState::NoCard(NoCard::InUse));
            let due = bench.worker.deadline().unwrap();
            assert!(due > at(moment), "{due:?} at {moment}");
        }
    }
}

#[test]
fn only_the_card_and_the_key_that_the_file_names_are_taken() {
    let named = |text: &str| CardSettings {
        card: CardName::parse(text),
        ..CardSettings::default()
    };
    let bench = Bench::with(named("0006:00000002"));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::NotTheNamed));
    assert_eq!(bench.card.card().resets, 0);
    let bench = Bench::with(named("0006:00000001"));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
    let key = Some(AuthKey::Ed25519([1; 32]).fingerprint());
    let bench = Bench::with(CardSettings {
        key,
        ..CardSettings::default()
    });
    assert_eq!(bench.state(), CardState::NoCard(NoCard::OtherKey));
}

/// Another card in a reader beside.
fn put_beside(bench: &Bench, serial: u32) -> SimulatedReaders {
    let beside = SimulatedReaders::new();
    beside.card().serial = serial;
    bench.card.card().beside = Some(beside.clone());
    beside
}

#[test]
fn a_card_beside_does_not_stop_the_return_of_the_kept_one() {
    for is_first in [false, true] {
        let mut bench = Bench::unlocked();
        let beside = match is_first {
            false => put_beside(&bench, 2),
            true => {
                // The kept card comes back in the reader that is listed first.
                bench.card.card().serial = 2;
                put_beside(&bench, 1)
            }
        };
        bench.worker.carry_out(Order::Look, at(10));
        assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
        bench.card.stop_service();
        bench.worker.carry_out(Order::Look, at(1000));
        bench.card.card().service = true;
        bench.worker.tick(at(1200));
        assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
        let tried = (bench.card.tried(), beside.tried());
        assert_eq!(tried, if is_first { (1, 1) } else { (2, 0) });
    }
}

#[test]
fn a_card_that_is_not_wanted_is_connected_to_once() {
    let named = CardSettings {
        card: CardName::parse("0006:00000002"),
        ..CardSettings::default()
    };
    let other_key = CardSettings {
        key: Some(AuthKey::Ed25519([1; 32]).fingerprint()),
        ..CardSettings::default()
    };
    for (settings, why, has_key) in [
        (named, NoCard::NotTheNamed, true),
        (other_key, NoCard::OtherKey, true),
        (CardSettings::default(), NoCard::NoKey, false),
    ] {
        let mut bench = Bench::with(settings);
        bench.card.card().has_key = has_key;
        bench.card.take_out();
        bench.card.put_in();
        bench.worker.carry_out(Order::Look, at(1000));
        assert_eq!(bench.state(), CardState::NoCard(why));
        let connected = bench.card.card().connected;
        assert_eq!(bench.worker.deadline(), None, "{why:?}");
        // Its own connection is an event too.
        for moment in 1000..1010 {
            bench.worker.carry_out(Order::Look, at(moment));
        }
        assert_eq!(bench.card.card().connected, connected, "{why:?}");
        assert_eq!(bench.state(), CardState::NoCard(why));
        // Another card, or the same one again; also after pcscd has begun to count anew.
        bench.card.take_out();
        bench.worker.carry_out(Order::Look, at(2000));
        assert_eq!(bench.state(), CardState::NoCard(NoCard::Missing));
        bench.card.put_in();
        bench.worker.carry_out(Order::Look, at(2100));
        assert_eq!(bench.card.card().connected, connected + 1);
        let insertions = bench.card.card().insertions;
        bench.card.stop_service();
        bench.worker.carry_out(Order::Look, at(2200));
        bench.card.card().service = true;
        bench.card.card().insertions = insertions;
        bench.worker.carry_out(Order::Look, at(2300));
        assert_eq!(bench.card.card().connected, connected + 2);
    }
}

#[test]
fn a_faulty_card_is_connected_to_five_times_a_second_and_not_with_each_event() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        let fault = AccessError::Faulty("mute".to_owned());
        bench.card.fail(0xa4, fault);
    }
    bench.card.take_out();
    bench.card.put_in();
    let before = bench.card.card().connected;
    // A connection is an event itself.
    for moment in 100..110 {
        bench.worker.carry_out(Order::Look, at(moment * 10));
        assert_eq!(bench.state(), CardState::NoCard(NoCard::Faulty));
        let detail = bench.board.read().detail.clone().unwrap();
        assert!(detail.contains("mute"), "{detail}");
    }
    assert_eq!(bench.card.card().connected, before + 1);
    bench.card.card().instead.clear();
    let due = bench.worker.deadline().unwrap();
    assert!(due <= at(1290 + 200), "{due:?}");
    bench.worker.tick(due);
    assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
}

#[test]
fn a_key_that_another_program_has_made_is_found() {
    let mut bench = Bench::new();
    bench.card.card().has_key = false;
    bench.card.take_out();
    bench.card.put_in();
    bench.worker.carry_out(Order::Look, at(1000));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::NoKey));
    bench.card.card().has_key = true;
    // The end of the other program is an event.
    bench.worker.carry_out(Order::Look, at(60_000));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
}

#[test]
fn two_cards_are_several_until_one_is_taken_out() {
    let mut bench = Bench::new();
    bench.card.take_out();
    bench.worker.carry_out(Order::Look, at(10));
    bench.card.put_in();
    let beside = put_beside(&bench, 2);
    for moment in 20..30 {
        bench.worker.carry_out(Order::Look, at(moment));
        assert_eq!(bench.state(), CardState::NoCard(NoCard::Several));
        assert_eq!(bench.worker.deadline(), None);
    }
    assert_eq!(beside.card().connected, 1);
    beside.take_out();
    bench.worker.carry_out(Order::Look, at(40));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
}

#[test]
fn a_card_that_is_in_use_is_polled_beside_one_that_is_not_wanted() {
    let mut bench = Bench::with(CardSettings {
        card: CardName::parse("0006:00000002"),
        ..CardSettings::default()
    });
    let beside = put_beside(&bench, 2);
    beside.card().in_use = true;
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::InUse));
    beside.card().in_use = false;
    let due = bench.worker.deadline().unwrap();
    bench.worker.tick(due);
    assert_eq!(bench.state(), CardState::Locked(LockReason::Start));
}

#[test]
fn a_touch_that_is_needed_is_told() {
    let card = SimulatedReaders::new();
    card.card().touch = 1;
    let board = Arc::new(Board::new());
    let mut worker = worker(&card, CardSettings::default(), &board);
    worker.carry_out(Order::Look, at(0));
    let (reply, _end) = sync_channel(1);
    worker.carry_out(
        Order::Unlock {
            given: typed(PIN),
            until: at(15_000),
            reply,
        },
        at(0),
    );
    assert_eq!(board.read().state, CardState::Unlocked(Touch::Needed));
}

#[test]
fn a_request_for_another_key_or_of_too_many_bytes_is_named() {
    let mut bench = Bench::unlocked();
    let (reply, signed) = sync_channel(1);
    let order = SignOrder {
        key: AuthKey::Ed25519([1; 32]),
        input: AuthKey::Ed25519([1; 32]).sign_input(b"x", 0).unwrap(),
        until: at(5000),
        reply,
    };
    bench.worker.carry_out(Order::Sign(order), at(0));
    assert_eq!(signed.try_recv(), Ok(Err(SignRefusal::OtherKey)));
    let (reply, signed) = sync_channel(1);
    let key = AuthKey::Ed25519([7; 32]);
    let order = SignOrder {
        input: key.sign_input(&[0; 5000], 0).unwrap(),
        key,
        until: at(5000),
        reply,
    };
    bench.worker.carry_out(Order::Sign(order), at(0));
    let Err(SignRefusal::TooLong(fault)) = signed.try_recv().unwrap() else {
        panic!("it was signed");
    };
    assert_eq!(fault.length, 5000);
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn the_end_of_the_worker_resets_the_card() {
    let bench = Bench::unlocked();
    assert!(bench.card.card().is_verified);
    drop(bench.worker);
    assert!(!bench.card.card().is_verified);
}

mod exchanged;
mod faults;
mod lost_state;
mod unlock;
