//! The applet `client`: finds a server and fetches the disk password.

pub mod connect;
pub mod interfaces;
