//! A machine before a server that speaks the release protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use nightlatch_core::secret_name::SecretName;

use super::*;
use crate::release::{
    Accepted, HEADER_LEN, Header, MessageError, ReasonWord, Refused, Reply, Request, SecretHead,
    Terms, Token, WaitReason, Waiting,
};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The server's part after the handshake.
type Part = fn(Stream);

/// True for the error that a machine is to meet.
type Expected = fn(&FetchError) -> bool;

/// The server's part after the handshake: reads the request, then sends `replies`.
fn answer(stream: &mut Stream, replies: &[Reply<'_>]) -> Request {
    assert!(speaks_release(&stream.conn));
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).unwrap();
    let header = Header::of_request(header).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).unwrap();
    for reply in replies {
        // A machine that takes nothing more may be gone.
        let _ = stream.write_all(&reply.to_bytes());
    }
    Request::parse(header, &body).unwrap()
}

const TERMS: Terms = Terms {
    left: Duration::from_secs(1),
    timeout: Duration::from_secs(2),
    interval: Duration::from_secs(3),
    alarm: true,
};

fn secret(name: &str) -> Reply<'static> {
    let name = SecretName::new(name).unwrap();
    Reply::Secret(SecretHead { name, serial: 0 }, b"payload")
}

fn waits() -> Reply<'static> {
    Reply::Waiting(Waiting {
        reason: Some(WaitReason::Approval),
        left: None,
        reference: 4,
    })
}

fn accepted() -> Reply<'static> {
    Reply::Accepted(Accepted {
        next: Duration::ZERO,
        token: Token::from_bytes([7; Token::LEN]),
        window: None,
    })
}

fn refused(reason: Option<&str>) -> Reply<'static> {
    Reply::Refused(Refused {
        name: SecretName::boot(),
        reason: reason.and_then(ReasonWord::new),
        retry: None,
    })
}

/// The result of a machine at a server that has this part after the handshake.
fn fetch(rehearsal: bool, part: fn(Stream)) -> Result<FetchedSecret, FetchError> {
    let own = key();
    let id = own.key_id();
    let tls = ServerTls::new(Some(&own), &Priority::default()).unwrap();
    let boot = boot(key(), vec![id]);
    let boot = if rehearsal { boot.rehearsing() } else { boot };
    let connection = tls.offering_release().connection().unwrap();
    let (fetched, _) = serve_by(connection, &boot, part);
    if let Ok(fetched) = &fetched {
        assert_eq!(fetched.server_key, Some(id));
    }
    fetched
}

#[test]
fn a_server_proves_its_key_and_reads_the_request() {
    let fetched = fetch(false, |mut stream| {
        let request = answer(&mut stream, &[waits(), waits(), secret("boot")]);
        let Request::Get(query) = request else {
            panic!("{request:?}");
        };
        assert!(query.name.is_boot());
        refuse(stream);
    });
    let fetched = fetched.unwrap();
    assert_eq!(fetched.payload.expose(), b"payload");
    assert_eq!(fetched.terms, None);
}

#[test]
fn a_rehearsal_has_its_terms_before_the_secret() {
    let fetched = fetch(true, |mut stream| {
        let request = answer(&mut stream, &[Reply::Terms(TERMS), secret("boot")]);
        assert!(matches!(request, Request::Rehearse(_)), "{request:?}");
        refuse(stream);
    });
    assert_eq!(fetched.unwrap().terms, Some(TERMS));
}

