use proptest::prelude::*;

use super::*;

fn arguments(line: &str) -> Vec<String> {
    let parameters = KernelParameters::parse(line);
    assert_eq!(parameters.warnings, Vec::<String>::new(), "{line}");
    parameters.arguments()
}

#[test]
fn off_works_under_both_names() {
    for on in [
        "",
        "quiet off",
        "mandos=",
        "nightlatch=connect",
        "xmandos=off",
        "mandos",
    ] {
        assert!(!KernelParameters::parse(on).off, "{on}");
    }
    for off in [
        "mandos=off",
        "x nightlatch=off\n",
        "mandos=connect,off",
        "\"mandos=off\"",
        "mandos=0",
    ] {
        assert!(KernelParameters::parse(off).off, "{off}");
    }
}

// intro(8mandos) and mandos-client(8mandos): the last colon separates the port.
#[test]
fn a_server_is_named_with_or_without_brackets() {
    assert_eq!(
        arguments("mandos=connect:192.0.2.1:47"),
        ["--connect=none", "--connect=192.0.2.1:47"]
    );
    assert_eq!(
        arguments("ro nightlatch=connect:fe80::1:4711 quiet"),
        ["--connect=none", "--connect=[fe80::1]:4711"]
    );
    assert_eq!(
        arguments("nightlatch=connect:[fe80::1%eth0]:4711"),
        ["--connect=none", "--connect=[fe80::1%eth0]:4711"]
    );
    for several in [
        "mandos=connect:192.0.2.1:47,connect:::1:47",
        "mandos=connect:192.0.2.1:47 nightlatch=connect,connect:[::1]:47,connect:192.0.2.1:47",
    ] {
        assert_eq!(
            arguments(several),
            [
                "--connect=none",
                "--connect=192.0.2.1:47",
                "--connect=[::1]:47"
            ]
        );
    }
    assert_eq!(arguments("mandos=connect"), Vec::<String>::new());
}

#[test]
fn the_sixth_field_of_ip_is_the_interface() {
    assert_eq!(
        arguments("ip=10.0.2.15::10.0.2.2:255.255.255.0::enp0s2:off"),
        ["--interface=enp0s2"]
    );
    assert_eq!(
        arguments("ip=[2001:db8::5]::[2001:db8::1]:64:host:eth0:none ip=eth1:dhcp ip=eth0:on"),
        ["--interface=eth0,eth1"]
    );
    for none in [
        "ip=dhcp",
        "ip=",
        "ip=10.0.2.15::10.0.2.2:255.255.255.0",
        "ip=[2001:db8::5/64]::[2001:db8::1]:64:host",
        "ip=192.0.2.7/24::192.0.2.1:255.255.255.0:host::none:9.9.9.9",
        "ip=:::::",
        "ifname=eth5:52:54:00:12:34:56 BOOTIF=01-52-54-00-12-34-56",
        "zip=:::::eth0",
    ] {
        assert_eq!(arguments(none), Vec::<String>::new(), "{none}");
    }
}

// dracut.cmdline(7): "ip=<interface>:{dhcp|on|any|dhcp6|auto6|link6}[:[<mtu>][:<macaddr>]]".
#[test]
fn an_interface_in_the_first_field_is_used_with_any_other_fields() {
    for (line, device) in [
        ("ip=eth0:dhcp:1500:52:54:00:12:34:56", "eth0"),
        ("ip=eth0:dhcp::52:54:00:12:34:56", "eth0"),
        ("ip=eth0:dhcp:9000", "eth0"),
        ("ip=eth0:dhcp6", "eth0"),
        ("ip=eth0:dhcp,dhcp6", "eth0"),
        ("ip=eth0:link-local:1500:52:54:00:12:34:56", "eth0"),
        ("ip=eth0:some-new-method:1500:52:54:00:12:34:56", "eth0"),
        ("ip=enp0s31f6.5:on", "enp0s31f6.5"),
        // An interface although all its characters are hexadecimal digits.
        ("ip=fade0:auto6:1500:52:54:00:12:34:56", "fade0"),
        (
            "ip=192.0.2.7:[2001:db8::9]:192.0.2.1:255.255.255.0:00:eth1:none:1500:52:54:00:12:34:56",
            "eth1",
        ),
        (
            "ip=[fe80::1]::[fe80::2]:64:dhcp:eth1:none:[2001:db8::53]:9.9.9.9",
            "eth1",
        ),
        ("ip=::::::dhcp ip=eth2:dhcp", "eth2"),
        ("ip=::::host:eth3:ibft", "eth3"),
    ] {
        assert_eq!(arguments(line), [format!("--interface={device}")], "{line}");
    }
    let two = "ip=eth0:dhcp:1500:52:54:00:12:34:56 ip=eth1:dhcp6 ip=eth0:auto6";
    assert_eq!(arguments(two), ["--interface=eth0,eth1"]);
}

