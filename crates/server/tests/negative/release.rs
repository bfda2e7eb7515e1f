//! Between the handshake and the request: a machine that finds this server at several addresses shakes hands at
//! each, and asks at one. Without asking there is no request.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, ServerTls};
use nightlatch_server::session::{Deadlines, SessionEnd, SessionStage, Sessions};
use rustls::{ServerConnection, StreamOwned};

use crate::gate::Gate;
use crate::hostile::{GREETING, WAYS_TO_LEAVE, fetch, key, shows, signer};
use crate::{SHORT, meet_with, patient};

/// Without a key of its own: hostile peers that are made of rustls do not ask for one.
fn sessions(gate: &Gate, deadlines: Deadlines) -> Sessions<Gate> {
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    Sessions::new(gate.clone(), &tls.offering_to_wait(), deadlines)
}

/// The connection of a machine that offers to ask, before the handshake.
fn offering_to_ask(stream: &mut TcpStream) -> ServerConnection {
    let key = key();
    let mut config = shows(vec![key.spki().to_vec().into()], signer(&key));
    config.alpn_protocols = vec![b"nightlatch-asks/1".to_vec()];
    stream.write_all(GREETING).unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// A machine that has agreed to ask, and does what `then` says.
fn agreed(mut stream: TcpStream, then: fn(StreamOwned<ServerConnection, TcpStream>)) {
    let mut connection = offering_to_ask(&mut stream);
    while connection.is_handshaking() || connection.wants_write() {
        connection.complete_io(&mut stream).unwrap();
    }
    assert!(connection.alpn_protocol().is_some());
    then(StreamOwned::new(connection, stream));
}

#[tokio::test]
async fn a_machine_that_asks_is_served() {
    let gate = Gate::releasing(b"secret");
    let tls = ServerTls::new(Some(&key()), &Priority::default()).unwrap();
    let sessions = Sessions::new(gate.clone(), &tls.offering_to_wait(), patient());
    let (ended, fetched) = meet_with(&sessions, |mut stream| fetch(key(), &mut stream)).await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert_eq!(fetched.unwrap().payload.expose(), b"secret");
    assert_eq!(gate.calls(), ["requested", "delivered"]);
}

/// Its handshake counts as asking, as for every client but ours.
#[tokio::test]
async fn a_machine_that_does_not_know_the_step_is_served() {
    let gate = Gate::releasing(b"secret");
    let (ended, got) = meet_with(&sessions(&gate, patient()), |stream| {
        let key = key();
        let config = shows(vec![key.spki().to_vec().into()], signer(&key));
        crate::hostile::shake_hands(stream, config)
    })
    .await;
    assert!(matches!(ended, SessionEnd::Delivered), "{ended:?}");
    assert_eq!(got.unwrap(), b"secret");
}

#[tokio::test]
async fn the_key_is_proved_before_asking() {
    let gate = Gate::releasing(b"secret");
    let own = key();
    let tls = ServerTls::new(Some(&own), &Priority::default()).unwrap();
    let sessions = Sessions::new(gate.clone(), &tls.offering_to_wait(), patient());
    let trusted = own.key_id();
    let (ended, proved) = meet_with(&sessions, move |mut stream| {
        let boot = BootTls::new(key(), vec![trusted], &Priority::default()).unwrap();
        // It leaves without having asked.
        boot.connect(&mut stream).unwrap().server_key()
    })
    .await;
    assert_eq!(proved, Some(trusted));
    assert!(matches!(ended, SessionEnd::NotAsked), "{ended:?}");
    assert!(gate.calls().is_empty());
}

#[tokio::test]
async fn a_peer_that_sends_anything_else_or_leaves_makes_no_request() {
    for (how, does) in WAYS_TO_LEAVE {
        let gate = Gate::releasing(b"secret");
        let (ended, ()) = meet_with(&sessions(&gate, patient()), move |stream| {
            agreed(stream, does);
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
        let mut connection = offering_to_ask(&mut stream);
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
