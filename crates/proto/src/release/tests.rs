use std::num::NonZeroU16;
use std::time::Duration;

use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::secret_rejection::{MAX_REJECTIONS, Rejection, RejectionReason};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn nonces() -> impl Strategy<Value = BootNonce> {
    any::<[u8; 16]>().prop_map(BootNonce::from_bytes)
}

fn names() -> impl Strategy<Value = SecretName> {
    "[a-z0-9][a-z0-9._-]{0,62}".prop_map(|name| SecretName::new(&name).unwrap())
}

fn durations() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn words() -> impl Strategy<Value = ReasonWord> {
    "[a-z-]{1,40}".prop_map(|word| ReasonWord::new(&word).unwrap())
}

fn queries() -> impl Strategy<Value = SecretQuery> {
    (names(), nonces()).prop_map(|(name, boot)| SecretQuery { name, boot })
}

fn tokens() -> impl Strategy<Value = Token> {
    any::<[u8; Token::LEN]>().prop_map(Token::from_bytes)
}

fn rejections() -> impl Strategy<Value = Rejection> {
    let reasons = prop::sample::select(RejectionReason::ALL.as_slice());
    let names = names().prop_filter("boot is no named secret", |name| !name.is_boot());
    (reasons, names).prop_map(|(reason, name)| Rejection { reason, name })
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let poke_port = any::<u16>().prop_map(NonZeroU16::new);
    let marks = nonces().prop_map(|nonce| nonce.mark());
    let earlier_boots = vec(marks, 0..=MAX_EARLIER_BOOTS);
    let program = "[ -~]{0,64}";
    let poked = option::of(tokens());
    let rejected = vec(rejections(), 0..=MAX_REJECTIONS);
    (
        nonces(),
        any::<u64>(),
        poke_port,
        earlier_boots,
        poked,
        program,
        rejected,
    )
        .prop_map(
            |(boot, resumes, poke_port, earlier_boots, poked, program, rejected)| Heartbeat {
                boot,
                resumes,
                poke_port,
                earlier_boots,
                poked,
                program,
                rejected,
            },
        )
}

fn requests() -> impl Strategy<Value = Request> {
    let kinds = prop::sample::select(GoodbyeKind::ALL.as_slice());
    prop_oneof![
        queries().prop_map(Request::Get),
        queries().prop_map(Request::Rehearse),
        heartbeats().prop_map(Request::Heartbeat),
        (nonces(), any::<u64>(), kinds).prop_map(|(boot, resumes, kind)| {
            Request::Goodbye(Goodbye {
                boot,
                resumes,
                kind,
            })
        }),
    ]
}

fn replies() -> impl Strategy<Value = Reply<'static>> {
    let accepted = (durations(), tokens(), option::of(durations()));
    let why = prop_oneof![
        Just(WaitReason::Approval),
        words().prop_map(WaitReason::Other),
    ];
    let waiting = (option::of(why), option::of(durations()), any::<u64>());
    let terms = (durations(), durations(), durations(), any::<bool>());
    let payloads = vec(any::<u8>(), 0..70_000).prop_map(|bytes| &*bytes.leak());
    let refused = (names(), option::of(words()), option::of(durations()));
    prop_oneof![
        accepted.prop_map(|(next, token, window)| Reply::Accepted(Accepted {
            next,
            token,
            window
        })),
        waiting.prop_map(|(reason, left, reference)| Reply::Waiting(Waiting {
            reason,
            left,
            reference
        })),
        terms.prop_map(|(left, timeout, interval, alarm)| Reply::Terms(Terms {
            left,
            timeout,
            interval,
            alarm
        })),
        (names(), any::<u64>(), payloads).prop_map(|(name, serial, payload)| Reply::Secret(
            SecretHead { name, serial },
            payload
        )),
        refused.prop_map(|(name, reason, retry)| Reply::Refused(Refused {
            name,
            reason,
            retry
        })),
    ]
}

fn read_request(bytes: &[u8]) -> Result<Request, MessageError> {
    let (header, body) = bytes.split_first_chunk().unwrap();
    let header = Header::of_request(*header)?;
    assert_eq!(header.body_len(), body.len());
    Request::parse(header, body)
}

fn read_reply(bytes: &[u8]) -> Result<Reply<'_>, MessageError> {
    let (header, body) = bytes.split_first_chunk().unwrap();
    let header = Header::of_reply(*header)?;
    assert_eq!(header.body_len(), body.len());
    Reply::parse(header, body)
}

