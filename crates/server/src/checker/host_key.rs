//! `builtin:ssh-hostkey`: reaches the machine's SSH server and lets it prove its host key.
//!
//! The proof itself is `nightlatch_proto::ssh`'s; here are names, sockets and deadlines.

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

/// How long a check may take, from the name to the signature: a small machine under load needs seconds for
/// a signature, and one that hangs must not keep the others' checks waiting.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the last word may take to be sent: nothing depends on it.
const FAREWELL: Duration = Duration::from_millis(100);

/// Addresses of one name that are tried, side by side: names with more are no single machine's.
const MAX_ADDRESSES: usize = 8;

/// Names that are looked up at once. A lookup cannot be broken off and may outlive its check by far.
const MAX_LOOKUPS: usize = 64;

/// Bytes read at once.
const PIECE: usize = 4096;

static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));

/// Why a machine did not prove its host key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
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

impl Fault {
    /// Somebody else answers in the machine's place, or it has new keys: a person should know.
    pub(super) fn is_other_host(&self) -> bool {
        matches!(self, Self::Proof(error) if error.is_other_host())
    }
}

/// Ends well only after the server at `host` has signed with `key`. Dropped at any moment, it leaves
/// nothing behind but a lookup that ends by itself.
pub(super) async fn check(host: &str, key: &HostKey) -> Result<(), Fault> {
    within(LIMIT, host, key).await
}

async fn within(limit: Duration, host: &str, key: &HostKey) -> Result<(), Fault> {
    timeout(limit, reach(host, key))
        .await
        .unwrap_or(Err(Fault::Late(limit)))
}

async fn reach(host: &str, key: &HostKey) -> Result<(), Fault> {
    let addresses = look_up(ssh::endpoint(host)?).await?;
    let mut tries = JoinSet::new();
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let key = key.clone();
        tries.spawn(async move { prove(address, &key).await });
    }
    let mut worst = Fault::NoAddress;
    while let Some(ended) = tries.join_next().await {
        match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) if !worst.is_other_host() => worst = fault,
            // A panic of ours proves nothing.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(worst)
}

async fn look_up(target: Target) -> Result<Vec<SocketAddr>, Fault> {
    let port = target.port.get();
    let name = match target.host {
        TargetHost::Address(address) => return Ok(vec![SocketAddr::new(address, port)]),
        TargetHost::LinkLocal(address, None) => address.to_string(),
        TargetHost::LinkLocal(address, Some(Scope::Index(index))) => format!("{address}%{index}"),
        TargetHost::LinkLocal(address, Some(Scope::Name(name))) => format!("{address}%{name}"),
        TargetHost::Name(name) => name,
    };
    // Never closed.
    let permit = Arc::clone(&LOOKUPS).acquire_owned().await;
    let looked_up = spawn_blocking(move || {
        let _permit = permit;
        std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port)).map(Vec::from_iter)
    });
    match looked_up.await {
        Ok(addresses) => addresses.map_err(Fault::Name),
        Err(_) => Err(Fault::NoAddress),
    }
}

async fn prove(address: SocketAddr, key: &HostKey) -> Result<(), Fault> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut proof, first) = HostKeyProof::begin(key);
    stream.write_all(&first).await?;
    let mut bytes = vec![0; PIECE];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(Fault::Closed);
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
