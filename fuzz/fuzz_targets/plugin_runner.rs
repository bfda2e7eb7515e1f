//! A configuration file of the plugin runner that is read means the same as a command line of its words.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use nightlatch_boot::cli::CliAction;
use nightlatch_boot::plugin_runner::options::{parse, parse_with};

fuzz_target!(|config: &[u8]| {
    let from_file = parse_with(config, &[]);
    if config.contains(&b'#') {
        return;
    }
    let words = config.split(u8::is_ascii_whitespace);
    let words = words.filter(|word| !word.is_empty());
    let words: Vec<OsString> = words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    match (from_file, parse(&words)) {
        (Ok(file), Ok(CliAction::Run(line))) => assert_eq!(file, line),
        // The other things to ask for have no place in a file.
        (Err(_), Err(_) | Ok(_)) => {}
        (Ok(file), other) => panic!("the file means {file:?}, the command line {other:?}"),
    }
});
