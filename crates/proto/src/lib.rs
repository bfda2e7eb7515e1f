//! The network protocols: the greeting, the two TLS roles, the release protocol inside them, service discovery, the
//! proof of an SSH host key, echo messages. No sockets here.
//!
//! The only crate that builds rustls configurations.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod discovery;
pub mod echo;
pub mod greeting;
pub mod local;
pub mod priority;
pub mod release;
pub mod ssh;
pub mod tls;
