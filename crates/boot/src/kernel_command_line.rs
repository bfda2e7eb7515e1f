//! What the kernel's command line asks of us: `mandos=` and `nightlatch=`, and `ip=`.
//!
//! The reading is pure. Whatever stands there, a machine comes up: what is not understood is told and left.

use std::net::IpAddr;
use std::path::Path;

use nightlatch_core::connect::{Host, Target, is_interface_name};

/// Where the kernel tells it.
const FILE: &str = "/proc/cmdline";

/// Longer than any architecture's (`COMMAND_LINE_SIZE`).
const MAX_LENGTH: usize = 64 * 1024;

/// Both names of our own parameter.
const NAMES: [&str; 2] = ["mandos", "nightlatch"];

/// Which field of `ip=` is the interface, from 0, and how many fields at least make it the kernel's form
/// (nfsroot.txt of the kernel's documentation). With fewer, dracut's `ip=INTERFACE:METHOD` is meant.
const DEVICE_FIELD: usize = 5;

/// What it asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// Nothing is to be fetched at this boot.
    pub off: bool,
    /// A server is connected to, not searched for.
    pub connect: bool,
    /// This one.
    pub target: Option<Target>,
    /// The interfaces that `ip=` names.
    pub devices: Vec<String>,
    /// The boot system has addresses to configure.
    pub addressed: bool,
    /// What was not understood.
    pub warnings: Vec<String>,
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

    /// The options of the client that mean the same.
    pub fn arguments(&self) -> Vec<String> {
        let target = self
            .target
            .iter()
            .map(|target| format!("--connect={target}"));
        let devices = Some(self.devices.join(",")).filter(|names| !names.is_empty());
        let devices = devices.map(|names| format!("--interface={names}"));
        target.chain(devices).collect()
    }

    /// Whether the boot system must configure addresses before the client can reach its server. `other`
    /// is a server that the client's own options name.
    ///
    /// IPv6 configures itself as soon as the client takes an interface up.
    pub fn needs_addresses(&self, other: Option<&Target>) -> bool {
        if self.off || !(self.connect || other.is_some()) {
            return false;
        }
        match self.target.as_ref().or(other).map(|target| &target.host) {
            // As with Mandos: `connect` alone asks for just this.
            _ if self.addressed || (self.connect && self.target.is_none()) => true,
            Some(Host::LinkLocal(..) | Host::Address(IpAddr::V6(_))) => false,
            _ => true,
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
                        self.target = Some(target);
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
        let device = match fields[..] {
            [method] => {
                self.addressed |= !matches!(method, "" | "off" | "none");
                return;
            }
            [device, _] => device,
            _ => fields.get(DEVICE_FIELD).copied().unwrap_or_default(),
        };
        self.addressed = true;
        if device.is_empty() || self.devices.iter().any(|known| known == device) {
            return;
        }
        // An option of the client separates names by commas.
        match is_interface_name(device) && !device.contains(',') && device != "none" {
            true => self.devices.push(device.to_owned()),
            false => self.warnings.push(format!(
                "left out {device:?} in ip={value}: expected the name of a network interface"
            )),
        }
    }
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
            ["--connect=192.0.2.1:47"]
        );
        assert_eq!(
            arguments("ro nightlatch=connect:fe80::1:4711 quiet"),
            ["--connect=[fe80::1]:4711"]
        );
        assert_eq!(
            arguments("nightlatch=connect:[fe80::1%eth0]:4711"),
            ["--connect=[fe80::1%eth0]:4711"]
        );
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
            "ip=:::::",
            "zip=:::::eth0",
        ] {
            assert_eq!(arguments(none), Vec::<String>::new(), "{none}");
        }
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
                "left out nightlatch=connect:x: expected ADDRESS:PORT, found no port",
            ),
            (
                "ip=:::::a/b:",
                "left out \"a/b\" in ip=:::::a/b:: expected the name of a network interface",
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
    fn addresses_are_configured_only_where_the_server_needs_them() {
        let other: Target = "192.0.2.1:47".parse().unwrap();
        for (line, needed, with_other) in [
            ("", false, true),
            ("ip=dhcp", false, true),
            ("mandos=connect", true, true),
            ("mandos=connect,off", false, false),
            ("mandos=connect:192.0.2.1:47", true, true),
            ("mandos=connect:server.example:47", true, true),
            ("mandos=connect:fe80::1:47", false, false),
            ("mandos=connect:2001:db8::1:47", false, false),
            ("mandos=connect:2001:db8::1:47 ip=dhcp", true, true),
        ] {
            let parameters = Parameters::parse(line);
            assert_eq!(parameters.needs_addresses(None), needed, "{line}");
            assert_eq!(
                parameters.needs_addresses(Some(&other)),
                with_other,
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "((mandos|nightlatch|ip)=[-a-z0-9:,.%\\[\\]\"/ ]{0,40} ){0,3}|.*") {
            for argument in Parameters::parse(&line).arguments() {
                let value = argument.strip_prefix("--connect=");
                prop_assert!(value.is_none_or(|target| target.parse::<Target>().is_ok()));
            }
        }
    }
}
