//! Takes connections off the listening sockets, within the limits, and gives each a task.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::{Ended, Gatekeeper, Sessions, Stage};
use crate::limits::{Limits, Slot};

/// How long nothing is accepted after it failed: with no descriptors left, every try fails at once
/// and would keep a core busy.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Serves all who connect to `listeners` until `stop` is ready.
///
/// Then nothing more is accepted and open connections end at once: a secret that was not sent to
/// its end counts as not delivered, and its machine asks again.
pub async fn serve<G: Gatekeeper>(
    listeners: Vec<std::net::TcpListener>,
    sessions: Sessions<G>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    limits.ensure(listeners.len());
    let sessions = Arc::new(sessions);
    let mut doors = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        tracing::info!(
            "now listening on address '{}', port {}",
            address.ip(),
            address.port()
        );
        doors.spawn(accept_all(listener, Arc::clone(&sessions), limits.clone()));
    }
    tokio::select! {
        () = stop => Ok(()),
        // They never end by themselves.
        Some(ended) = doors.join_next() => ended.map_err(io::Error::other),
    }
}

async fn accept_all<G: Gatekeeper>(
    listener: TcpListener,
    sessions: Arc<Sessions<G>>,
    limits: Limits,
) {
    let mut open = JoinSet::new();
    let mut failing = false;
    loop {
        let next = async {
            let room = limits.room().await;
            (room, listener.accept().await)
        };
        let (room, accepted) = tokio::select! {
            next = next => next,
            Some(ended) = open.join_next() => {
                report_panic(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                match limits.admit(room, address.ip()) {
                    Ok(slot) => {
                        let sessions = Arc::clone(&sessions);
                        open.spawn(attend(sessions, stream, address, slot));
                    }
                    Err(error) if error.first => {
                        tracing::info!(peer = %address, reason = %error, "refused");
                    }
                    Err(_) => {}
                }
            }
            // One that came and went; the next may be a good one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections, will keep trying");
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

async fn attend<G: Gatekeeper>(
    sessions: Arc<Sessions<G>>,
    stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
) {
    let ended = sessions.attend(stream, address).await;
    log(address, &ended);
    drop(slot);
}

/// One line for each connection: what the gatekeeper knows, with the client's name, it logs itself.
fn log(address: SocketAddr, ended: &Ended) {
    let peer = SocketAddr::new(address.ip().to_canonical(), address.port());
    match ended {
        Ended::Greeting(error) => refused(peer, error),
        Ended::Handshake(error) => refused(peer, error),
        Ended::Late(stage @ (Stage::Greeting | Stage::Handshake)) => {
            tracing::info!(%peer, reason = %format_args!("too long for {stage}"), "refused");
        }
        Ended::Broken(error) => tracing::debug!(%peer, %error, "the connection failed"),
        Ended::NotSent(error) => tracing::debug!(%peer, %error, "the secret could not be sent"),
        Ended::Late(stage @ Stage::Sending) => {
            tracing::debug!(%peer, "the peer took too long for {stage}");
        }
        Ended::Delivered | Ended::Refused(_) | Ended::Revoked | Ended::Gone => {
            tracing::debug!(%peer, ?ended, "connection closed");
        }
    }
}

fn refused(peer: SocketAddr, error: &dyn Error) {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = format!("{reason}: {error}");
        source = error.source();
    }
    tracing::info!(%peer, %reason, "refused");
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // The message may hold anything, so it is not repeated here.
        tracing::error!("a session ended by a fault of this program");
    }
}
