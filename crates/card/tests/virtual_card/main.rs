//! The whole program with a real pcscd, a virtual card in it, and the programs of OpenSSH as clients.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod apdus;
mod clients;
mod doctor;
mod faults;
mod hosts;
mod jobs;
mod logins;
mod sshd;
mod unlock_unit;
mod world;
