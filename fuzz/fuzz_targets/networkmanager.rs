//! A connection of NetworkManager is read or remarked on, and what is read can be carried out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_admin::network::networkmanager::read;

#[path = "../found.rs"]
mod found;

fuzz_target!(|text: &str| found::check(text, read(&[("f".into(), text)])));
