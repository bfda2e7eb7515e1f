//! Any kernel's command line is read, what it asks for are options that the client understands, and an interface that was
//! found is found again in every other form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_boot::client::options::{ClientOptions, parse};
use nightlatch_core::connect::ServerList;
use nightlatch_core::kernel_command_line::KernelParameters;
use nightlatch_core::network::Definition;

fuzz_target!(|line: &str| {
    let parameters = KernelParameters::parse(line);
    parameters.needs_addresses(&ServerList::default(), &Definition::default());
    let arguments = parameters.arguments().into_iter().map(Into::into);
    assert!(parse(ClientOptions::default(), arguments).is_ok());
    for device in &parameters.devices {
        for form in [
            format!("ip={device}:dhcp:1500:52:54:00:12:34:56"),
            format!("ip=[fe80::1]::[fe80::2]:64:host:{device}:none:1500:52:54:00:12:34:56"),
            format!("ip=:::::{device}:dhcp:9.9.9.9:[2001:db8::53]"),
        ] {
            // Separators of the line are never part of a name.
            assert_eq!(KernelParameters::parse(&form).devices, [device.clone()], "{form}");
        }
    }
});
