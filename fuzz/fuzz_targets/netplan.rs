//! A file of netplan is read; what is made of it goes into the image as it is meant.
#![no_main]

#[path = "../shared/found.rs"]
mod found;

use libfuzzer_sys::fuzz_target;
use nightlatch_admin::network::netplan::read;

fuzz_target!(|text: &str| {
    found::check(read(&[("file".into(), text)]), text);
});
