//! Files of systemd-networkd are read or remarked on, and what is read can be carried out. Lines of a single
//! `>` and a kind begin another file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_admin::network::networkd::read;

#[path = "../found.rs"]
mod found;

fuzz_target!(|text: &str| {
    let mut files = Vec::new();
    for part in text.split("\n>") {
        let (kind, text) = part.split_once('\n').unwrap_or((part, ""));
        let name = match kind {
            "netdev" => "f.netdev",
            "link" => "f.link",
            _ => "f.network",
        };
        files.push(("f".into(), name, text));
    }
    files.sort_by_key(|(_, name, _)| *name);
    found::check(text, read(&files));
});
