//! The lives of the packages in real Debian systems: installed, upgraded, removed, come back, purged. `make deb-test`
//! builds the packages first.

mod agent;
mod client;
mod inhibit;
mod key_socket;
mod mandos;
mod named_secrets;
mod server;
mod sysv;
