//! A `--connect` target that is read survives printing, and so does a list of them, in the file and as options.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_core::connect::{ServerList, Target};

fuzz_target!(|text: &str| {
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target));
    }
    let servers = ServerList::parse_list(text);
    let written = servers.to_string();
    let again = ServerList::parse_list(&written);
    assert!(again.refused.is_empty() && again.repeated.is_empty());
    assert!(servers.targets().eq(again.targets()));
    let values: Vec<String> = servers.targets().map(ToString::to_string).collect();
    let options = ServerList::from_options(values.iter().map(String::as_str));
    assert_eq!(options.to_string(), written);
});
