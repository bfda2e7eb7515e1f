//! The release protocol at the server: nothing counts before the request was read whole, and a machine that leaves
//! before has made no request.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::boot_nonce::{BootMark, BootNonce};
use nightlatch_core::event::{Refusal, RequestClaims};
use nightlatch_core::guard::GoodbyeKind;
use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::release::{
    Accepted, Goodbye, HEADER_LEN, Header, Heartbeat, ReasonWord, Refused, Reply, Request,
    SecretQuery, WaitReason, Waiting,
};
use nightlatch_proto::tls::{BootTls, FetchError, FetchedSecret, ServerTls};
use nightlatch_server::session::{Deadlines, SessionEnd, SessionStage, Sessions};
use nightlatch_sys::clock;
use rustls::{ServerConnection, StreamOwned};

use crate::gate::{Gate, INTERVAL, LEFT, LIFE_ANSWER, Script, TIMEOUT};
use crate::hostile::{GREETING, WAYS_TO_LEAVE, fetch, key, seed, shows, signer};
use crate::{SHORT, meet_with, patient};

pub(crate) type Stream = StreamOwned<ServerConnection, TcpStream>;

const BOOT: BootNonce = BootNonce::from_bytes([7; 16]);

/// Without a key of its own: hostile peers that are made of rustls do not ask for one.
fn sessions(gate: &Gate, deadlines: Deadlines) -> Sessions<Gate> {
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    Sessions::new(gate.clone(), &tls.offering_release(), deadlines)
}

/// With a key, as a server has it.
fn sessions_with_key(gate: &Gate) -> Sessions<Gate> {
    let tls = ServerTls::new(Some(&key()), &Priority::default()).unwrap();
    Sessions::new(gate.clone(), &tls.offering_release(), patient())
}

/// The connection of a machine that speaks the protocol, before the handshake.
fn offering(stream: &mut TcpStream) -> ServerConnection {
    let key = key();
    let mut config = shows(vec![key.spki().to_vec().into()], signer(&key));
    config.alpn_protocols = vec![b"nightlatch/1".to_vec()];
    stream.write_all(GREETING).unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// The connection after the handshake.
pub(crate) fn connected(mut stream: TcpStream) -> Stream {
    let mut connection = offering(&mut stream);
    while connection.is_handshaking() || connection.wants_write() {
        connection.complete_io(&mut stream).unwrap();
    }
    assert!(connection.alpn_protocol().is_some());
    StreamOwned::new(connection, stream)
}

pub(crate) fn get(name: &str) -> Request {
    Request::Get(SecretQuery {
        name: SecretName::new(name).unwrap(),
        boot: BOOT,
    })
}

/// Sends `bytes`, then reads the replies to the end.
pub(crate) fn say(mut stream: Stream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    stream.flush().unwrap();
    let mut all = Vec::new();
    // A connection that ends without close_notify is an error, and what came before it counts.
    let _ = stream.read_to_end(&mut all);
    all
}

pub(crate) fn reply(bytes: &[u8]) -> (Reply<'_>, &[u8]) {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
    let header = Header::of_reply(*header).unwrap();
    let (body, rest) = rest.split_at(header.body_len());
    (Reply::parse(header, body).unwrap(), rest)
}

#[tokio::test]
async fn a_machine_that_asks_is_served() {
    // More than a record, and more than TLS keeps in its buffers.
    let secret: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    for secret in [b"secret".to_vec(), secret] {
        let gate = Gate::releasing(&secret);
        let sessions = sessions_with_key(&gate);
        let (ended, fetched) = meet_with(&sessions, |mut stream| fetch(key(), &mut stream)).await;
        assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
        assert!(fetched.unwrap().payload.expose() == secret);
        assert_eq!(gate.calls(), ["requested", "delivered"]);
    }
}

#[tokio::test]
async fn the_claims_of_the_request_reach_the_gatekeeper() {
    let gate = Gate::releasing(b"secret");
    let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
        say(connected(stream), &get("boot").to_bytes())
    })
    .await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    let (Reply::Secret(head, b"secret"), b"") = reply(&got) else {
        panic!("{got:?}");
    };
    assert!(head.name.is_boot());
    let request = gate.first();
    let claims = RequestClaims {
        boot: Some(BOOT),
        rehearsal: false,
    };
    assert_eq!(request.claims, claims);
    assert!(request.address.ip().is_loopback());
}

