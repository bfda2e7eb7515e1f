//! The limits of connections, with the whole network side of the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::release::{ReasonWord, Refused, Reply};
use nightlatch_proto::tls::ServerTls;
use nightlatch_server::limits::ConnectionLimits;
use nightlatch_server::listen::{self, ListenOptions};
use nightlatch_server::session::{Sessions, serve};
use rustix::net::{AddressFamily, SocketType};
use tokio::sync::oneshot;

use crate::gate::{Gate, Script};
use crate::hostile::{GREETING, fetch, key};
use crate::release::{connected, get, reply, say};
use crate::{SHORT, patient};

/// Runs `clients` against a server on a port of its own.
async fn with_server<T: Send + 'static>(
    gate: Gate,
    limits: ConnectionLimits,
    clients: impl FnOnce(u16) -> T + Send + 'static,
) -> T {
    let listeners = listen::bind(&ListenOptions::default()).unwrap();
    let port = listeners[0].local_addr().unwrap().port();
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    let sessions = Sessions::new(gate, &tls.offering_release(), patient());
    let (done, stop) = oneshot::channel();
    let clients = tokio::task::spawn_blocking(move || {
        let result = clients(port);
        let _ = done.send(());
        result
    });
    let stop = async {
        let _ = stop.await;
    };
    serve(listeners, sessions, limits, stop).await.unwrap();
    clients.await.unwrap()
}

/// Connects from the `n`th loopback address.
fn connect_from(n: u8, port: u16) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, n)), 0);
    rustix::net::bind(&socket, &from).unwrap();
    rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// True when the server reads the greeting and answers.
fn is_served(mut stream: &TcpStream) -> bool {
    let greeted = stream.write_all(GREETING);
    greeted.is_ok() && matches!(stream.read(&mut [0]), Ok(1))
}

#[tokio::test]
async fn one_address_cannot_use_the_places_of_others() {
    let gate = Gate::releasing(b"secret");
    with_server(gate, ConnectionLimits::new(100, 2), |port| {
        let held = [connect_from(2, port), connect_from(2, port)];
        let mut third = connect_from(2, port);
        assert!(
            matches!(third.read(&mut [0]), Ok(0)),
            "it is closed at once"
        );
        let fetched = fetch(key(), &mut connect_from(3, port));
        assert_eq!(fetched.unwrap().payload.expose(), b"secret");
        assert!(held.iter().all(is_served));
        drop(held);
        // Ends as soon as the server has noticed, or the test fails by its time-out.
        while !is_served(&connect_from(2, port)) {}
    })
    .await;
}

/// Machines behind one address that wait for people must not keep its boots and heartbeats away.
#[tokio::test]
async fn those_who_wait_for_a_named_secret_leave_places_for_the_others() {
    let gate = Gate::new(Script::Wait);
    let seen = gate.clone();
    let asks = |port, name| {
        let mut stream = connected(connect_from(2, port));
        stream.write_all(&get(name).to_bytes()).unwrap();
        stream.flush().unwrap();
        stream
    };
    with_server(gate, ConnectionLimits::new(100, 8), move |port| {
        let mut waiting = Vec::new();
        for number in 1..=2 {
            waiting.push(asks(port, "pin"));
            seen.wait_for_requests(number);
        }
        let got = say(connected(connect_from(2, port)), &get("pin").to_bytes());
        let refused = Reply::Refused(Refused {
            name: SecretName::new("pin").unwrap(),
            reason: ReasonWord::new("too-many-wait"),
            retry: Some(Duration::from_secs(60)),
        });
        assert_eq!(reply(&got), (refused, &[][..]));
        // A boot may wait all the same.
        waiting.push(asks(port, "boot"));
        seen.wait_for_requests(4);
        assert_eq!(seen.may_wait(), [true, true, false, true]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_over_the_total_waits_for_its_turn() {
    let gate = Gate::releasing(b"secret");
    with_server(gate, ConnectionLimits::new(2, 2), |port| {
        let held = [connect_from(2, port), connect_from(3, port)];
        assert!(held.iter().all(is_served));
        let mut waiting = connect_from(4, port);
        waiting.set_read_timeout(Some(SHORT)).unwrap();
        waiting.write_all(GREETING).unwrap();
        let error = waiting.read(&mut [0]).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::WouldBlock,
            "it is not answered yet"
        );
        drop(held);
        waiting
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        assert!(matches!(waiting.read(&mut [0]), Ok(1)));
    })
    .await;
}

#[tokio::test]
async fn a_fault_in_one_session_does_not_touch_the_server() {
    let gate = Gate::new(Script::Panic);
    with_server(gate, ConnectionLimits::new(1, 1), |port| {
        for _ in 0..3 {
            assert!(fetch(key(), &mut connect_from(2, port)).is_err());
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_sessions() {
    let gate = Gate::new(Script::Wait);
    let held = with_server(gate, ConnectionLimits::new(10, 10), |port| {
        let held = connect_from(2, port);
        assert!(is_served(&held));
        held
    })
    .await;
    // The runtime needs its thread to end them.
    let end = tokio::task::spawn_blocking(move || (&held).read_to_end(&mut Vec::new()));
    let end = end.await.unwrap();
    let timed_out = matches!(&end, Err(error) if error.kind() == ErrorKind::WouldBlock);
    assert!(!timed_out, "{end:?}");
}
