//! The words that a server and the administrator's tools share on D-Bus: names, properties, the picture
//! of a client, introspection; and, for the tools, calling a server and hearing its signals.
//!
//! No policy and no printing: what may be done is decided by the server, what is shown by the tools.
#![forbid(unsafe_code)]

pub mod client;
pub mod error;
pub mod introspect;
mod managed;
pub mod many;
pub mod moment;
pub mod names;
pub mod own;
pub mod property;
pub mod proxy;
pub mod signal;

pub use zbus::block_on;