#[tokio::test]
async fn a_rehearsal_gets_its_terms() {
    let gate = Gate::releasing(b"secret");
    let machine = key();
    let id = machine.key_id();
    let (ended, fetched) = meet_with(&sessions_with_key(&gate), |mut stream| {
        let boot = BootTls::new(machine, vec![], &Priority::default(), seed()).unwrap();
        boot.rehearsing().fetch(&mut stream, 1000).unwrap()
    })
    .await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert_eq!(fetched.payload.expose(), b"secret");
    let terms = fetched.terms.unwrap();
    assert!(terms.left <= LEFT && terms.left > LEFT / 2, "{terms:?}");
    assert_eq!((terms.timeout, terms.interval), (TIMEOUT, INTERVAL));
    assert!(terms.alarm);
    let request = gate.first();
    assert_eq!(request.key, id);
    assert!(request.claims.rehearsal);
}

/// Its handshake counts as the request, as for every client but ours.
#[tokio::test]
async fn a_machine_that_does_not_know_the_protocol_is_served() {
    let gate = Gate::releasing(b"secret");
    let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
        let key = key();
        let config = shows(vec![key.spki().to_vec().into()], signer(&key));
        crate::hostile::shake_hands(stream, config)
    })
    .await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert_eq!(got.unwrap(), b"secret");
    assert_eq!(gate.first().claims, RequestClaims::default());
}

#[tokio::test]
async fn the_key_is_proved_before_the_request() {
    let gate = Gate::releasing(b"secret");
    let own = key();
    let tls = ServerTls::new(Some(&own), &Priority::default()).unwrap();
    let sessions = Sessions::new(gate.clone(), &tls.offering_release(), patient());
    let trusted = own.key_id();
    let (ended, proved) = meet_with(&sessions, move |mut stream| {
        let boot = BootTls::new(key(), vec![trusted], &Priority::default(), seed()).unwrap();
        // It leaves without having asked.
        boot.connect(&mut stream).unwrap().server_key()
    })
    .await;
    assert_eq!(proved, Some(trusted));
    assert!(matches!(ended, SessionEnd::NotAsked), "{ended:?}");
    assert!(gate.calls().is_empty());
}

/// A copied boot key is told nothing of what its server knows.
#[tokio::test]
async fn a_refusal_gives_a_boot_key_no_reason() {
    for reason in [Refusal::UnknownKey, Refusal::Disabled, Refusal::Denied] {
        let gate = Gate::new(Script::Refuse(reason));
        let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
            say(connected(stream), &get("boot").to_bytes())
        })
        .await;
        assert!(matches!(ended, SessionEnd::Refused(given) if given == reason));
        let refused = Reply::Refused(Refused {
            name: SecretName::boot(),
            reason: None,
            retry: None,
        });
        assert_eq!(reply(&got), (refused, &[][..]), "{reason:?}");
    }
}

/// An agent is told why it gets no named secret; a boot key, which may be a copy, only that it gets none.
#[tokio::test]
async fn a_refusal_of_a_named_secret_tells_only_agents_the_reason() {
    for (reason, told) in [
        (Refusal::NoSuchSecret, Some("no-such-secret")),
        (Refusal::Disabled, Some("disabled")),
        (Refusal::NamedByBootKey, None),
    ] {
        let gate = Gate::new(Script::Refuse(reason));
        let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
            say(connected(stream), &get("card.pin").to_bytes())
        })
        .await;
        assert!(matches!(ended, SessionEnd::Refused(given) if given == reason));
        let name = SecretName::new("card.pin").unwrap();
        assert_eq!(gate.first().secret, Some(name.clone()));
        let refused = Reply::Refused(Refused {
            name,
            reason: told.and_then(ReasonWord::new),
            retry: None,
        });
        assert_eq!(reply(&got), (refused, &[][..]), "{reason:?}");
    }
}

fn signs_of_life() -> [Request; 2] {
    let heartbeat = Request::Heartbeat(Heartbeat {
        boot: BOOT,
        resumes: 3,
        poke_port: NonZeroU16::new(5),
        earlier_boots: vec![BootMark::from_bytes([8; 16])],
        poked: Some(LIFE_ANSWER.token),
        program: "test".to_owned(),
        rejected: Vec::new(),
    });
    let goodbye = Request::Goodbye(Goodbye {
        boot: BOOT,
        resumes: 3,
        kind: GoodbyeKind::Reboot,
    });
    [heartbeat, goodbye]
}

