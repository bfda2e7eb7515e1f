//! Accepts connections on the listening sockets, within the limits, and starts a task for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::log::ConnectionLog;
use super::{Gatekeeper, Sessions};
use crate::limits::{ConnectionLimits, Slot};

/// Pause after accept(2) failed: with no descriptors left, every try fails at once and would keep a core
/// busy.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Serves connections to `listeners` until `stop` is ready.
///
/// Then nothing more is accepted and open connections end at once: a secret that was not sent as a whole
/// counts as not delivered, and its machine asks again.
pub async fn serve<G: Gatekeeper>(
    listeners: Vec<std::net::TcpListener>,
    sessions: Sessions<G>,
    limits: ConnectionLimits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    limits.ensure(listeners.len());
    let sessions = Arc::new(sessions);
    let log = Arc::new(ConnectionLog::new());
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        tracing::info!(
            "now listening on address '{}', port {}",
            address.ip(),
            address.port()
        );
        acceptors.spawn(accept_all(
            listener,
            address,
            Arc::clone(&sessions),
            limits.clone(),
            Arc::clone(&log),
        ));
    }
    let ended = tokio::select! {
        () = stop => Ok(()),
        // They never end by themselves.
        Some(ended) = acceptors.join_next() => ended.map_err(io::Error::other),
        () = log.close_windows() => Ok(()),
    };
    log.finish();
    ended
}

async fn accept_all<G: Gatekeeper>(
    listener: TcpListener,
    address: SocketAddr,
    sessions: Arc<Sessions<G>>,
    limits: ConnectionLimits,
    log: Arc<ConnectionLog>,
) {
    let mut open = JoinSet::new();
    let mut is_failing = false;
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
            Ok((stream, peer)) => {
                is_failing = false;
                match limits.admit(room, peer.ip()) {
                    Ok(slot) => {
                        let sessions = Arc::clone(&sessions);
                        open.spawn(run_session(sessions, stream, peer, slot, Arc::clone(&log)));
                    }
                    Err(error) => log.turned_away(peer, error),
                }
            }
            // The peer closed before we accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    log.cannot_accept(address, &error);
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

async fn run_session<G: Gatekeeper>(
    sessions: Arc<Sessions<G>>,
    stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
    log: Arc<ConnectionLog>,
) {
    let ended = sessions.run(stream, address, &slot).await;
    log.ended(address, &ended);
    drop(slot);
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // The message may hold anything, so it is not repeated here.
        tracing::error!("a session ended by a fault of this program");
    }
}