/// The server may send anything at any time.
#[test]
fn replies_that_answer_something_else_give_no_secret() {
    use FetchError as E;
    let parts: [(&str, Part, Expected); 13] = [
        (
            "an end without a reply",
            |mut stream| {
                answer(&mut stream, &[]);
                refuse(stream);
            },
            |it| matches!(it, E::Refused),
        ),
        (
            "two secrets",
            |mut stream| {
                answer(&mut stream, &[secret("boot"), secret("boot")]);
                refuse(stream);
            },
            |it| matches!(it, E::OtherReply(_)),
        ),
        (
            "no mark at the end",
            |mut stream| drop(answer(&mut stream, &[secret("boot")])),
            |it| matches!(it, E::Truncated { .. }),
        ),
        (
            "another secret",
            |mut stream| {
                answer(&mut stream, &[secret("other")]);
                refuse(stream);
            },
            |it| matches!(it, E::OtherReply(_)),
        ),
        (
            "the terms of a rehearsal",
            |mut stream| {
                answer(&mut stream, &[Reply::Terms(TERMS), secret("boot")]);
                refuse(stream);
            },
            |it| matches!(it, E::OtherReply(_)),
        ),
        (
            "a refusal",
            |mut stream| {
                answer(&mut stream, &[waits(), refused(None)]);
                refuse(stream);
            },
            |it| matches!(it, E::Refused),
        ),
        (
            "a refusal with its reason",
            |mut stream| {
                answer(&mut stream, &[refused(Some("disabled"))]);
                refuse(stream);
            },
            // What a stranger says belongs on no console.
            |it| matches!(it, E::Refused),
        ),
        (
            "an acceptance",
            |mut stream| {
                answer(&mut stream, &[accepted()]);
                refuse(stream);
            },
            |it| matches!(it, E::OtherReply(_)),
        ),
        (
            "a notice after the secret",
            |mut stream| {
                answer(&mut stream, &[secret("boot"), waits()]);
                refuse(stream);
            },
            |it| matches!(it, E::OtherReply(_)),
        ),
        (
            "a refusal after the secret",
            |mut stream| {
                answer(&mut stream, &[secret("boot"), refused(None)]);
                refuse(stream);
            },
            |it| matches!(it, E::OtherReply(_)),
        ),
        (
            "a secret that is longer than the caller takes",
            |mut stream| {
                let head = SecretHead {
                    name: SecretName::boot(),
                    serial: 0,
                };
                answer(&mut stream, &[Reply::Secret(head, &[7; 1001])]);
                refuse(stream);
            },
            |it| matches!(it, E::TooLong { max: 1000 }),
        ),
        (
            "a type of a later version",
            |mut stream| {
                answer(&mut stream, &[]);
                stream.write_all(&[0x86, 0, 0, 0]).unwrap();
                refuse(stream);
            },
            |it| matches!(it, E::Message(MessageError::UnknownType(0x86))),
        ),
        (
            "a payload without framing",
            |mut stream| {
                answer(&mut stream, &[]);
                stream.write_all(b"-----BEGIN PGP MESSAGE-----").unwrap();
                refuse(stream);
            },
            |it| matches!(it, E::Message(_)),
        ),
    ];
    for (what, part, expected) in parts {
        let error = fetch(false, part).unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
    }
    let reason = fetch(true, |mut stream| {
        answer(&mut stream, &[refused(Some("disabled"))]);
        refuse(stream);
    });
    assert!(
        matches!(&reason, Err(E::RefusedFor(word)) if word.as_str() == "disabled"),
        "{reason:?}"
    );
    // A rehearsal without its terms may have been taken for a boot.
    let unasked = fetch(true, |mut stream| {
        answer(&mut stream, &[secret("boot")]);
        refuse(stream);
    });
    assert!(matches!(unasked, Err(E::OtherReply(_))), "{unasked:?}");
}

/// A server that offers only what this version does not know is served as a stock one.
#[test]
fn a_server_of_a_later_version_is_no_failure() {
    let own = key();
    let tls = ServerTls::new(Some(&own), &Priority::default()).unwrap();
    for offered in [&["nightlatch/2"][..], &["nightlatch/2", "nightlatch/1"]] {
        let mut config = ClientConfig::clone(&tls.config());
        config.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let connection = ClientConnection::new(Arc::new(config), ServerTls::peer_name()).unwrap();
        let (fetched, _) = serve_by(connection, &boot(key(), vec![]), |mut stream| {
            if stream.conn.alpn_protocol().is_some() {
                answer(&mut stream, &[secret("boot")]);
                refuse(stream);
            } else {
                give(stream);
            }
        });
        assert_eq!(fetched.unwrap().payload.expose(), b"payload", "{offered:?}");
    }
}

