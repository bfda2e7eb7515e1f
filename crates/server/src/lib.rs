//! nightlatchd: keeps watch over machines and releases their secrets.
//!
//! A thin shell around `nightlatch-core`: sockets, processes, clocks and the store live here,
//! decisions do not.
#![forbid(unsafe_code)]

pub mod limits;
pub mod listen;
pub mod publish;
pub mod session;
