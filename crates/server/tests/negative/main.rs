//! Peers that must get nothing, or no more than their own secret: each kind of wrong peer against a real session
//! on a real socket, and the calls that the gatekeeper gets.
#![forbid(unsafe_code)]
// unwrap in a test is the assertion itself, in its helpers too.
#![allow(clippy::unwrap_used)]

mod decisions;
mod gate;
mod greetings;
mod handshakes;
mod hostile;
mod limits;
mod release;

use std::net::TcpStream;
use std::time::Duration;

use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::ServerTls;
use nightlatch_server::limits::ConnectionLimits;
use nightlatch_server::session::{Deadlines, SessionEnd, Sessions};
use tokio::net::TcpListener;

use gate::Gate;

/// A deadline that honest peers keep, and short enough to wait for its end.
const SHORT: Duration = Duration::from_millis(100);

/// Deadlines that no test reaches.
fn patient() -> Deadlines {
    let long = Duration::from_secs(60);
    Deadlines {
        greeting: long,
        handshake: long,
        send: long,
        close: long,
    }
}

/// Runs one session with `peer` at the other end. Returns the outcome of both.
async fn meet<T: Send + 'static>(
    gate: &Gate,
    deadlines: Deadlines,
    peer: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SessionEnd, T) {
    let tls = ServerTls::new(None, &Priority::default()).unwrap();
    let sessions = Sessions::new(gate.clone(), &tls, deadlines);
    meet_with(&sessions, peer).await
}

async fn meet_with<T: Send + 'static>(
    sessions: &Sessions<Gate>,
    peer: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SessionEnd, T) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = tokio::task::spawn_blocking(move || peer(TcpStream::connect(address).unwrap()));
    let (stream, from) = listener.accept().await.unwrap();
    let limits = ConnectionLimits::new(8, 8);
    let slot = limits.admit(limits.room().await, from.ip()).unwrap();
    let ended = sessions.run(stream, from, &slot).await;
    (ended, peer.await.unwrap())
}
