//! The D-Bus interfaces that a server and the administrator's tools share: names, properties, a client's state,
//! introspection; and, for the tools, calling a server and receiving its signals.
//!
//! No policy and no printing: what may be done is decided by the server, what is shown by the tools.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
pub mod concurrent;
pub mod error;
pub mod introspect;
mod managed;
pub mod moment;
pub mod named_secrets;
pub mod names;
pub mod own;
pub mod property;
pub mod proxy;
pub mod signal;

pub use zbus::block_on;
