use proptest::prelude::*;

use super::*;
use crate::card_data::CardData;
use crate::card_data::tests::{ED25519, sample};

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_secs(seconds))
}

fn card(serial: u8, key: u8, tries: u8) -> PresentCard {
    let data = CardData::parse(&sample(u32::from(serial), tries, &ED25519)).unwrap();
    PresentCard {
        identity: CardIdentity {
            aid: data.aid,
            key: AuthKey::Ed25519([key; 32]),
        },
        touch: Touch::Off,
        tries,
    }
}

fn unlocked() -> CardLock {
    let mut lock = CardLock::new(AfterRemoval::Person);
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Leave);
    assert_eq!(lock.state(), CardState::Locked(LockReason::Start));
    assert_eq!(lock.tried(TryEnd::Verified), PinOrder::Leave);
    assert_eq!(lock.state(), CardState::Unlocked(Touch::Off));
    lock
}

#[test]
fn after_a_restart_of_pcscd_the_same_card_is_unlocked_again() {
    let mut lock = unlocked();
    lock.service_lost();
    assert_eq!(lock.state(), CardState::NoService);
    assert!(lock.recovers());
    // Readers are found late.
    assert_eq!(
        lock.absent(NoCard::Missing, Whereabouts::Gone, at(100)),
        PinOrder::Leave
    );
    assert_eq!(
        lock.absent(NoCard::Missing, Whereabouts::Gone, at(109)),
        PinOrder::Leave
    );
    assert!(lock.recovers());
    assert_eq!(lock.deadline(), Some(at(110)));
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Verify);
    assert!(!lock.recovers());
}

#[test]
fn a_card_that_does_not_come_back_counts_as_taken_out() {
    let mut lock = unlocked();
    lock.service_lost();
    assert_eq!(
        lock.absent(NoCard::Missing, Whereabouts::Gone, at(100)),
        PinOrder::Leave
    );
    assert_eq!(
        lock.absent(NoCard::Missing, Whereabouts::Gone, at(110)),
        PinOrder::Forget
    );
    assert!(!lock.recovers());
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Leave);
    assert_eq!(lock.state(), CardState::Locked(LockReason::Removed));
}

#[test]
fn a_card_that_was_taken_out_needs_a_person_unless_the_file_says_otherwise() {
    let mut lock = unlocked();
    assert_eq!(
        lock.absent(NoCard::Missing, Whereabouts::Gone, at(100)),
        PinOrder::Forget
    );
    let mut lock = unlocked();
    assert_eq!(lock.removed(at(100)), PinOrder::Forget);
    let mut lock = unlocked();
    lock.after_removal = AfterRemoval::Unlock;
    assert_eq!(lock.removed(at(100)), PinOrder::Leave);
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Verify);
}

#[test]
fn signatures_wait_for_a_return_and_not_for_a_person_with_a_card() {
    let mut lock = unlocked();
    lock.after_removal = AfterRemoval::Unlock;
    assert_eq!(lock.removed(at(100)), PinOrder::Leave);
    assert!(!lock.recovers() && lock.kept_for.is_some());
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Verify);
    assert_eq!(lock.tried(TryEnd::Verified), PinOrder::Leave);
    lock.service_lost();
    assert_eq!(
        lock.absent(NoCard::Missing, Whereabouts::Gone, at(200)),
        PinOrder::Leave
    );
    assert!(lock.recovers());
    assert_eq!(
        lock.absent(NoCard::InUse, Whereabouts::InPlace, at(210)),
        PinOrder::Leave
    );
    assert!(!lock.recovers() && lock.kept_for.is_some());
}

#[test]
fn a_card_that_another_program_has_was_not_taken_out() {
    let mut lock = unlocked();
    lock.service_lost();
    for seconds in [100, 1000] {
        assert_eq!(
            lock.absent(NoCard::InUse, Whereabouts::InPlace, at(seconds)),
            PinOrder::Leave
        );
    }
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Verify);
}

#[test]
fn what_readers_do_not_tell_keeps_the_pin_only_while_the_card_may_return() {
    let mut lock = unlocked();
    for seconds in [10, 100] {
        let order = lock.absent(NoCard::NoKey, Whereabouts::Unknown, at(seconds));
        assert_eq!(order, PinOrder::Leave);
    }
    lock.service_lost();
    for (seconds, end) in [(200, PinOrder::Leave), (210, PinOrder::Forget)] {
        let order = lock.absent(NoCard::NoKey, Whereabouts::Unknown, at(seconds));
        assert_eq!(order, end);
    }
}

#[test]
fn signatures_wait_for_an_unlocked_card_that_does_not_work_and_not_for_ever() {
    let mut lock = unlocked();
    for (seconds, waits) in [(100, true), (104, true), (105, false), (106, false)] {
        let order = lock.absent(NoCard::Faulty, Whereabouts::InPlace, at(seconds));
        assert_eq!((order, lock.recovers()), (PinOrder::Leave, waits));
    }
    assert_eq!(lock.deadline(), None);
}

#[test]
fn of_two_cards_with_the_same_identity_none_is_sent_the_pin() {
    let mut lock = unlocked();
    lock.service_lost();
    assert_eq!(lock.imitated(), PinOrder::Forget);
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Leave);
}

#[test]
fn another_card_is_never_sent_the_pin() {
    for other in [card(2, 1, 3), card(1, 2, 3)] {
        let mut lock = unlocked();
        lock.service_lost();
        assert_eq!(lock.present(other, false), PinOrder::Forget);
        assert_eq!(lock.state(), CardState::Locked(LockReason::OtherCard));
        // Not when the first one is back either.
        assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Leave);
    }
}

