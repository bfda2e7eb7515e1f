//! Cards that are exchanged or imitated where the agent does not see it, and the time for which the PIN is kept.

use super::*;

impl Bench {
    /// pcscd is away for the time from 1000 to 1200.
    fn restart_pcscd(&mut self, back: impl FnOnce(&SimulatedReaders)) {
        self.card.stop_service();
        self.worker.carry_out(Order::Look, at(1000));
        self.card.card().service = true;
        back(&self.card);
        self.worker.tick(at(1200));
    }
}

#[test]
fn of_two_cards_with_the_kept_identity_neither_gets_the_pin() {
    let mut bench = Bench::unlocked();
    let beside = put_beside(&bench, 1);
    bench.worker.carry_out(Order::Look, at(1));
    // The card is held all the time.
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
    bench.restart_pcscd(|_| {});
    assert_eq!((bench.card.tried(), beside.tried()), (1, 0));
    assert!(bench.worker.pin.is_none());
    for moment in 1201..1210 {
        assert_eq!(bench.state(), CardState::NoCard(NoCard::Several));
        let detail = bench.board.read().detail.clone().unwrap();
        assert!(detail.contains("imitation"), "{detail}");
        bench.worker.carry_out(Order::Look, at(moment));
    }
    beside.take_out();
    bench.worker.carry_out(Order::Look, at(1300));
    assert!(matches!(bench.state(), CardState::Locked(_)));
    assert_eq!(bench.card.tried(), 1);
}

#[test]
fn while_the_reader_of_the_kept_card_cannot_be_read_its_identity_elsewhere_gets_no_pin() {
    let mut bench = Bench::unlocked();
    let beside = put_beside(&bench, 1);
    bench.restart_pcscd(|card| card.card().in_use = true);
    for moment in [1300, 1600, 12_000] {
        bench.worker.tick(at(moment));
        assert_eq!(bench.state(), CardState::NoCard(NoCard::InUse));
        let detail = bench.board.read().detail.clone().unwrap();
        assert!(detail.contains("another reader"), "{detail}");
    }
    bench.card.card().in_use = false;
    bench.worker.tick(at(12_300));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::Several));
    assert_eq!((bench.card.tried(), beside.tried()), (1, 0));
    // With an empty reader it is the card, which was put into another one.
    let mut bench = Bench::unlocked();
    let beside = put_beside(&bench, 1);
    bench.restart_pcscd(|card| card.card().present = false);
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
    assert_eq!(beside.tried(), 1);
}

#[test]
fn two_cards_of_one_identity_are_told_before_a_person_types_the_pin() {
    let mut bench = Bench::new();
    bench.card.take_out();
    bench.card.put_in();
    put_beside(&bench, 1);
    bench.worker.carry_out(Order::Look, at(1));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::Several));
    let detail = bench.board.read().detail.clone().unwrap();
    assert!(detail.contains("imitation"), "{detail}");
}

#[test]
fn no_card_beside_keeps_the_pin_beyond_the_time_for_the_return() {
    type Way = fn(&SimulatedReaders);
    let ways: [(&str, Way); 4] = [
        ("no key", |beside| beside.card().has_key = false),
        ("in use", |beside| beside.card().in_use = true),
        ("faulty", |beside| {
            for _ in 0..100 {
                beside.answer(0xa4, true, &[0x90]);
            }
        }),
        ("its AID and no key", |beside| {
            let mut beside = beside.card();
            beside.serial = 1;
            beside.has_key = false;
        }),
    ];
    for (name, way) in ways {
        let mut bench = Bench::unlocked();
        let beside = put_beside(&bench, 2);
        way(&beside);
        bench.restart_pcscd(|card| card.card().present = false);
        assert!(bench.board.read().recovers, "{name}");
        bench.worker.tick(at(11_199));
        assert!(bench.worker.pin.is_some(), "{name}");
        bench.worker.tick(at(11_200));
        assert!(bench.worker.pin.is_none(), "{name}");
        bench.card.put_in();
        bench.worker.carry_out(Order::Look, at(60_000));
        assert_eq!(bench.card.tried(), 1, "{name}");
    }
}

#[test]
fn a_card_in_use_in_the_reader_of_the_kept_one_may_be_the_same() {
    let mut bench = Bench::unlocked();
    bench.restart_pcscd(|card| card.card().in_use = true);
    for moment in [5_000, 11_200, 60_000] {
        bench.worker.tick(at(moment));
        assert_eq!(bench.state(), CardState::NoCard(NoCard::InUse));
    }
    bench.card.card().in_use = false;
    bench.worker.tick(at(61_000));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn a_card_that_was_exchanged_while_it_was_faulty_or_in_use_is_not_sent_the_pin() {
    let mut bench = Bench::unlocked();
    for _ in 0..9 {
        bench.card.answer(0xa4, true, &[0x90]);
    }
    bench.card.answer(0x88, true, &[0x90]);
    let _ = bench.order(10);
    assert_eq!(bench.state(), CardState::NoCard(NoCard::Faulty));
    bench.card.take_out();
    bench.card.put_in();
    bench.card.card().instead.clear();
    bench.worker.carry_out(Order::Look, at(300));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Removed));
    assert_eq!(bench.card.tried(), 1);

    let mut bench = Bench::unlocked();
    bench.restart_pcscd(|card| card.card().in_use = true);
    assert_eq!(bench.state(), CardState::NoCard(NoCard::InUse));
    bench.card.take_out();
    bench.card.put_in();
    bench.card.card().in_use = false;
    bench.worker.carry_out(Order::Look, at(1500));
    assert_eq!(bench.state(), CardState::Locked(LockReason::Removed));
    assert_eq!(bench.card.tried(), 1);
}

#[test]
fn the_readers_are_listed_once_more_before_the_kept_pin_is_sent() {
    let mut bench = Bench::unlocked();
    // While its key is read.
    bench.restart_pcscd(|card| card.card().exchanged_at = Some(0x47));
    assert_eq!(bench.card.tried(), 1);
    let due = bench.worker.deadline().unwrap();
    bench.worker.tick(due);
    assert_eq!(bench.state(), CardState::Locked(LockReason::Removed));
    assert_eq!(bench.card.tried(), 1);
}
