//! Destinations of the tries.

use std::fmt;
use std::net::SocketAddr;

/// An address or a name to connect to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::client) enum Destination {
    /// An address; a link-local one has its scope.
    Address(SocketAddr),
    /// A name to resolve at each try, and a port.
    Name(String, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}