#[test]
fn values_that_are_not_understood_become_warnings() {
    for (line, told) in [
        (
            "mandos=on",
            "left out mandos=on: expected off, connect or connect:ADDRESS:PORT",
        ),
        (
            "nightlatch=connect:x",
            "left out nightlatch=connect:x: expected ADDRESS:PORT, such as 192.0.2.7:4711 or [fe80::1%eth0]:4711; \
             found no port",
        ),
        (
            "ip=:::::a/b:",
            "left out \"a/b\" in ip=:::::a/b:: expected the name of a network interface",
        ),
        (
            "ip=52-54-00-12-34-56:dhcp",
            "left out \"52-54-00-12-34-56\" in ip=52-54-00-12-34-56:dhcp: expected the name of a network interface",
        ),
        (
            "ip=2001:db8::5::2001:db8::1:64:host:eth0:none",
            "left out \"2001\" in ip=2001:db8::5::2001:db8::1:64:host:eth0:none: expected an IPv4 address, an IPv6 \
             address in brackets, or the name of a network interface",
        ),
    ] {
        let parameters = KernelParameters::parse(line);
        assert_eq!(parameters.warnings, [told]);
        assert!(!parameters.off && parameters.arguments().is_empty());
    }
    // The other items of a list are used.
    assert!(KernelParameters::parse("mandos=nonsense,off").off);
}

#[test]
fn addresses_are_configured_only_where_a_server_needs_them() {
    let network = |text: &str| Definition::recover(text).0;
    let (nowhere, routed) = (network(""), network("[eth0]\naddresses = 192.0.2.7/24\n"));
    let needs = |line: &str, list: &str, network: &Definition| {
        KernelParameters::parse(line).needs_addresses(&ServerList::parse_list(list), network)
    };
    for (line, needed, with_other) in [
        ("", false, true),
        ("ip=dhcp", false, true),
        ("ip=off", false, false),
        ("ip=none", false, false),
        ("ip=off ip=dhcp", false, true),
        ("ip=dhcp ip=off", false, false),
        ("mandos=connect", true, true),
        ("mandos=connect ip=off", false, false),
        ("mandos=connect,off", false, false),
        ("mandos=connect:192.0.2.1:47", true, true),
        ("mandos=connect:server.example:47", true, true),
        ("mandos=connect:fe80::1:47", false, false),
        ("mandos=connect:2001:db8::1:47", false, false),
        ("mandos=connect:2001:db8::1:47 ip=dhcp", true, true),
        ("mandos=connect:fe80::1:47,connect:::1:47", false, false),
        ("mandos=connect:fe80::1:47,connect:a.example:47", true, true),
    ] {
        assert_eq!(needs(line, "", &nowhere), needed, "{line}");
        assert_eq!(needs(line, "192.0.2.1:47", &nowhere), with_other, "{line}");
    }
    // Addresses in network.conf need no configuration.
    for (line, list, needed) in [
        ("", "192.0.2.1:47", false),
        ("", "192.0.2.1:47, 198.51.100.1:47", true),
        ("ip=dhcp", "192.0.2.1:47", true),
        ("mandos=connect", "192.0.2.1:47", true),
        ("mandos=connect:192.0.2.1:47", "", false),
    ] {
        assert_eq!(needs(line, list, &routed), needed, "{line} {list}");
    }
}

/// One of `parts`, or nothing.
fn optional(parts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), prop::sample::select(parts)]
}

const ADDRESSES: &[&str] = &["192.0.2.7", "[2001:db8::5]", "[fe80::1%2]", "10.0.0.1"];
const CLIENTS: &[&str] = &[
    "[2001:db8::5]/64",
    "192.0.2.7",
    "[2001:db8::5]",
    "192.0.2.7/24",
    "[2001:db8::5/64]",
];
const MASKS: &[&str] = &["255.255.255.0", "24", "64"];
const HOSTS: &[&str] = &["host", "host.example", "00", "dhcp", "eth9", "192.0.2.7"];
const MTUS: &[&str] = &["1500", "9000"];
const MACS: &[&str] = &[
    "52:54:00:12:34:56",
    "00:00:00:00:00:00",
    "fe:dc:ba:98:76:54",
];

prop_compose! {
    /// The fields that may follow the method.
    fn rest()(mtu in optional(MTUS), mac in optional(MACS), dns in optional(ADDRESSES), which in 0..4) -> String {
        match which {
            0 => String::new(),
            1 => format!(":{mtu}"),
            2 => format!(":{mtu}:{mac}"),
            _ => format!(":{dns}:{dns}:{dns}"),
        }
    }
}

proptest! {
    #[test]
    fn the_interface_is_found_in_every_form(
        device in "[a-z][a-z0-9]{0,8}(\\.[0-9]{1,3})?",
        (client, peer, gateway) in (optional(CLIENTS), optional(ADDRESSES), optional(ADDRESSES)),
        (mask, host) in (optional(MASKS), optional(HOSTS)),
        method in prop::sample::select(&METHODS[..]),
        rest in rest(),
    ) {
        prop_assume!(device != "none");
        for value in [
            format!("{device}:{method}{rest}"),
            format!("{client}:{peer}:{gateway}:{mask}:{host}:{device}:{method}{rest}"),
        ] {
            let parameters = KernelParameters::parse(&format!("ip={value}"));
            prop_assert_eq!(&*parameters.devices, std::slice::from_ref(&device), "{}", value);
            prop_assert!(parameters.warnings.is_empty() && parameters.configures_addresses);
        }
        let without = format!("ip={client}:{peer}:{gateway}:{mask}:{host}::{method}{rest}");
        prop_assert_eq!(KernelParameters::parse(&without).devices, Vec::<String>::new());
    }

    #[test]
    fn any_line_is_read(line in "((mandos|nightlatch|ip)=[-a-z0-9:,.%\\[\\]\"/ ]{0,40} ){0,3}|.*") {
        for argument in KernelParameters::parse(&line).arguments() {
            let value = argument.strip_prefix("--connect=");
            prop_assert!(value.is_none_or(|it| it == NONE || it.parse::<Target>().is_ok()));
        }
    }
}
