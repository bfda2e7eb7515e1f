//! The proof of an SSH host: signatures of host keys, host certificates, and the lists of known hosts.
//!
//! Pure: the caller reads files and clocks. No key exchange and no TLS here, so that a program which only checks signatures
//! links neither (docs/decisions/0190).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod certificate;
pub mod known_hosts;
mod signature;

pub use signature::{SignatureError, verify, verify_by_any};
