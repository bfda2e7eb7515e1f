//! Names and addresses for built-in checkers.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};

use nightlatch_core::connect::{Scope, TargetHost};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

/// Addresses of one name that are tried at once: a name with more is not of a single machine.
const MAX_ADDRESSES: usize = 8;

/// Concurrent lookups of names. A lookup cannot be cancelled and may take far longer than its check.
const MAX_LOOKUPS: usize = 64;

static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));

/// The addresses of `host` with `port`, at most eight. May be dropped at any time; a lookup under way then ends by
/// itself.
pub(super) async fn look_up(host: TargetHost, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = match host {
        TargetHost::Address(address) => return Ok(vec![SocketAddr::new(address, port)]),
        TargetHost::LinkLocal(address, None) => address.to_string(),
        TargetHost::LinkLocal(address, Some(Scope::Index(index))) => format!("{address}%{index}"),
        TargetHost::LinkLocal(address, Some(Scope::Name(name))) => format!("{address}%{name}"),
        TargetHost::Name(name) => name,
    };
    // The semaphore is never closed.
    let permit = Arc::clone(&LOOKUPS).acquire_owned().await;
    let looked_up = spawn_blocking(move || {
        let _permit = permit;
        let addresses = (name.as_str(), port).to_socket_addrs()?;
        Ok(addresses.take(MAX_ADDRESSES).collect())
    });
    // A panic of ours finds no address.
    looked_up.await.unwrap_or_else(|_| Ok(Vec::new()))
}

/// Makes `attempt` at all addresses side by side, until one succeeds. Otherwise fails with the first error that
/// `is_decisive`, or with the last one; with `None` when there was no address.
pub(super) async fn first_success<A, E>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    attempt: impl Fn(SocketAddr) -> A,
    is_decisive: fn(&E) -> bool,
) -> Result<(), Option<E>>
where
    A: Future<Output = Result<(), E>> + Send + 'static,
    E: Send + 'static,
{
    let mut attempts: JoinSet<_> = addresses.into_iter().map(attempt).collect();
    let mut told: Option<E> = None;
    while let Some(ended) = attempts.join_next().await {
        match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if !told.as_ref().is_some_and(is_decisive) => told = Some(error),
            // A panic of ours is no success.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(told)
}
