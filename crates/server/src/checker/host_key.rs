//! `builtin:ssh-hostkey`: connects to the machine's SSH server, which proves its host key.
//!
//! Names, sockets and deadlines; the proof itself is in `nightlatch_proto::ssh`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nightlatch_core::connect::TargetError;
use nightlatch_core::ssh::{self, HostKey};
use nightlatch_proto::ssh::{HostKeyProof, ProofError, ProofProgress, disconnect_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lookup::{first_success, look_up};

/// Longest time of a check, from the name to the signature: a small machine under load needs seconds for a
/// signature, and one that hangs must not delay the checks of others.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest time for sending the disconnect message, on which nothing depends.
const FAREWELL: Duration = Duration::from_millis(100);

/// Bytes per read.
const BUFFER: usize = 4096;

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
    #[error("its SSH server proved nothing within {} seconds, the lookup of its name included", .0.as_secs())]
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
    let target = ssh::parse_endpoint(host)?;
    let addresses = look_up(target.host, target.port.get())
        .await
        .map_err(HostKeyCheckError::Name)?;
    let prove = |address| {
        let key = key.clone();
        async move { prove(address, &key).await }
    };
    first_success(addresses, prove, HostKeyCheckError::is_other_host)
        .await
        .map_err(|error| error.unwrap_or(HostKeyCheckError::NoAddress))
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
