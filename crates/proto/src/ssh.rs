//! The part of an SSH client (RFC 4253) that checks the server's host key: from the greeting to the signature over the
//! exchange hash. Nothing is encrypted, because nothing follows.
//!
//! Without sockets: bytes go in and come out. Only a verified signature gives a [`Verified`], the proof that the server
//! holds the private half of the pinned key.

mod exchange;
mod kex;
mod packet;
mod signature;

use nightlatch_core::ssh::HostKey;
use nightlatch_core::ssh::wire::Malformed;

use exchange::Exchange;

/// The server has signed this exchange with the pinned key. Made by `signature::verify` alone.
#[derive(PartialEq, Eq, Debug)]
pub struct Verified(());

/// The result of one step of the exchange.
#[derive(PartialEq, Eq, Debug)]
pub enum ProofProgress {
    /// More bytes are needed. What there is to send comes first.
    Continue {
        /// Bytes for the server, perhaps none.
        send: Vec<u8>,
    },
    /// The server holds the key.
    Proved(Verified),
}

/// The server did not prove that it holds the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// No SSH server, or an old one.
    #[error("expected an SSH 2.0 server, found something else")]
    NoSsh,
    /// A message that is too short, too long, or of a form that the protocol forbids.
    #[error("the SSH server sent a malformed message")]
    Malformed,
    /// A message that has no place here.
    #[error("the SSH server sent message {0} before its turn")]
    Unexpected(u8),
    /// More bytes than an exchange needs.
    #[error("the SSH server sends without end")]
    Flood,
    /// Nothing in common.
    #[error("the SSH server and this program have no {0} in common")]
    NothingInCommon(&'static str),
    /// The server broke off.
    #[error("the SSH server broke off (reason {0})")]
    Disconnected(u32),
    /// Another key than the pinned one.
    #[error("the SSH server has another host key than the pinned one")]
    OtherKey,
    /// A signature of another algorithm than the agreed one.
    #[error("the SSH server signed by another algorithm than the agreed one")]
    OtherAlgorithm,
    /// The server has only the public key.
    #[error("the SSH server shows the pinned host key but cannot sign with it")]
    BadSignature,
    /// This program's own random numbers or keys failed.
    #[error("cannot make a key for the exchange")]
    OwnKey,
}

impl ProofError {
    /// True when another host than the machine answered.
    pub fn is_other_host(&self) -> bool {
        matches!(
            self,
            Self::OtherKey | Self::BadSignature | Self::OtherAlgorithm
        )
    }
}

impl From<Malformed> for ProofError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A proof of a host key under way.
#[derive(Debug)]
pub struct HostKeyProof<'k>(Exchange<'k>);

impl<'k> HostKeyProof<'k> {
    /// Begins a proof of `pinned`, with the first bytes for the server.
    pub fn begin(pinned: &'k HostKey) -> (Self, Vec<u8>) {
        let (exchange, first) = Exchange::begin(pinned);
        (Self(exchange), first)
    }

    /// Takes bytes from the server, in whatever pieces they come.
    ///
    /// # Errors
    /// Nothing that follows an error can prove anything: drop it then.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<ProofProgress, ProofError> {
        self.0.receive(bytes)
    }
}

/// The message to send after the proof: a disconnection "by application".
pub fn disconnect_message() -> Vec<u8> {
    packet::disconnect_message()
}

#[cfg(test)]
mod tests;
