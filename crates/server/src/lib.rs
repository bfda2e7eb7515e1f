//! nightlatchd: keeps watch over machines and releases their secrets.
//!
//! A thin shell around `nightlatch-core`: sockets, processes, clocks and the store live here,
//! decisions do not.
#![forbid(unsafe_code)]

mod checker;
pub mod driver;
pub mod limits;
pub mod listen;
pub mod publish;
mod random;
pub mod session;
