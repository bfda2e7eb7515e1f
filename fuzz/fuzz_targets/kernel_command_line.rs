//! Any kernel's command line is read, and what it asks for are options that the client understands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_boot::client::options::{Options, parse};
use nightlatch_boot::kernel_command_line::Parameters;

fuzz_target!(|line: &str| {
    let parameters = Parameters::parse(line);
    parameters.needs_addresses(None);
    let arguments = parameters.arguments().into_iter().map(Into::into);
    assert!(parse(Options::default(), arguments).is_ok());
});
