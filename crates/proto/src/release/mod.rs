//! The protocol `nightlatch/1`, which a machine and a Nightlatch server speak inside TLS: one request of the machine,
//! then replies of the server, then `close_notify`.
//!
//! A codec without sockets. The reader takes a header of [`HEADER_LEN`] bytes, which gives the length of the body and is
//! refused if that is too long, then the body, for [`Request::parse`] or [`Reply::parse`]. `docs/protocol.md` has
//! the order of messages and an example of each exchange.
//!
//! A message is its type (1 byte), the length of its body (3 bytes, big endian) and fields. A field is its tag (1
//! byte), the length of its value (3 bytes) and its value. Tags come in ascending order; only those that say so
//! come more than once. An unknown tag below 128 is ignored, so that later versions can add what older ones need not
//! know; any other is refused.

mod frame;
mod poke;
mod reply;
mod request;

#[cfg(test)]
mod tests;

pub use frame::{HEADER_LEN, Header, MessageError, ReasonWord, Tag};
pub use poke::{POKE_LEN, Poke, Token};
pub use reply::{Accepted, Refused, Reply, SecretHead, Terms, WaitReason, Waiting};
pub use request::{Goodbye, Heartbeat, Request, SecretQuery};

/// The name of the protocol in ALPN (RFC 7301). A server offers it; a machine that selects it speaks it.
pub const ALPN: &[u8] = b"nightlatch/1";

/// The longest body of a request, and of each reply but one with a secret. In bytes.
pub const MAX_BODY: usize = 4 * 1024;

/// The longest encrypted secret, in bytes. Mandos has no limit of its own; three bytes of length allow 16 MiB.
pub const MAX_PAYLOAD: usize = 15 * 1024 * 1024;

/// The longest body of a reply with a secret, in bytes: the payload and the fields before it.
pub const MAX_SECRET_BODY: usize = MAX_PAYLOAD + MAX_BODY;

/// The greatest number of earlier boots in one heartbeat.
pub const MAX_EARLIER_BOOTS: usize = 8;
