//! A PIN from a file: for the card and the key that are named, one try, and no second one with the same PIN.

use super::*;

const WRONG: &[u8] = b"654321";

impl Bench {
    fn give(&mut self, pin: &[u8], by: TriedBy, named: NamedCard) -> UnlockEnd {
        let (reply, end) = sync_channel(1);
        let given = GivenPin {
            by,
            named,
            ..typed(pin)
        };
        let until = at(15_000);
        let order = Order::Unlock {
            given,
            until,
            reply,
        };
        self.worker.carry_out(order, at(0));
        end.try_recv().unwrap()
    }
}

#[test]
fn a_pin_from_a_file_is_sent_only_to_the_card_and_the_key_that_are_named() {
    let mut bench = Bench::new();
    let named = bench.named();
    let other = NamedCard {
        card: CardName::parse("0006:00000009"),
        key: named.key.clone(),
    };
    let no_key = NamedCard {
        key: None,
        ..named.clone()
    };
    for (wrong, is_named) in [
        (NamedCard::default(), false),
        (no_key.clone(), false),
        (other.clone(), true),
    ] {
        let end = bench.give(PIN, TriedBy::Agent, wrong);
        let UnlockEnd::WrongCard(why) = &end else {
            panic!("{end:?}");
        };
        assert_eq!(!matches!(why, WrongCard::NotNamed { .. }), is_named);
    }
    // A person may name a card too.
    let end = bench.give(PIN, TriedBy::Person, other.clone());
    assert!(matches!(end, UnlockEnd::WrongCard(_)), "{end:?}");
    assert_eq!(bench.card.tried(), 0);
    assert_eq!(bench.give(PIN, TriedBy::Agent, named), UnlockEnd::Unlocked);
    // Nothing is sent to an unlocked card; that it is another one is told all the same.
    assert_eq!(bench.give(PIN, TriedBy::Agent, no_key), UnlockEnd::Already);
    let end = bench.give(PIN, TriedBy::Agent, other);
    assert!(matches!(end, UnlockEnd::WrongCard(_)), "{end:?}");
    assert_eq!(bench.card.tried(), 1);
}

#[test]
fn card_conf_may_name_what_the_order_does_not() {
    let mut bench = Bench::with(CardSettings {
        card: CardName::parse("0006:00000001"),
        key: Some(AuthKey::Ed25519([7; 32]).fingerprint()),
        ..CardSettings::default()
    });
    let end = bench.give(PIN, TriedBy::Agent, NamedCard::default());
    assert_eq!(end, UnlockEnd::Unlocked);
}

#[test]
fn a_pin_that_the_card_has_refused_is_not_tried_again_from_a_file() {
    let mut bench = Bench::new();
    assert_eq!(bench.unlock(WRONG, TriedBy::Agent), UnlockEnd::Rejected(2));
    // The right one by a person gives all three tries back.
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
    let (reply, _done) = sync_channel(1);
    bench.worker.carry_out(Order::Lock { reply }, at(0));
    assert_eq!(bench.card.card().tries, 3);
    let tried = bench.card.tried();
    assert_eq!(
        bench.unlock(WRONG, TriedBy::Agent),
        UnlockEnd::RefusedBefore
    );
    assert_eq!(bench.card.tried(), tried);
    // Another card may have that PIN.
    bench.card.card().key = [8; 32];
    bench.card.card().pin = WRONG.to_vec();
    bench.card.card().insertions += 1;
    bench.worker.carry_out(Order::Look, at(0));
    assert_eq!(bench.unlock(WRONG, TriedBy::Agent), UnlockEnd::Unlocked);
}

#[test]
fn what_a_person_has_typed_in_vain_is_not_tried_from_a_file_and_may_be_typed_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.unlock(WRONG, TriedBy::Person), UnlockEnd::Rejected(2));
    assert_eq!(bench.unlock(PIN, TriedBy::Person), UnlockEnd::Unlocked);
    let (reply, _done) = sync_channel(1);
    bench.worker.carry_out(Order::Lock { reply }, at(0));
    assert_eq!(
        bench.unlock(WRONG, TriedBy::Agent),
        UnlockEnd::RefusedBefore
    );
    // The PIN was changed meanwhile: the card takes it, and then a file may have it too.
    bench.card.card().pin = WRONG.to_vec();
    assert_eq!(bench.unlock(WRONG, TriedBy::Person), UnlockEnd::Unlocked);
    let (reply, _done) = sync_channel(1);
    bench.worker.carry_out(Order::Lock { reply }, at(0));
    assert_eq!(bench.unlock(WRONG, TriedBy::Agent), UnlockEnd::Unlocked);
}

#[test]
fn the_kept_pin_that_the_card_refuses_is_remembered_too() {
    let mut bench = Bench::unlocked();
    bench.card.card().pin = WRONG.to_vec();
    bench.card.reset_elsewhere();
    assert!(bench.sign().is_err());
    bench.card.card().tries = 3;
    assert_eq!(bench.unlock(PIN, TriedBy::Agent), UnlockEnd::RefusedBefore);
}
