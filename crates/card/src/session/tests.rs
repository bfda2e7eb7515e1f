use super::*;
use crate::card_data::tests::{ED25519, sample};
use crate::card_lock::TooFewTries;
use crate::key::AuthKey;
use crate::simulated::{PIN, SimulatedReaders};
use crate::transport::Readers as _;

fn opened(readers: &SimulatedReaders) -> (Box<dyn Connection>, OpenCard) {
    let mut card = readers.clone().connect("reader").unwrap();
    let open = open(&mut *card).unwrap();
    (card, open)
}

fn tried(readers: &SimulatedReaders, pin: &[u8], by: TriedBy) -> VerifyEnd {
    let (mut card, open) = opened(readers);
    verify(&mut *card, &open, &Secret::new(pin.to_vec()), by)
}

#[test]
fn a_card_is_selected_once_read_verified_and_signs() {
    let readers = SimulatedReaders::new();
    let (mut card, open) = opened(&readers);
    assert_eq!(open.key, AuthKey::Ed25519([7; 32]));
    let limits = open.data.limits;
    assert_eq!(pin_state(&mut *card, &limits), Ok(PinState::Left(3)));
    let input = open.key.sign_input(b"data", 0).unwrap();
    let signed = authenticate(&mut *card, &limits, &input);
    assert_eq!(signed, Err(AuthenticateFault::NotVerified));
    let pin = Secret::new(PIN.to_vec());
    let end = verify(&mut *card, &open, &pin, TriedBy::Agent);
    assert_eq!(end, VerifyEnd::Verified);
    let signed = authenticate(&mut *card, &limits, &input).unwrap();
    assert_eq!(signed, [9; 64]);
    assert_eq!(readers.count(SELECT), 1);
    drop(card);
    assert!(!readers.card().is_verified);
}

#[test]
fn a_wrong_pin_costs_one_try_and_the_last_try_is_never_made() {
    let readers = SimulatedReaders::new();
    let wrong = || tried(&readers, b"654321", TriedBy::Person);
    assert_eq!(wrong(), VerifyEnd::Rejected(2));
    let by_agent = tried(&readers, PIN, TriedBy::Agent);
    let few =
        |left, needed| VerifyEnd::NotTried(NotTried::TooFewTries(TooFewTries { left, needed }));
    assert_eq!(by_agent, few(2, 3));
    assert_eq!(wrong(), VerifyEnd::Rejected(1));
    assert_eq!(tried(&readers, PIN, TriedBy::Person), few(1, 2));
    assert_eq!(readers.tried(), 2);
}

#[test]
fn any_error_in_reading_the_kdf_object_but_not_found_means_no_try() {
    for answer in [
        &[0x69, 0x82][..],
        &[0x6f, 0x00],
        &[0x6b, 0x00],
        &[0x67, 0x00],
        &[0x81, 1, 3, 0x90, 0],
        &[0x00, 0x90, 0],
    ] {
        let readers = SimulatedReaders::new();
        readers.card().kdf = answer.to_vec();
        let end = tried(&readers, PIN, TriedBy::Person);
        assert!(
            matches!(end, VerifyEnd::NotTried(NotTried::Kdf(_))),
            "{answer:?}: {end:?}"
        );
        assert_eq!(readers.tried(), 0);
    }
    let readers = SimulatedReaders::new();
    let (mut card, open) = opened(&readers);
    readers.fail(GET_DATA, AccessError::Faulty("mute".to_owned()));
    let end = verify(
        &mut *card,
        &open,
        &Secret::new(PIN.to_vec()),
        TriedBy::Person,
    );
    assert!(matches!(end, VerifyEnd::Broken(_)), "{end:?}");
    assert_eq!(readers.tried(), 0);
}

