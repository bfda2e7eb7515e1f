//! A card that has lost what was selected and verified, without a word of the reader.

use super::*;

/// Statuses of cards without a selection: 6985 and 6D00 are of ISO 7816-4, the others are of applications that are selected instead.
const WITHOUT_SELECTION: [[u8; 2]; 4] = [[0x69, 0x85], [0x6d, 0], [0x6e, 0], [0x6a, 0x88]];

impl Bench {
    /// The card has lost power, and the connection is not told.
    fn lose_state(&mut self) {
        let mut card = self.card.card();
        card.is_selected = false;
        card.is_verified = false;
    }
}

#[test]
fn whatever_the_status_of_a_signature_a_lost_pin_is_seen() {
    for status in WITHOUT_SELECTION {
        let mut bench = Bench::unlocked();
        bench.lose_state();
        bench.card.answer(0x88, true, &status);
        assert_eq!(bench.sign(), Ok(vec![9; 64]), "{status:?}");
        assert_eq!((bench.card.tried(), bench.card.count(0xa4)), (2, 2));
    }
    // A card that has kept it is not recovered.
    for status in WITHOUT_SELECTION {
        let mut bench = Bench::unlocked();
        bench.card.answer(0x88, true, &status);
        let end = bench.sign();
        assert!(matches!(end, Err(SignRefusal::Failed(_))), "{end:?}");
        assert_eq!((bench.card.tried(), bench.card.count(0xa4)), (1, 1));
        assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
    }
}

#[test]
fn a_touch_that_did_not_come_is_no_lost_pin() {
    let mut bench = Bench::new();
    bench.card.card().touch = 1;
    bench.card.card().insertions += 1;
    bench.worker.carry_out(Order::Look, at(0));
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
    bench.card.answer(0x88, true, &[0x69, 0x85]);
    let Err(SignRefusal::Failed(what)) = bench.sign() else {
        panic!("it was signed");
    };
    assert!(what.contains("touch"), "{what}");
    assert_eq!(bench.card.tried(), 1);
}

#[test]
fn who_unlocks_a_card_that_has_lost_its_pin_finds_it_recovered() {
    let mut bench = Bench::unlocked();
    bench.lose_state();
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Already);
    assert!(bench.card.card().is_verified);
    // One whose PIN was changed meanwhile is not said to be unlocked.
    bench.lose_state();
    bench.card.card().pin = b"changed".to_vec();
    assert_eq!(
        bench.unlock(b"changed", TriedBy::Person),
        UnlockEnd::Unlocked
    );
    assert_eq!(bench.sign(), Ok(vec![9; 64]));
}

#[test]
fn signatures_that_waited_are_made_only_while_somebody_waits() {
    let mut bench = Bench::unlocked();
    bench.card.card().service = false;
    let waiting: Vec<Signed> = (0..40).map(|_| bench.order(1000)).collect();
    {
        let mut card = bench.card.card();
        card.service = true;
        card.now = at(1200);
    }
    bench.worker.look(at(1200));
    bench.card.card().step = Duration::from_secs(1);
    let before = bench.card.count(0x88);
    bench.worker.tick(at(1200));
    // Until 6000.
    assert_eq!(bench.card.count(0x88) - before, 5);
    let ends: Vec<_> = waiting
        .iter()
        .map(|signed| signed.try_recv().unwrap())
        .collect();
    assert!(ends[..5].iter().all(Result::is_ok), "{ends:?}");
    assert!(
        ends[5..].iter().all(|end| *end == Err(SignRefusal::Busy)),
        "{ends:?}"
    );
}

#[test]
fn a_signature_of_a_wrong_length_is_not_counted() {
    let mut bench = Bench::unlocked();
    bench.card.answer(0x88, true, &[1, 2, 0x90, 0]);
    let Err(SignRefusal::Failed(what)) = bench.sign() else {
        panic!("it was signed");
    };
    assert!(what.contains("2 bytes"), "{what}");
    assert_eq!(bench.board.read().signatures, 0);
}

#[test]
fn an_unlocked_card_that_nobody_uses_is_looked_at_now_and_then() {
    let mut bench = Bench::unlocked();
    let due = at(30_000);
    assert_eq!(bench.worker.deadline(), Some(due));
    bench.lose_state();
    bench.worker.tick(at(29_999));
    assert!(!bench.card.card().is_verified);
    assert_eq!(bench.worker.deadline(), Some(at(59_999)));
    bench.worker.tick(at(59_999));
    assert!(bench.card.card().is_verified);
    assert_eq!(bench.state(), CardState::Unlocked(Touch::Off));
    // A pcscd that has ended without a word is seen too.
    bench.card.card().service = false;
    bench.worker.tick(at(90_000));
    assert_eq!(bench.state(), CardState::NoService);
    // A locked card is not asked.
    let locked = Bench::new();
    assert_eq!(locked.worker.deadline(), None);
}
