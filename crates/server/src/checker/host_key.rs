//! `builtin:ssh-hostkey`: connects to the machine's SSH server, which proves its host key.
//!
//! Names, sockets and deadlines; the proof itself is in `nightlatch_proto::ssh`.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nightlatch_core::connect::{Scope, Target, TargetError, TargetHost};
use nightlatch_core::ssh::{self, HostKey};
use nightlatch_proto::ssh::{HostKeyProof, ProofError, ProofProgress, disconnect_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// Longest time of a check, from the name to the signature: a small machine under load needs seconds for a
/// signature, and one that hangs must not delay the checks of others.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest time for sending the disconnect message, on which nothing depends.
const FAREWELL: Duration = Duration::from_millis(100);

/// Addresses of one name that are tried at once: a name with more is not of a single machine.
const MAX_ADDRESSES: usize = 8;

/// Concurrent lookups of names. A lookup cannot be cancelled and may take far longer than its check.
const MAX_LOOKUPS: usize = 64;

/// Bytes per read.
const BUFFER: usize = 4096;

static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));

/// The machine did not prove its host key.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostKeyCheckError {
    #[error("its host is no address of an SSH server: {0}")]
    Host(#[from] TargetError),
    #[error("cannot look its host up: {0}")]
    Name(#[source] io::Error),
    #[error("its host has no address")]
    NoAddress,
    #[error("cannot reach its SSH server: {0}")]
    Network(#[from] io::Error),
    #[error("its SSH server closed the connection before it proved anything")]
    Closed,
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("its SSH server proved nothing within {} seconds", .0.as_secs())]
    Late(Duration),
}

impl HostKeyCheckError {
    /// True when another machine answers in its place, or it has new host keys: a person should know.
    pub(super) fn is_other_host(&self) -> bool {
        matches!(self, Self::Proof(error) if error.is_other_host())
    }
}

/// Succeeds only after the server at `host` has signed with `key`. May be dropped at any time; a lookup under
/// way then ends by itself.
pub(super) async fn check(host: &str, key: &HostKey) -> Result<(), HostKeyCheckError> {
    within(LIMIT, host, key).await
}

async fn within(limit: Duration, host: &str, key: &HostKey) -> Result<(), HostKeyCheckError> {
    timeout(limit, reach(host, key))
        .await
        .unwrap_or(Err(HostKeyCheckError::Late(limit)))
}

async fn reach(host: &str, key: &HostKey) -> Result<(), HostKeyCheckError> {
    let addresses = look_up(ssh::parse_endpoint(host)?).await?;
    let mut tries = JoinSet::new();
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let key = key.clone();
        tries.spawn(async move { prove(address, &key).await });
    }
    let mut worst = HostKeyCheckError::NoAddress;
    while let Some(ended) = tries.join_next().await {
        match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) if !worst.is_other_host() => worst = fault,
            // A panic of ours is not a proof.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(worst)
}

async fn look_up(target: Target) -> Result<Vec<SocketAddr>, HostKeyCheckError> {
    let port = target.port.get();
    let name = match target.host {
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
        std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port)).map(Vec::from_iter)
    });
    match looked_up.await {
        Ok(addresses) => addresses.map_err(HostKeyCheckError::Name),
        Err(_) => Err(HostKeyCheckError::NoAddress),
    }
}

async fn prove(address: SocketAddr, key: &HostKey) -> Result<(), HostKeyCheckError> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut proof, first) = HostKeyProof::begin(key);
    stream.write_all(&first).await?;
    let mut bytes = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(HostKeyCheckError::Closed);
        }
        match proof.receive(bytes.get(..count).unwrap_or_default())? {
            ProofProgress::Continue { send } => stream.write_all(&send).await?,
            ProofProgress::Proved(_) => {
                let _ = timeout(FAREWELL, stream.write_all(&disconnect_message())).await;
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
