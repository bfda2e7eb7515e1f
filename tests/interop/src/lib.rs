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

/// Makes each function of a [`programs::Project`] two tests: one of the stock server and one of ours.
#[macro_export]
macro_rules! both_servers {
    ($($test:ident)*) => {
        mod stock_server {
            use nightlatch_interop::programs::Project;
            $(#[test] fn $test() { super::$test(Project::Stock); })*
        }
        mod our_server {
            use nightlatch_interop::programs::Project;
            $(#[test] fn $test() { super::$test(Project::Ours); })*
        }
    };
}