#[tokio::test]
async fn a_sign_of_life_reaches_the_gatekeeper_and_is_answered() {
    for request in signs_of_life() {
        let gate = Gate::releasing(b"secret");
        let bytes = request.to_bytes();
        let before = clock::now().mono;
        let (ended, got) = meet_with(&sessions(&gate, patient()), move |stream| {
            say(connected(stream), &bytes)
        })
        .await;
        assert!(matches!(ended, SessionEnd::Heard), "{ended:?}");
        let accepted = Reply::Accepted(Accepted {
            next: LIFE_ANSWER.next,
            token: LIFE_ANSWER.token,
            window: LIFE_ANSWER.window,
        });
        assert_eq!(reply(&got), (accepted, &[][..]));
        let report = gate.heard();
        assert_eq!((report.boot, report.resumes), (BOOT, 3));
        assert!(report.opened >= before && report.opened <= clock::now().mono);
        match request {
            Request::Heartbeat(heartbeat) => {
                assert_eq!(report.poked, heartbeat.poked);
                assert_eq!(report.poke_port, heartbeat.poke_port);
                assert_eq!(report.earlier_boots, heartbeat.earlier_boots);
                assert_eq!(report.goodbye, None);
            }
            _ => assert_eq!(report.goodbye, Some(GoodbyeKind::Reboot)),
        }
    }
}

/// An agent has to say on its machine why it is not heard.
#[tokio::test]
async fn a_sign_of_life_that_does_not_count_gets_the_reason() {
    for request in signs_of_life() {
        let gate = Gate::new(Script::Refuse(Refusal::Disabled));
        let bytes = request.to_bytes();
        let (ended, got) = meet_with(&sessions(&gate, patient()), move |stream| {
            say(connected(stream), &bytes)
        })
        .await;
        assert!(matches!(ended, SessionEnd::Refused(Refusal::Disabled)));
        let (Reply::Refused(Refused { reason, .. }), b"") = reply(&got) else {
            panic!("{got:?}");
        };
        assert_eq!(reason.unwrap().as_str(), "disabled");
    }
}

#[tokio::test]
async fn a_request_that_is_malformed_or_cut_reaches_nobody() {
    let whole = get("boot").to_bytes();
    let mut malformed: Vec<Vec<u8>> = vec![
        b"?".repeat(HEADER_LEN),
        vec![1, 0, 0x10, 1],
        vec![1, 0, 0, 0],
        vec![0x84, 0, 0, 0],
    ];
    malformed.push([&whole[..HEADER_LEN], &[0xff; 28]].concat());
    for bytes in malformed {
        let gate = Gate::releasing(b"secret");
        let sent = bytes.clone();
        let (ended, got) = meet_with(&sessions(&gate, patient()), move |stream| {
            say(connected(stream), &sent)
        })
        .await;
        assert!(
            matches!(ended, SessionEnd::Request(_)),
            "{bytes:?}: {ended:?}"
        );
        assert_eq!(got, b"", "{bytes:?}");
        assert!(gate.calls().is_empty(), "{bytes:?}");
    }
    for length in [1, HEADER_LEN, whole.len() - 1] {
        let gate = Gate::releasing(b"secret");
        let sent = whole[..length].to_vec();
        let (ended, ()) = meet_with(&sessions(&gate, patient()), move |stream| {
            connected(stream).write_all(&sent).unwrap();
        })
        .await;
        assert!(matches!(ended, SessionEnd::NotAsked), "{length}: {ended:?}");
        assert!(gate.calls().is_empty(), "{length}");
    }
}

#[tokio::test]
async fn a_peer_that_sends_anything_after_its_request_gets_nothing() {
    let gate = Gate::new(Script::Wait);
    let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
        let twice = [get("boot").to_bytes(), get("boot").to_bytes()].concat();
        say(connected(stream), &twice)
    })
    .await;
    assert!(matches!(ended, SessionEnd::Gone), "{ended:?}");
    assert_eq!(got, b"");
    assert!(gate.calls().is_empty());
}