#[test]
fn with_a_kdf_the_hash_is_sent_and_never_the_pin() {
    let object = [
        0x81, 1, 3, 0x82, 1, 8, 0x83, 4, 0, 0, 1, 0, 0x84, 8, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    let kdf = Kdf::from_answer(&object, StatusWord::OK, true).unwrap();
    let hash = kdf.derive(&Secret::new(PIN.to_vec())).unwrap();
    let readers = SimulatedReaders::new();
    readers.card().kdf = [&object[..], &[0x90, 0]].concat();
    readers.card().pin = hash.expose().to_vec();
    assert_eq!(tried(&readers, PIN, TriedBy::Agent), VerifyEnd::Verified);
    let sent: Vec<usize> = readers
        .card()
        .log
        .iter()
        .filter(|it| it.0 == VERIFY)
        .map(|it| it.1)
        .collect();
    assert_eq!(sent, [0, 32]);
}

#[test]
fn a_pin_that_cannot_be_right_is_not_tried() {
    let readers = SimulatedReaders::new();
    for pin in [&b""[..], b"12345", &[b'1'; 128]] {
        let end = tried(&readers, pin, TriedBy::Person);
        assert!(
            matches!(end, VerifyEnd::NotTried(NotTried::Length { .. })),
            "{end:?}"
        );
    }
    assert_eq!(readers.tried(), 0);
}

#[test]
fn a_pin_with_what_only_a_file_or_a_stray_key_adds_is_not_tried() {
    let readers = SimulatedReaders::new();
    for pin in [&b"123456\r"[..], b"123456 ", b"12345\x1b[A6", b"123456\xff"] {
        for by in [TriedBy::Person, TriedBy::Agent] {
            let end = tried(&readers, pin, by);
            let is_text = matches!(end, VerifyEnd::NotTried(NotTried::Text(_)));
            assert!(is_text, "{end:?}");
        }
    }
    assert_eq!(readers.tried(), 0);
}

#[test]
fn a_card_that_wants_another_format_of_pins_is_sent_none() {
    let readers = SimulatedReaders::new();
    readers.card().longest = 0x88;
    let end = tried(&readers, PIN, TriedBy::Person);
    assert!(matches!(end, VerifyEnd::NotTried(_)), "{end:?}");
    assert_eq!(readers.tried(), 0);
}

#[test]
fn an_old_counter_is_never_believed() {
    let answer_c4 = |answer: &[u8]| {
        let readers = SimulatedReaders::new();
        let (mut card, open) = opened(&readers);
        readers.card().tries = 1;
        readers.answer(VERIFY, false, &[0x63, 0xc3]);
        // The first GET DATA is for the KDF object.
        readers.answer(GET_DATA, false, &[0x6a, 0x88]);
        readers.answer(GET_DATA, false, answer);
        let pin = Secret::new(PIN.to_vec());
        let end = verify(&mut *card, &open, &pin, TriedBy::Person);
        assert_eq!(readers.tried(), 0, "{answer:?}");
        end
    };
    let few = TooFewTries { left: 1, needed: 2 };
    // Not there by itself: it is read anew in the application related data.
    assert_eq!(
        answer_c4(&[0x6a, 0x88]),
        VerifyEnd::NotTried(NotTried::TooFewTries(few))
    );
    for status in [[0x6f, 0], [0x69, 0x82], [0x6d, 0], [0x62, 0x81]] {
        let end = answer_c4(&status);
        assert!(matches!(end, VerifyEnd::NotTried(_)), "{end:?}");
    }
}

#[test]
fn an_unexpected_status_is_never_a_wrong_pin() {
    for status in [
        [0x6f, 0],
        [0x67, 0],
        [0x6a, 0x80],
        [0x69, 0x85],
        [0x64, 0],
        [0x69, 0x82],
    ] {
        let readers = SimulatedReaders::new();
        readers.answer(VERIFY, true, &status);
        let end = tried(&readers, PIN, TriedBy::Person);
        assert_eq!(
            end,
            VerifyEnd::Unexpected(StatusWord(u16::from_be_bytes(status)))
        );
    }
}

#[test]
fn another_status_is_a_wrong_pin_once_the_counter_has_fallen() {
    let readers = SimulatedReaders::new();
    let (mut card, open) = opened(&readers);
    readers.answer(VERIFY, true, &[0x69, 0x82]);
    // Asked before the try and after it.
    readers.answer(VERIFY, false, &[0x63, 0xc3]);
    readers.answer(VERIFY, false, &[0x63, 0xc2]);
    let end = verify(
        &mut *card,
        &open,
        &Secret::new(PIN.to_vec()),
        TriedBy::Person,
    );
    assert_eq!(end, VerifyEnd::Rejected(2));
}

#[test]
fn the_smaller_of_two_counters_counts_and_an_unknown_one_is_a_doubt() {
    let readers = SimulatedReaders::new();
    readers.answer(VERIFY, false, &[0x63, 0xc3]);
    readers.card().tries = 1;
    let end = tried(&readers, PIN, TriedBy::Person);
    assert!(
        matches!(end, VerifyEnd::NotTried(NotTried::TooFewTries(_))),
        "{end:?}"
    );
    for status in [[0x69, 0x82], [0x6d, 0], [0x63, 0]] {
        let readers = SimulatedReaders::new();
        readers.answer(VERIFY, false, &status);
        let end = tried(&readers, PIN, TriedBy::Person);
        assert!(
            matches!(end, VerifyEnd::NotTried(NotTried::Tries(_))),
            "{end:?}"
        );
        assert_eq!(readers.tried(), 0);
    }
}

#[test]
fn a_pin_that_would_not_be_tested_is_not_believed() {
    let readers = SimulatedReaders::new();
    let (mut card, open) = opened(&readers);
    readers.card().is_verified = true;
    let end = verify(
        &mut *card,
        &open,
        &Secret::new(b"654321".to_vec()),
        TriedBy::Person,
    );
    assert_eq!(end, VerifyEnd::NotTried(NotTried::Verified));
}

#[test]
fn a_long_answer_is_fetched_to_its_end_and_an_endless_one_is_not() {
    let readers = SimulatedReaders::new();
    let (mut card, open) = opened(&readers);
    readers.card().is_verified = true;
    readers.answer(INTERNAL_AUTHENTICATE, true, &[1, 2, 0x61, 2]);
    readers.answer(GET_RESPONSE, false, &[3, 4, 0x90, 0]);
    let input = open.key.sign_input(b"data", 0).unwrap();
    let limits = open.data.limits;
    assert_eq!(
        authenticate(&mut *card, &limits, &input),
        Ok(vec![1, 2, 3, 4])
    );
    readers.answer(INTERNAL_AUTHENTICATE, true, &[1, 0x61, 0]);
    readers.answer(GET_RESPONSE, false, &[0x61, 0]);
    let endless = authenticate(&mut *card, &limits, &input);
    assert_eq!(
        endless,
        Err(AuthenticateFault::Transmit(TransmitFault::Malformed))
    );
}

#[test]
fn a_touch_that_did_not_come_is_named() {
    let readers = SimulatedReaders::new();
    readers.card().touch = 1;
    let (mut card, open) = opened(&readers);
    assert_eq!(open.data.touch, Touch::Needed);
    readers.answer(INTERNAL_AUTHENTICATE, true, &[0x69, 0x85]);
    let input = open.key.sign_input(b"data", 0).unwrap();
    let signed = authenticate(&mut *card, &open.data.limits, &input);
    assert_eq!(signed, Err(AuthenticateFault::NotTouched));
}

#[test]
fn only_not_found_means_that_there_is_no_touch_policy() {
    let data = [&sample(1, 3, &ED25519)[..], &[0x90, 0]].concat();
    let opened = |status: u16| {
        let readers = SimulatedReaders::new();
        readers.answer(GET_DATA, false, &data);
        readers.answer(GET_DATA, false, &status.to_be_bytes());
        let mut card = readers.clone().connect("reader").unwrap();
        open(&mut *card).map(|open| open.data.touch)
    };
    for status in [0x6a88, 0x6a82, 0x6b00, 0x6d00] {
        assert_eq!(opened(status), Ok(Touch::Off), "{status:x}");
    }
    for status in [0x6f00, 0x6985, 0x6982, 0x6283, 0x6700] {
        assert!(matches!(opened(status), Err(OpenFault::Status { .. })));
    }
}

#[test]
fn what_is_no_openpgp_card_is_told_apart_from_one_that_fails() {
    let readers = SimulatedReaders::new();
    readers.answer(SELECT, true, &[0x6a, 0x82]);
    let mut card = readers.clone().connect("reader").unwrap();
    assert_eq!(
        open(&mut *card),
        Err(OpenFault::NotOpenPgp(StatusWord(0x6a82)))
    );
    for status in [0x6a81, 0x6d00, 0x6e00].map(StatusWord) {
        readers.answer(SELECT, true, &status.0.to_be_bytes());
        assert_eq!(open(&mut *card), Err(OpenFault::NotOpenPgp(status)));
    }
    for status in [0x6f00, 0x6985, 0x6982, 0x6a84, 0x6283].map(StatusWord) {
        readers.answer(SELECT, true, &status.0.to_be_bytes());
        assert_eq!(open(&mut *card), Err(OpenFault::Select(status)));
    }
    readers.answer(GENERATE, false, &[0x6a, 0x88]);
    assert_eq!(open(&mut *card), Err(OpenFault::NoKey));
    readers.answer(GET_DATA, false, &[0x90]);
    assert_eq!(open(&mut *card), Err(OpenFault::Malformed));
}
