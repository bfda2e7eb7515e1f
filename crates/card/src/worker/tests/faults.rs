//! Short faults of cards, readers and lists, and cards that answer in a way of their own.

use super::*;
use crate::card_data::tests::sample;

/// Attributes of a key on brainpoolP256r1.
const BRAINPOOL: [u8; 10] = [0x13, 0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7];

#[test]
fn one_fault_of_the_reader_fails_no_signature() {
    let mut bench = Bench::unlocked();
    let fault = AccessError::Faulty("not transacted".to_owned());
    bench.card.fail(0x88, fault);
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
    assert_eq!(bench.worker.deadline(), bench.worker.probe_at());
}

#[test]
fn a_request_that_breaks_the_card_each_time_is_answered_and_sent_twice() {
    let mut bench = Bench::unlocked();
    for _ in 0..9 {
        let fault = AccessError::Faulty("not transacted".to_owned());
        bench.card.fail(0x88, fault);
    }
    let Err(SignRefusal::Failed(what)) = bench.sign() else {
        panic!("it was signed");
    };
    assert!(what.contains("not transacted"), "{what}");
    assert_eq!(bench.card.count(0x88), 2);
}

#[test]
fn a_signature_that_needs_a_touch_is_not_asked_for_again() {
    let mut bench = Bench::new();
    bench.card.card().touch = 1;
    bench.card.card().insertions += 1;
    bench.worker.carry_out(Order::Look, at(0));
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
    bench
        .card
        .fail(0x88, AccessError::Faulty("not transacted".to_owned()));
    let end = bench.sign();
    assert!(matches!(end, Err(SignRefusal::Failed(_))), "{end:?}");
    assert_eq!(bench.card.count(0x88), 1);
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Needed));
}

#[test]
fn signatures_wait_for_a_faulty_card_for_a_while() {
    let mut bench = Bench::unlocked();
    let fault = || AccessError::Faulty("not transacted".to_owned());
    bench.card.fail(0x88, fault());
    bench.card.fail(0xa4, fault());
    let first = bench.order(0);
    assert_eq!(bench.state(), CardState::NoCard(NoCard::Faulty));
    assert!(bench.board.read().recovers);
    let second = bench.order(10);
    bench.worker.tick(at(200));
    for signed in [first, second] {
        assert_eq!(signed.try_recv(), Ok(Ok(vec![9; 64])));
    }
    // Not without end.
    for _ in 0..100 {
        bench.card.fail(0xa4, fault());
    }
    bench.card.fail(0x88, fault());
    let signed = bench.order(1000);
    bench.worker.tick(at(5999));
    assert!(signed.try_recv().is_err());
    bench.worker.tick(at(6000));
    assert!(matches!(signed.try_recv(), Ok(Err(_))));
    assert!(!bench.board.read().recovers);
    assert!(bench.order(6001).try_recv().unwrap().is_err());
    assert!(bench.worker.deadline().unwrap() > at(6001));
}

#[test]
fn a_list_that_fails_does_not_take_the_card_away() {
    let mut bench = Bench::unlocked();
    let resets = bench.card.card().resets;
    bench.card.card().list_fault = Some(AccessError::Removed);
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
    assert_eq!(bench.card.card().resets, resets);
    assert_eq!(bench.worker.deadline(), Some(at(210)));
    bench.worker.tick(at(210));
    assert_eq!(bench.worker.deadline(), bench.worker.probe_at());
    assert_eq!(bench.card.tried(), 1);
}

#[test]
fn a_selection_that_fails_twice_is_looked_at_again() {
    let mut bench = Bench::unlocked();
    bench
        .card
        .fail(0x88, AccessError::Faulty("mute".to_owned()));
    for _ in 0..2 {
        bench.card.answer(0xa4, true, &[0x6f, 0]);
    }
    let _ = bench.order(0);
    bench.worker.tick(at(200));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::Faulty));
    let detail = bench.board.read().detail.clone().unwrap();
    assert!(detail.contains("6F00"), "{detail}");
    bench.worker.tick(at(400));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
}

#[test]
fn a_curve_that_ssh_does_not_know_is_no_fault_and_not_polled() {
    let mut bench = Bench::new();
    bench.card.take_out();
    bench.card.put_in();
    let data = [&sample(1, 3, &BRAINPOOL)[..], &[0x90, 0]].concat();
    bench.card.answer(0xca, false, &data);
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::KeyKind));
    assert_eq!(bench.worker.deadline(), bench.worker.probe_at());
}

#[test]
fn a_card_that_is_not_the_named_one_is_not_asked_for_its_key() {
    let settings = CardSettings {
        card: CardName::parse("0006:00000002"),
        ..CardSettings::default()
    };
    let mut bench = Bench::with(settings);
    assert_eq!(bench.card.count(0x47), 0);
    bench.card.take_out();
    bench.card.put_in();
    let data = [&sample(1, 3, &BRAINPOOL)[..], &[0x90, 0]].concat();
    bench.card.answer(0xca, false, &data);
    bench.worker.carry_out(Order::Look, at(10));
    assert_eq!(bench.state(), CardState::NoCard(NoCard::NotTheNamed));
}

#[test]
fn a_touch_policy_that_cannot_be_read_is_not_taken_for_none() {
    let mut bench = Bench::unlocked();
    bench.card.card().touch = 1;
    bench.card.reset_elsewhere();
    // 6E, then D8.
    let data = [
        &sample(1, 3, &crate::card_data::tests::ED25519)[..],
        &[0x90, 0],
    ];
    bench.card.answer(0xca, false, &data.concat());
    bench.card.answer(0xca, false, &[0x6f, 0]);
    let _ = bench.order(0);
    assert_ne!(bench.state(), CardState::Unlocked(Touch::Off));
    bench.worker.tick(at(300));
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Needed));
}
