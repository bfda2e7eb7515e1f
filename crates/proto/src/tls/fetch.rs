//! Reading what a server sends to a machine that has asked for its disk password.

use std::io::{self, Read};

use nightlatch_core::key_id::KeyId;
use nightlatch_core::secret::{Secret, SecretBuffer};
use zeroize::Zeroizing;

use super::PeerError;
use crate::release::{
    HEADER_LEN, Header, MessageError, ReasonWord, Refused, Reply, Terms, Waiting,
};

/// The size of one read: one TLS record (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;

/// The payload and the facts that came with it.
#[derive(Debug)]
pub struct FetchedSecret {
    /// The encrypted secret, complete.
    pub payload: Secret,
    /// The server's own key, if it proved one.
    pub server_key: Option<KeyId>,
    /// Present after a rehearsal.
    pub terms: Option<Terms>,
}

/// A failure to get the payload. For the machine's own log; the server does not get it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server gave no reason: unknown key, disabled, denied.
    #[error("the server gave nothing: it does not know this machine, or refuses it")]
    Refused,
    /// The server said why, which it does to a machine that is up.
    #[error("the server refuses: {0}")]
    RefusedFor(ReasonWord),
    /// The connection ended before the server had marked the payload's end.
    #[error("the payload was cut off after {received} bytes")]
    Truncated {
        /// Bytes received before the end.
        received: usize,
    },
    /// More than the caller was willing to take.
    #[error("the payload is longer than {max} bytes")]
    TooLong {
        /// The caller's limit in bytes.
        max: usize,
    },
    /// A message that does not keep to the protocol.
    #[error("the server sent a message that is not valid")]
    Message(#[from] MessageError),
    /// A valid message that answers something else.
    #[error("the server did not answer the request, but sent {0}")]
    OtherReply(&'static str),
    /// A rehearsal with a server that knows none.
    #[error(
        "the server does not speak nightlatch/1, as a Mandos server does not: it does not support rehearsals and would count this as a boot"
    )]
    NoRehearsal,
    /// There is a list of trusted servers, and this one showed no key.
    #[error("the server proved no key, but only servers with a trusted key are believed")]
    ServerUnproven,
    /// There is a list of trusted servers, and this one is not on it.
    #[error("the server's key {0} is not among the trusted ones")]
    ServerUntrusted(KeyId),
    /// The server does not keep to the protocol.
    #[error("the handshake with the server failed")]
    Peer(#[from] PeerError),
    /// The connection failed, or a deadline on it passed.
    #[error("the connection to the server failed")]
    Io(#[from] io::Error),
}

/// Reads a payload without framing, up to the server's close_notify.
pub(super) fn to_end(tls: &mut impl Read, max: usize) -> Result<Secret, FetchError> {
    let mut payload = SecretBuffer::default();
    let mut record = Zeroizing::new([0; RECORD]);
    loop {
        match tls.read(record.as_mut()) {
            Ok(0) => return Ok(payload.finish()),
            Ok(n) if n > max - payload.len() => return Err(FetchError::TooLong { max }),
            Ok(n) => payload.append(&record[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(FetchError::Truncated {
                    received: payload.len(),
                });
            }
            Err(error) => return Err(io_error(error)),
        }
    }
}

/// Reads the replies to a request for the boot secret, up to the server's close_notify. A rehearsal has its terms before
/// the secret.
pub(super) fn boot_secret(
    tls: &mut impl Read,
    max: usize,
    rehearsal: bool,
    waiting: &mut dyn FnMut(&Waiting),
) -> Result<(Secret, Option<Terms>), FetchError> {
    let mut terms = None;
    let payload = loop {
        let Some(header) = read_header(tls)? else {
            return Err(FetchError::Refused);
        };
        let body = read_body(tls, header)?;
        match Reply::parse(header, body.expose())? {
            Reply::Waiting(why) => waiting(&why),
            Reply::Terms(its) if rehearsal && terms.is_none() => terms = Some(its),
            Reply::Secret(head, payload) if head.name.is_boot() && rehearsal == terms.is_some() => {
                if payload.len() > max {
                    return Err(FetchError::TooLong { max });
                }
                let mut copy = SecretBuffer::default();
                copy.append(payload);
                break copy.finish();
            }
            Reply::Refused(Refused { reason, .. }) => {
                // A boot gets no reason. Whoever gives one may be no server of ours, and it would be on the console.
                let reason = reason.filter(|_| rehearsal);
                return Err(reason.map_or(FetchError::Refused, FetchError::RefusedFor));
            }
            other => return Err(FetchError::OtherReply(other.kind())),
        }
    };
    match read_header(tls)? {
        None => Ok((payload, terms)),
        Some(_) => Err(FetchError::OtherReply("a message after the secret")),
    }
}

/// The next header; `None` at the server's close_notify.
pub(super) fn read_header(tls: &mut impl Read) -> Result<Option<Header>, FetchError> {
    let mut header = [0; HEADER_LEN];
    match read_full(tls, &mut header)? {
        0 => Ok(None),
        HEADER_LEN => Ok(Some(Header::of_reply(header)?)),
        received => Err(FetchError::Truncated { received }),
    }
}

pub(super) fn read_body(tls: &mut impl Read, header: Header) -> Result<Secret, FetchError> {
    let mut body = SecretBuffer::default();
    let mut record = Zeroizing::new([0; RECORD]);
    while body.len() < header.body_len() {
        let wanted = (header.body_len() - body.len()).min(RECORD);
        let part = &mut record[..wanted];
        let read = read_full(tls, part)?;
        body.append(&part[..read]);
        if read < wanted {
            return Err(FetchError::Truncated {
                received: body.len(),
            });
        }
    }
    Ok(body.finish())
}

/// Reads until `buffer` is full or the server has sent its close_notify; returns the number of bytes.
fn read_full(tls: &mut impl Read, buffer: &mut [u8]) -> Result<usize, FetchError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match tls.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(FetchError::Truncated { received: filled });
            }
            Err(error) => return Err(io_error(error)),
        }
    }
    Ok(filled)
}

pub(super) fn handshake_error(error: io::Error) -> FetchError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FetchError::Peer(PeerError::Closed),
        _ => io_error(error),
    }
}

/// rustls reports what the peer did wrong inside an `io::Error`.
pub(super) fn io_error(error: io::Error) -> FetchError {
    match PeerError::from_io(&error) {
        Some(peer) => FetchError::Peer(peer),
        None => FetchError::Io(error),
    }
}
