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
mod peer_watch;
pub mod process;
pub mod programs;
pub mod pty;
pub mod screen;
pub mod server;
pub mod site;

/// One test, two servers: makes each function of a [`programs::Whose`] a test of the stock server and
/// one of ours.
#[macro_export]
macro_rules! both_servers {
    ($($test:ident)*) => {
        mod stock_server {
            use nightlatch_interop::programs::Whose;
            $(#[test] fn $test() { super::$test(Whose::Stock); })*
        }
        mod our_server {
            use nightlatch_interop::programs::Whose;
            $(#[test] fn $test() { super::$test(Whose::Ours); })*
        }
    };
}