#[test]
fn the_agent_needs_three_tries_and_a_person_two() {
    for (left, agent, person) in [
        (0, false, false),
        (1, false, false),
        (2, false, true),
        (3, true, true),
    ] {
        assert_eq!(may_try(TriedBy::Agent, left).is_ok(), agent);
        assert_eq!(may_try(TriedBy::Person, left).is_ok(), person);
    }
    let mut lock = unlocked();
    assert_eq!(lock.present(card(1, 1, 2), false), PinOrder::Forget);
    assert_eq!(lock.state(), CardState::Locked(LockReason::Tries));
    assert_eq!(lock.tried(TryEnd::Rejected(1)), PinOrder::Forget);
    assert_eq!(lock.state(), CardState::TooFewTries);
}

#[test]
fn a_doubt_costs_no_pin_and_is_not_followed_by_another_try() {
    let mut lock = unlocked();
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Verify);
    assert_eq!(lock.tried(TryEnd::Doubt), PinOrder::Leave);
    assert_eq!(lock.state(), CardState::Locked(LockReason::Doubt));
    assert!(!lock.recovers());
    assert_eq!(lock.deadline(), None);
    // Until the card comes back.
    assert_eq!(lock.present(card(1, 1, 3), false), PinOrder::Verify);
}

#[test]
fn a_touch_is_a_part_of_the_state() {
    let mut lock = CardLock::new(AfterRemoval::Person);
    let touched = PresentCard {
        touch: Touch::Needed,
        ..card(1, 1, 3)
    };
    let _ = lock.present(touched, false);
    let _ = lock.tried(TryEnd::Verified);
    assert_eq!(lock.state(), CardState::Unlocked(Touch::Needed));
}

#[derive(Clone, Debug)]
enum Event {
    ServiceLost,
    Absent(NoCard, Whereabouts),
    Removed,
    Present {
        serial: u8,
        key: u8,
        tries: u8,
        verified: bool,
    },
    Tried(TryEnd),
    Lock,
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let absence = prop::sample::select(vec![
        NoCard::Missing,
        NoCard::InUse,
        NoCard::Faulty,
        NoCard::NoKey,
        NoCard::KeyKind,
        NoCard::NotTheNamed,
    ]);
    let place = prop::sample::select(vec![
        Whereabouts::Gone,
        Whereabouts::Unknown,
        Whereabouts::InPlace,
    ]);
    let end = prop_oneof![
        3 => Just(TryEnd::Verified),
        1 => (0u8..3).prop_map(TryEnd::Rejected),
        1 => Just(TryEnd::Doubt),
        1 => Just(TryEnd::Lost),
    ];
    let present =
        (1u8..3, 1u8..3, 0u8..4, any::<bool>()).prop_map(|(serial, key, tries, verified)| {
            Event::Present {
                serial,
                key,
                tries,
                verified,
            }
        });
    let event = prop_oneof![
        2 => Just(Event::ServiceLost),
        4 => (absence, place).prop_map(|(why, place)| Event::Absent(why, place)),
        1 => Just(Event::Removed),
        3 => present,
        3 => end.prop_map(Event::Tried),
        1 => Just(Event::Lock),
        3 => (0u64..20).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 0..40)
}

proptest! {
    /// Whatever happens: the kept PIN is sent only to the card for which it was verified, with three tries left; and nothing is
    /// unlocked without a PIN that is kept.
    #[test]
    fn the_pin_goes_to_its_card_only(events in events(), after in prop::sample::select(vec![AfterRemoval::Person, AfterRemoval::Unlock])) {
        let mut lock = CardLock::new(after);
        // A model of its own: the card for which the worker has a PIN.
        let mut kept: Option<CardIdentity> = None;
        let mut now = 100;
        let mut lost = 0;
        for event in events {
            let order = match event.clone() {
                Event::ServiceLost => {
                    lock.service_lost();
                    PinOrder::Leave
                }
                Event::Absent(why, place) => lock.absent(why, place, at(now)),
                Event::Removed => lock.removed(at(now)),
                Event::Present { serial, key, tries, verified } => {
                    let card = card(serial, key, tries);
                    let order = lock.present(card.clone(), verified);
                    if order == PinOrder::Verify {
                        prop_assert_eq!(kept.as_ref(), Some(&card.identity));
                        prop_assert!(tries >= 3);
                        prop_assert!(lost < 2);
                    }
                    order
                }
                Event::Tried(end) => {
                    match end {
                        TryEnd::Lost if lock.card().map(|card| &card.identity) == kept.as_ref() => lost += 1,
                        TryEnd::Lost => {}
                        _ => {}
                    }
                    if end == TryEnd::Verified {
                        kept = lock.card().map(|card| card.identity.clone()).or(kept);
                    }
                    lock.tried(end)
                }
                Event::Lock => lock.lock(),
                Event::Wait(seconds) => {
                    now += seconds;
                    PinOrder::Leave
                }
            };
            if order == PinOrder::Forget {
                kept = None;
            }
            match event {
                Event::Removed => lost = 0,
                Event::Absent(_, Whereabouts::Gone) => lost = 0,
                _ if kept.is_none() || matches!(lock.state(), CardState::Unlocked(_)) => lost = 0,
                _ => {}
            }
            prop_assert_eq!(lock.kept_for.as_ref(), kept.as_ref());
            if let Event::Absent(..) | Event::Removed = event {
                // Otherwise the worker is woken up without end.
                prop_assert!(lock.deadline().is_none_or(|until| until > at(now)));
            }
            if let CardState::Unlocked(_) = lock.state() {
                prop_assert_eq!(lock.card().map(|card| &card.identity), kept.as_ref());
            }
            if after == AfterRemoval::Person && matches!(event, Event::Removed) {
                prop_assert!(kept.is_none());
            }
        }
    }
}
