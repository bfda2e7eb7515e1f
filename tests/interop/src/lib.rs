//! One test, two programs: what runs Nightlatch and stock Mandos side by side.
//!
//! Every guard here ends what it started and removes what it made when it is dropped.
#![forbid(unsafe_code)]

pub mod administered;
pub mod avahi;
pub mod client;
pub mod dbus;
pub mod machine;
pub mod netns;
pub mod process;
pub mod programs;
pub mod server;
pub mod site;