#[tokio::test]
async fn a_machine_that_waits_is_told_why() {
    let gate = Gate::new(Script::WaitForApproval(Duration::from_secs(100)));
    let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
        let mut stream = connected(stream);
        stream.write_all(&get("boot").to_bytes()).unwrap();
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).unwrap();
        let header = Header::of_reply(header).unwrap();
        let mut body = vec![0; header.body_len()];
        stream.read_exact(&mut body).unwrap();
        match Reply::parse(header, &body).unwrap() {
            Reply::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    })
    .await;
    let Waiting {
        reason,
        left,
        reference,
    } = got;
    assert_eq!(reason, Some(WaitReason::Approval));
    let left = left.unwrap();
    assert!(left <= Duration::from_secs(100) && left > Duration::from_secs(50));
    assert_eq!(reference, gate.first().id.0);
    // It left after that.
    assert!(matches!(ended, SessionEnd::Gone), "{ended:?}");
    assert_eq!(gate.calls(), ["requested", "gone"]);
}

/// Passes everything on, after `change` was made to the server's first record.
fn relay(machine: TcpStream, server: TcpStream, change: fn(&mut Vec<u8>)) {
    std::thread::spawn(move || {
        let (mut to_server, mut from_machine) = (&server, &machine);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut from_machine, &mut to_server);
                let _ = server.shutdown(Shutdown::Write);
            });
            let (mut to_machine, mut from_server) = (&machine, &server);
            let mut header = [0; 5];
            from_server.read_exact(&mut header).unwrap();
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let mut record = vec![0; length];
            from_server.read_exact(&mut record).unwrap();
            change(&mut record);
            let _ = to_machine.write_all(&[&header[..], &record].concat());
            let _ = io::copy(&mut from_server, &mut to_machine);
            let _ = machine.shutdown(Shutdown::Write);
        });
    });
}

/// A machine that reaches the server through a relay only.
fn fetch_relayed(server: TcpStream, change: fn(&mut Vec<u8>)) -> Result<FetchedSecret, FetchError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut machine = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (relayed, _) = listener.accept().unwrap();
    relay(relayed, server, change);
    fetch(key(), &mut machine)
}

/// A relay is a wire: it learns nothing, and what it changes is found out before anything was asked for.
#[tokio::test]
async fn a_relay_can_pass_on_and_can_change_nothing() {
    let gate = Gate::releasing(b"secret");
    let (ended, fetched) = meet_with(&sessions_with_key(&gate), |server| {
        fetch_relayed(server, |_| {})
    })
    .await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert_eq!(fetched.unwrap().payload.expose(), b"secret");
    // It takes the offer away, so that the handshake would be the request.
    let gate = Gate::releasing(b"secret");
    let (ended, fetched) = meet_with(&sessions_with_key(&gate), |server| {
        fetch_relayed(server, |hello| {
            let name = b"nightlatch/1";
            let at = hello.windows(name.len()).position(|it| it == name);
            hello[at.unwrap() + name.len() - 1] = b'9';
        })
    })
    .await;
    assert!(matches!(ended, SessionEnd::Handshake(_)), "{ended:?}");
    assert!(fetched.is_err(), "{fetched:?}");
    assert!(gate.calls().is_empty());
}

#[tokio::test]
async fn a_peer_that_leaves_before_its_request_makes_none() {
    // What it says is the start of a request; `a_request_that_is_malformed_or_cut_reaches_nobody` has more of that.
    let leave = |(how, _): &(&str, _)| *how != "says something";
    for (how, does) in WAYS_TO_LEAVE.into_iter().filter(leave) {
        let gate = Gate::releasing(b"secret");
        let (ended, ()) = meet_with(&sessions(&gate, patient()), move |stream| {
            does(connected(stream));
        })
        .await;
        assert!(matches!(ended, SessionEnd::NotAsked), "{how}: {ended:?}");
        assert!(gate.calls().is_empty(), "{how}");
    }
}

#[tokio::test]
async fn a_peer_that_never_asks_is_disconnected() {
    let gate = Gate::releasing(b"secret");
    let deadlines = Deadlines {
        handshake: SHORT,
        ..patient()
    };
    // On a busy machine it is the handshake that is late.
    let (ended, ()) = meet_with(&sessions(&gate, deadlines), |mut stream| {
        let mut connection = offering(&mut stream);
        while connection
            .complete_io(&mut stream)
            .is_ok_and(|(read, _)| read > 0)
        {}
    })
    .await;
    let late = matches!(
        ended,
        SessionEnd::Late(SessionStage::Asking | SessionStage::Handshake)
    );
    assert!(late, "{ended:?}");
    assert!(gate.calls().is_empty());
}
