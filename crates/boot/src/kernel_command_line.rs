//! What the kernel's command line asks of us: `mandos=` and `nightlatch=`, and `ip=`.
//!
//! The reading is pure. Whatever stands there, a machine comes up: what is not understood is told and left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nightlatch_core::connect::{Host, NONE, Servers, Target, is_interface_name};

/// Where the kernel tells it.
const FILE: &str = "/proc/cmdline";

/// Longer than any architecture's (`COMMAND_LINE_SIZE`).
const MAX_LENGTH: usize = 64 * 1024;

/// Both names of our own parameter.
const NAMES: [&str; 2] = ["mandos", "nightlatch"];

/// Which field of the kernel's form of `ip=` is the interface, from 0 (nfsroot of the kernel's documentation).
const DEVICE_FIELD: usize = 5;

/// How addresses are got, in all forms of `ip=`: the kernel's, those of dracut.cmdline(7), and NetworkManager's.
const METHODS: [&str; 22] = [
    "all",
    "any",
    "auto",
    "auto6",
    "bootp",
    "both",
    "dhcp",
    "dhcp4",
    "dhcp6",
    "either6",
    "fou",
    "ibft",
    "link-local",
    "link6",
    "local6",
    "none",
    "off",
    "on",
    "rarp",
    "shared",
    "single-dhcp",
    "static",
];

/// What it asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// Nothing is to be fetched at this boot.
    pub off: bool,
    /// A server is connected to, not searched for.
    pub connect: bool,
    /// These, side by side.
    pub targets: Vec<Target>,
    /// The interfaces that `ip=` names.
    pub devices: Vec<String>,
    /// The boot system has addresses to configure.
    pub addressed: bool,
    /// What was not understood.
    pub warnings: Vec<String>,
}

/// When the boot system configures addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addresses {
    /// The client does without.
    NotNeeded,
    /// Before the client searches.
    First,
    /// While it does: it reaches some of its servers without.
    Beside,
}

impl Parameters {
    /// Reads the kernel's command line of this boot.
    pub fn of_this_boot() -> Self {
        match crate::files::read_bounded(Path::new(FILE), MAX_LENGTH) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes)),
            Err(error) => Self {
                warnings: vec![format!("cannot read {FILE}: {error}")],
                ..Self::default()
            },
        }
    }

    /// Reads a kernel's command line.
    pub fn parse(line: &str) -> Self {
        let mut parameters = Self::default();
        for word in words(line) {
            match word.split_once('=') {
                Some((name, list)) if NAMES.contains(&name) => parameters.take_list(name, list),
                Some(("ip", value)) => parameters.take_ip(value),
                _ => {}
            }
        }
        parameters
    }

    /// The options of the client that mean the same. Servers replace those of options before them.
    pub fn arguments(&self) -> Vec<String> {
        let targets = self.targets.iter().map(ToString::to_string);
        let none = Some(NONE.to_owned()).filter(|_| !self.targets.is_empty());
        let servers = none.into_iter().chain(targets);
        let servers = servers.map(|server| format!("--connect={server}"));
        let devices = Some(self.devices.join(",")).filter(|names| !names.is_empty());
        let devices = devices.map(|names| format!("--interface={names}"));
        servers.chain(devices).collect()
    }

    /// Whether the boot system must configure addresses for the client to reach its servers. `others` are servers that
    /// the client's own options name; `is_routed` tells which addresses the client reaches with what it configures itself.
    ///
    /// IPv6 configures itself as soon as the client takes an interface up.
    pub fn addresses(&self, others: &Servers, is_routed: impl Fn(IpAddr) -> bool) -> Addresses {
        if self.off || (!self.connect && others.named.is_empty()) {
            return Addresses::NotNeeded;
        }
        let targets: Vec<&Target> = match self.targets.is_empty() {
            true => others.targets().collect(),
            false => self.targets.iter().collect(),
        };
        let needs = |target: &&&Target| match &target.host {
            Host::LinkLocal(..) | Host::Address(IpAddr::V6(_)) => false,
            Host::Address(address) => !is_routed(*address),
            Host::Name(_) => true,
        };
        let needing = targets.iter().filter(needs).count();
        // As with Mandos: `connect` alone asks for just this, and so does `ip=`.
        let asked = self.addressed || (self.connect && self.targets.is_empty());
        match needing {
            0 if !asked => Addresses::NotNeeded,
            some if targets.len() > 1 && some < targets.len() => Addresses::Beside,
            _ => Addresses::First,
        }
    }

    fn take_list(&mut self, name: &str, list: &str) {
        for value in list.split(',').filter(|value| !value.is_empty()) {
            match value.split_once(':') {
                None if matches!(value, "off" | "0") => self.off = true,
                None if value == "connect" => self.connect = true,
                Some(("connect", target)) => match target.parse() {
                    Ok(target) => {
                        self.connect = true;
                        if !self.targets.contains(&target) {
                            self.targets.push(target);
                        }
                    }
                    Err(error) => self
                        .warnings
                        .push(format!("left out {name}={value}: {error}")),
                },
                _ => self.warnings.push(format!(
                    "left out {name}={value}: expected off, connect or connect:ADDRESS:PORT"
                )),
            }
        }
    }

    fn take_ip(&mut self, value: &str) {
        let fields = fields(value);
        if let [method] = fields[..] {
            self.addressed |= !matches!(method, "" | "off" | "none");
            return;
        }
        self.addressed = true;
        let mut tell = |found: &str, expected: &str| {
            self.warnings.push(format!(
                "left out {found} in ip={value}: expected {expected}"
            ));
        };
        let Some(device) = device(&fields) else {
            return tell(
                &format!("{:?}", fields[0]),
                "an IPv4 address, an IPv6 address in brackets, or the name of a network interface",
            );
        };
        if device.is_empty() || self.devices.iter().any(|known| known == device) {
            return;
        }
        // An option of the client separates names by commas.
        match is_interface_name(device) && !device.contains(',') && device != "none" {
            true => self.devices.push(device.to_owned()),
            false => tell(&format!("{device:?}"), "the name of a network interface"),
        }
    }
}