proptest! {
    #[test]
    fn what_is_written_is_read(request in requests(), reply in replies()) {
        prop_assert_eq!(read_request(&request.to_bytes()), Ok(request));
        let bytes = reply.to_bytes();
        prop_assert_eq!(read_reply(&bytes), Ok(reply));
    }

    #[test]
    fn each_message_fits_its_limit(request in requests()) {
        prop_assert!(request.to_bytes().len() <= HEADER_LEN + MAX_BODY);
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind: u8, body in vec(any::<u8>(), 0..300)) {
        let length = body.len() as u32;
        let [_, high, middle, low] = length.to_be_bytes();
        let header = [kind, high, middle, low];
        if let Ok(header) = Header::of_request(header) {
            let _ = Request::parse(header, &body);
        }
        if let Ok(header) = Header::of_reply(header) {
            let _ = Reply::parse(header, &body);
        }
    }

    #[test]
    fn a_message_that_is_cut_is_refused(request in requests(), cut: prop::sample::Index) {
        let bytes = request.to_bytes();
        let body = &bytes[HEADER_LEN..];
        let header = Header::of_request(bytes[..HEADER_LEN].try_into().unwrap()).unwrap();
        // Only at the start of a repeated field is something else left that is whole.
        if let Ok(shorter) = Request::parse(header, &body[..cut.index(body.len())]) {
            prop_assert_ne!(shorter, request);
        }
    }
}

/// As `docs/protocol.md` shows them.
#[test]
fn the_bytes_are_those_of_the_document() {
    let boot = BootNonce::from_bytes(*b"0123456789abcdef");
    let get = Request::Get(SecretQuery {
        name: SecretName::boot(),
        boot,
    });
    assert_eq!(
        get.to_bytes(),
        b"\x01\x00\x00\x1c\x01\x00\x00\x04boot\x02\x00\x00\x100123456789abcdef"
    );
    let goodbye = Request::Goodbye(Goodbye {
        boot,
        resumes: 1,
        kind: GoodbyeKind::Reboot,
    });
    assert_eq!(
        goodbye.to_bytes(),
        b"\x04\x00\x00\x2a\x02\x00\x00\x100123456789abcdef\
          \x03\x00\x00\x08\0\0\0\0\0\0\0\x01\x07\x00\x00\x06reboot"
    );
    let heartbeat = Request::Heartbeat(Heartbeat {
        boot,
        resumes: 1,
        poke_port: None,
        earlier_boots: Vec::new(),
        poked: None,
        program: "x".to_owned(),
        rejected: vec!["forged db".parse().unwrap(), "expired pin".parse().unwrap()],
    });
    assert_eq!(
        heartbeat.to_bytes(),
        b"\x03\x00\x00\x41\x02\x00\x00\x100123456789abcdef\
          \x03\x00\x00\x08\0\0\0\0\0\0\0\x01\x06\x00\x00\x01x\
          \x13\x00\x00\x09forged db\x13\x00\x00\x0bexpired pin"
    );
    let secret = Reply::Secret(
        SecretHead {
            name: SecretName::boot(),
            serial: 0,
        },
        b"payload",
    );
    assert_eq!(
        secret.to_bytes(),
        b"\x84\x00\x00\x1f\x01\x00\x00\x04boot\x0e\x00\x00\x08\0\0\0\0\0\0\0\0\x7f\x00\x00\x07payload"
    );
    let refused = Reply::Refused(Refused {
        name: SecretName::boot(),
        reason: None,
        retry: None,
    });
    assert_eq!(refused.to_bytes(), b"\x85\x00\x00\x08\x01\x00\x00\x04boot");
}

/// The message of type `kind` with these fields.
fn message(kind: u8, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, value) in fields {
        body.push(*tag);
        body.extend_from_slice(&(value.len() as u32).to_be_bytes()[1..]);
        body.extend_from_slice(value);
    }
    let mut message = (body.len() as u32).to_be_bytes().to_vec();
    message[0] = kind;
    message.extend(body);
    message
}

const BOOT: (u8, &[u8]) = (2, &[7; 16]);
const NAME: (u8, &[u8]) = (1, b"boot");

#[test]
fn fields_of_later_versions_are_ignored_or_refused_by_their_tag() {
    let known = read_request(&message(1, &[NAME, BOOT])).unwrap();
    let later = message(1, &[NAME, BOOT, (99, b"later"), (99, b"again"), (126, b"")]);
    assert_eq!(read_request(&later), Ok(known));
    let needed = message(1, &[NAME, BOOT, (128, b"")]);
    assert_eq!(read_request(&needed), Err(MessageError::UnknownField(128)));
}

