//! Three files of networkd, split at zero bytes, are read; what is made of them goes into the image as
//! it is meant.
#![no_main]

#[path = "../shared/found.rs"]
mod found;

use libfuzzer_sys::fuzz_target;
use nightlatch_admin::network::networkd::read;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\0');
    let names = ["a.link", "b.netdev", "c.network"];
    let files = names.map(|name| (name.into(), name, parts.next().unwrap_or_default()));
    found::check(read(&files), text);
});