/// The interface that the fields of `ip=` name, which may be none (empty); `None` when they make no sense.
///
/// The forms are told apart by what stands first. The kernel's begins with the machine's address, which may be empty:
/// `CLIENT:SERVER:GATEWAY:NETMASK:HOST:DEVICE:METHOD`, and what follows is of no interest. dracut's short one begins
/// with the interface: `DEVICE:METHOD[:MTU[:MAC]]`, where the MAC has colons of its own.
fn device<'f>(fields: &[&'f str]) -> Option<&'f str> {
    let (first, second) = (*fields.first()?, *fields.get(1)?);
    if first.is_empty() || is_address(first) {
        return Some(fields.get(DEVICE_FIELD).copied().unwrap_or_default());
    }
    // An IPv6 address without brackets looks like many fields.
    let of_address = first.bytes().all(|digit| digit.is_ascii_hexdigit());
    (!of_address || is_method(second)).then_some(first)
}

/// Also with its length, as NetworkManager allows.
fn is_address(field: &str) -> bool {
    let without_length = |text: &'_ str| text.split('/').next().unwrap_or_default().to_owned();
    match field
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((inner, rest)) => {
            without_length(inner).parse::<Ipv6Addr>().is_ok() && without_length(rest).is_empty()
        }
        None => without_length(field).parse::<Ipv4Addr>().is_ok(),
    }
}

/// dracut allowed several with commas between them.
fn is_method(field: &str) -> bool {
    field.split(',').all(|method| METHODS.contains(&method))
}

/// Words with white space between them; double quotes hold some together and are not part of them.
fn words(line: &str) -> impl Iterator<Item = String> {
    let mut quoted = false;
    let words = line.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    });
    words.map(|word| word.replace('"', ""))
}