#[test]
fn each_fault_has_its_error() {
    use MessageError as E;
    let earlier: &[u8] = &[7; 16];
    let many = [(5, earlier); MAX_EARLIER_BOOTS + 1];
    let rejected: &[u8] = b"forged db";
    let refused = [(19, rejected); MAX_REJECTIONS + 1];
    let pokes_nowhere: [(u8, &[u8]); 4] = [BOOT, (3, &[0; 8]), (4, &[0; 2]), (6, b"1")];
    let escape: [(u8, &[u8]); 3] = [BOOT, (3, &[0; 8]), (6, b"\x1b[1m")];
    for (kind, fields, error) in [
        (1, &[][..], E::Missing(Tag::Name)),
        (1, &[NAME], E::Missing(Tag::Boot)),
        (1, &[BOOT, NAME], E::Order(1)),
        (1, &[NAME, BOOT, BOOT], E::Order(2)),
        (1, &[NAME, NAME, BOOT], E::Order(1)),
        (1, &[NAME, (2, b"short")], E::Value(Tag::Boot)),
        (1, &[(1, b"\xff"), BOOT], E::Value(Tag::Name)),
        (
            3,
            &many,
            E::TooMany {
                tag: Tag::EarlierBoot,
                limit: 8,
            },
        ),
        (3, &[BOOT, (3, &[0; 8])], E::Missing(Tag::Program)),
        (3, &pokes_nowhere, E::Value(Tag::PokePort)),
        (3, &escape, E::Value(Tag::Program)),
        (
            3,
            &refused,
            E::TooMany {
                tag: Tag::Rejected,
                limit: 8,
            },
        ),
        (3, &[BOOT, (19, b"forged")], E::Value(Tag::Rejected)),
        (3, &[BOOT, (19, b"forged boot")], E::Value(Tag::Rejected)),
        (3, &[BOOT, (19, b"forged \xff")], E::Value(Tag::Rejected)),
        (4, &[BOOT, (7, b"suspend")], E::Value(Tag::Kind)),
        (5, &[], E::UnknownType(5)),
        (0x84, &[], E::UnknownType(0x84)),
    ] {
        assert_eq!(read_request(&message(kind, fields)), Err(error));
    }
    let upper = read_request(&message(1, &[(1, b"Boot"), BOOT]));
    assert!(matches!(upper, Err(E::Name(_))), "{upper:?}");
    for (fields, error) in [
        (&[NAME, NAME][..], E::Order(1)),
        (&[NAME, (11, b"\x1b[1m")], E::Value(Tag::Reason)),
    ] {
        assert_eq!(read_reply(&message(0x85, fields)), Err(error));
    }
}

#[test]
fn the_header_bounds_what_is_read() {
    let long = |kind, limit| MessageError::TooLong {
        kind,
        length: limit + 1,
        limit,
    };
    assert_eq!(
        Header::of_request([1, 0, 0x10, 0]).unwrap().body_len(),
        4096
    );
    assert_eq!(Header::of_request([1, 0, 0x10, 1]), Err(long(1, MAX_BODY)));
    assert_eq!(
        Header::of_reply([0x81, 0, 0x10, 1]),
        Err(long(0x81, MAX_BODY))
    );
    assert_eq!(
        Header::of_reply([0x84, 0xf0, 0x10, 0]).unwrap().body_len(),
        MAX_SECRET_BODY
    );
    assert_eq!(
        Header::of_reply([0x84, 0xf0, 0x10, 1]),
        Err(long(0x84, MAX_SECRET_BODY))
    );
    assert_eq!(
        Header::of_reply([1, 0, 0, 0]),
        Err(MessageError::UnknownType(1))
    );
}

#[test]
fn a_poke_is_a_token_and_nothing_else() {
    let poke = Poke(Token::from_bytes(*b"0123456789abcdef"));
    let datagram = poke.to_bytes();
    assert_eq!(&datagram, b"NLP10123456789abcdef");
    assert_eq!(Poke::parse(&datagram), Some(poke));
    for other in [
        &datagram[..19],
        b"NLP20123456789abcdef",
        b"NLP10123456789abcdef0",
        b"",
    ] {
        assert_eq!(Poke::parse(other), None);
    }
    assert_eq!(format!("{poke:?}"), "Poke(Token(..))");
}

#[test]
fn a_machine_asks_again_where_nobody_has_decided_on_its_request() {
    let asks_again = |word: &str| ReasonWord::new(word).unwrap().asks_again();
    for word in [
        "secret-changed",
        "guard-changed",
        "machine-is-suspect",
        "too-many-wait",
    ] {
        assert!(asks_again(word), "{word}");
    }
    for word in ["denied", "disabled", "no-such-secret", "a-later-word"] {
        assert!(!asks_again(word), "{word}");
    }
}