/// One that offers it without a key could not be recognized at another address.
#[test]
fn a_server_without_a_key_is_served_as_a_stock_one() {
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    let connection = tls.offering_release().connection().unwrap();
    let (fetched, _) = serve_by(connection, &boot(key(), vec![]), |stream| {
        assert!(!speaks_release(&stream.conn));
        give(stream);
    });
    assert_eq!(fetched.unwrap().payload.expose(), b"payload");
}

/// Offers a key in its ClientHello, and shows none: it may have none of the kinds that the machine accepts. It is
/// believed as a stock one: for a boot without a list of trusted keys, and never otherwise.
#[test]
fn a_server_that_shows_no_key_is_believed_as_a_stock_one() {
    let connection = || {
        let mut config = ClientConfig::clone(&server_config(Arc::new(ShowsNoKey)));
        config.alpn_protocols = vec![b"nightlatch/1".to_vec()];
        ClientConnection::new(Arc::new(config), ServerTls::peer_name()).unwrap()
    };
    let (fetched, _) = serve_by(connection(), &boot(key(), vec![]), |mut stream| {
        answer(&mut stream, &[secret("boot")]);
        refuse(stream);
    });
    assert_eq!(fetched.unwrap().server_key, None);
    let (fetched, _) = serve_by(connection(), &boot(key(), vec![]).rehearsing(), refuse);
    assert!(
        matches!(fetched, Err(FetchError::ServerUnproven)),
        "{fetched:?}"
    );
    let trusted = boot(key(), vec![key().key_id()]);
    let (fetched, _) = serve_by(connection(), &trusted, refuse);
    assert!(
        matches!(fetched, Err(FetchError::Peer(PeerError::NoKey))),
        "{fetched:?}"
    );
}

/// The extensions of a ClientHello (RFC 8446, 4.1.2) by their numbers, and the part before them without its random
/// bytes.
fn extensions(record: &[u8]) -> (Vec<u8>, BTreeMap<u16, Vec<u8>>) {
    // The header of the record, that of the handshake message, the version, the random.
    let (version, rest) = (&record[9..11], &record[43..]);
    let (session, rest) = rest.split_at(1 + usize::from(rest[0]));
    let length = |at: &[u8]| usize::from(u16::from_be_bytes([at[0], at[1]]));
    let (suites, rest) = rest.split_at(2 + length(rest));
    let (compression, rest) = rest.split_at(1 + usize::from(rest[0]));
    let mut rest = &rest[2..];
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let number = u16::from_be_bytes([rest[0], rest[1]]);
        let (value, after) = rest[4..].split_at(length(&rest[2..]));
        assert!(found.insert(number, value.to_vec()).is_none());
        rest = after;
    }
    let before = [version, &session[..1], suites, compression].concat();
    (before, found)
}

/// A stock client sees a server that offers the protocol as one that does not, but for this one extension.
#[test]
fn the_offer_is_one_extension_and_nothing_else() {
    const ALPN_EXTENSION: u16 = 16;
    const KEY_SHARE: u16 = 51;
    for own in [None, Some(key())] {
        let tls = ServerTls::new(own.as_ref(), &Priority::default()).unwrap();
        let hello = |tls: &ServerTls| {
            let mut record = Vec::new();
            tls.connection().unwrap().write_tls(&mut record).unwrap();
            extensions(&record)
        };
        let (before, mut stock) = hello(&tls);
        let (same, mut offering) = hello(&tls.clone().offering_release());
        assert_eq!(before, same);
        let offer = offering.remove(&ALPN_EXTENSION);
        assert_eq!(offer, Some(b"\0\x0d\x0cnightlatch/1".to_vec()));
        // New keys for each handshake, of the same kinds and lengths.
        let shares = [stock.remove(&KEY_SHARE), offering.remove(&KEY_SHARE)];
        let [one, other] = shares.map(|share| share.unwrap().len());
        assert_eq!(one, other);
        assert_eq!(stock, offering);
    }
}