/// Fields with colons between them; those within brackets belong to an IPv6 address.
fn fields(value: &str) -> Vec<&str> {
    let mut inside = false;
    let fields = value.split(move |c: char| {
        inside = (inside || c == '[') && c != ']';
        !inside && c == ':'
    });
    fields.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arguments(line: &str) -> Vec<String> {
        let parameters = Parameters::parse(line);
        assert_eq!(parameters.warnings, Vec::<String>::new(), "{line}");
        parameters.arguments()
    }

    #[test]
    fn off_is_off_under_both_names() {
        for on in [
            "",
            "quiet off",
            "mandos=",
            "nightlatch=connect",
            "xmandos=off",
            "mandos",
        ] {
            assert!(!Parameters::parse(on).off, "{on}");
        }
        for off in [
            "mandos=off",
            "x nightlatch=off\n",
            "mandos=connect,off",
            "\"mandos=off\"",
            "mandos=0",
        ] {
            assert!(Parameters::parse(off).off, "{off}");
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
    fn an_interface_that_stands_first_is_the_one_whatever_follows() {
        for (line, device) in [
            ("ip=eth0:dhcp:1500:52:54:00:12:34:56", "eth0"),
            ("ip=eth0:dhcp::52:54:00:12:34:56", "eth0"),
            ("ip=eth0:dhcp:9000", "eth0"),
            ("ip=eth0:dhcp6", "eth0"),
            ("ip=eth0:dhcp,dhcp6", "eth0"),
            ("ip=eth0:link-local:1500:52:54:00:12:34:56", "eth0"),
            ("ip=eth0:some-new-method:1500:52:54:00:12:34:56", "eth0"),
            ("ip=enp0s31f6.5:on", "enp0s31f6.5"),
            // All of hexadecimal digits, and an interface still.
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
    fn what_is_not_understood_is_told_and_left() {
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
            let parameters = Parameters::parse(line);
            assert_eq!(parameters.warnings, [told]);
            assert!(!parameters.off && parameters.arguments().is_empty());
        }
        // The others of a list are taken.
        assert!(Parameters::parse("mandos=nonsense,off").off);
    }

    #[test]
    fn addresses_are_configured_only_where_a_server_needs_them() {
        use Addresses::{Beside, First, NotNeeded};
        let nowhere = |_| false;
        let other = Servers::of_list("192.0.2.1:47");
        for (line, needed, with_other) in [
            ("", NotNeeded, First),
            ("ip=dhcp", NotNeeded, First),
            ("mandos=connect", First, First),
            ("mandos=connect,off", NotNeeded, NotNeeded),
            ("mandos=connect:192.0.2.1:47", First, First),
            ("mandos=connect:server.example:47", First, First),
            ("mandos=connect:fe80::1:47", NotNeeded, NotNeeded),
            ("mandos=connect:2001:db8::1:47", NotNeeded, NotNeeded),
            ("mandos=connect:2001:db8::1:47 ip=dhcp", First, First),
            (
                "mandos=connect:fe80::1:47,connect:::1:47",
                NotNeeded,
                NotNeeded,
            ),
            (
                "mandos=connect:192.0.2.1:47,connect:a.example:47",
                First,
                First,
            ),
        ] {
            let parameters = Parameters::parse(line);
            let none = Servers::default();
            assert_eq!(parameters.addresses(&none, nowhere), needed, "{line}");
            assert_eq!(parameters.addresses(&other, nowhere), with_other, "{line}");
        }
        // A DHCP server that never answers must not hold up what needs none.
        let mixed = "fe80::1:47, 192.0.2.1:47";
        let kernels = mixed
            .replace("fe80", "mandos=connect:fe80")
            .replace(", ", ",connect:");
        for line in ["", "ip=dhcp", "mandos=connect", &kernels] {
            let found = Parameters::parse(line).addresses(&Servers::of_list(mixed), nowhere);
            assert_eq!(found, Beside, "{line}");
        }
        // Nor is anybody asked for what network.conf gives.
        let routed = |address: IpAddr| address == IpAddr::from([192, 0, 2, 1]);
        for (line, list, expected) in [
            ("", "192.0.2.1:47", NotNeeded),
            ("", "192.0.2.1:47, 198.51.100.1:47", Beside),
            ("ip=dhcp", "192.0.2.1:47", First),
            ("mandos=connect", "192.0.2.1:47", First),
            ("mandos=connect:192.0.2.1:47", "", NotNeeded),
        ] {
            let found = Parameters::parse(line).addresses(&Servers::of_list(list), routed);
            assert_eq!(found, expected, "{line} {list}");
        }
    }

    /// One part of `ip=` of each kind, or nothing.
    fn maybe(parts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
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
        /// Everything that may follow the method.
        fn rest()(mtu in maybe(MTUS), mac in maybe(MACS), dns in maybe(ADDRESSES), which in 0..4) -> String {
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
            (client, peer, gateway) in (maybe(CLIENTS), maybe(ADDRESSES), maybe(ADDRESSES)),
            (mask, host) in (maybe(MASKS), maybe(HOSTS)),
            method in prop::sample::select(&METHODS[..]),
            rest in rest(),
        ) {
            prop_assume!(device != "none");
            for value in [
                format!("{device}:{method}{rest}"),
                format!("{client}:{peer}:{gateway}:{mask}:{host}:{device}:{method}{rest}"),
            ] {
                let parameters = Parameters::parse(&format!("ip={value}"));
                prop_assert_eq!(&*parameters.devices, std::slice::from_ref(&device), "{}", value);
                prop_assert!(parameters.warnings.is_empty() && parameters.addressed);
            }
            let without = format!("ip={client}:{peer}:{gateway}:{mask}:{host}::{method}{rest}");
            prop_assert_eq!(Parameters::parse(&without).devices, Vec::<String>::new());
        }

        #[test]
        fn any_line_is_read(line in "((mandos|nightlatch|ip)=[-a-z0-9:,.%\\[\\]\"/ ]{0,40} ){0,3}|.*") {
            for argument in Parameters::parse(&line).arguments() {
                let value = argument.strip_prefix("--connect=");
                prop_assert!(value.is_none_or(|it| it == NONE || it.parse::<Target>().is_ok()));
            }
        }
    }
}
