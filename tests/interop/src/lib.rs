//! One test, two programs: what runs Nightlatch and stock Mandos side by side.
//!
//! Every guard here ends what it started and removes what it made when it is dropped.
#![forbid(unsafe_code)]
// A harness panics where it cannot go on: that is how a test fails.
#![allow(clippy::unwrap_used)]

pub mod client;
pub mod dbus;
pub mod machine;
pub mod netns;
pub mod process;
pub mod programs;
pub mod server;
