//! Parameters of the kernel's command line: `mandos=`, `nightlatch=` and `ip=`.
//!
//! Parsing is pure and never fails, so that a machine boots with any command line: parameters that are not understood
//! become warnings.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::connect::{NONE, ServerList, Target, is_interface_name};
use crate::network::Definition;
use crate::network::reach::needs_address;

/// The names of this program's parameter; both mean the same.
const NAMES: [&str; 2] = ["mandos", "nightlatch"];

/// Index of the interface among the fields of the kernel's form of `ip=` (nfsroot in the kernel's documentation).
const DEVICE_FIELD: usize = 5;

/// Address configuration methods in all forms of `ip=`: the kernel's, those of dracut.cmdline(7), and
/// NetworkManager's.
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

/// The parameters that concern this program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelParameters {
    /// No password is fetched at this boot.
    pub off: bool,
    /// Servers are connected to, not searched for.
    pub connect: bool,
    /// Servers to connect to in parallel.
    pub targets: Vec<Target>,
    /// The interfaces that `ip=` names.
    pub devices: Vec<String>,
    /// An `ip=` requests the configuration of addresses by the boot system.
    pub configures_addresses: bool,
    /// The last `ip=` forbids the configuration of addresses.
    pub forbids_addresses: bool,
    /// Warnings about values that were not understood.
    pub warnings: Vec<String>,
}

impl KernelParameters {
    /// Parses a kernel's command line.
    pub fn parse(line: &str) -> Self {
        let mut parameters = Self::default();
        for word in words(line) {
            match word.split_once('=') {
                Some((name, list)) if NAMES.contains(&name) => parameters.parse_own(name, list),
                Some(("ip", value)) => parameters.parse_ip(value),
                _ => {}
            }
        }
        parameters
    }

    /// The equivalent options of the boot client. Servers replace those of options before them.
    pub fn arguments(&self) -> Vec<String> {
        let targets = self.targets.iter().map(ToString::to_string);
        let none = Some(NONE.to_owned()).filter(|_| !self.targets.is_empty());
        let servers = none.into_iter().chain(targets);
        let servers = servers.map(|server| format!("--connect={server}"));
        let devices = Some(self.devices.join(",")).filter(|names| !names.is_empty());
        let devices = devices.map(|names| format!("--interface={names}"));
        servers.chain(devices).collect()
    }

    /// True when the boot system must configure addresses for the client to reach its servers. `others` are the
    /// servers in the client's own options, `network` the links that it creates.
    pub fn needs_addresses(&self, others: &ServerList, network: &Definition) -> bool {
        let connects = self.connect || !others.named.is_empty();
        if self.off || !connects || self.forbids_addresses {
            return false;
        }
        let mut targets: Vec<&Target> = self.targets.iter().collect();
        if targets.is_empty() {
            targets.extend(others.targets());
        }
        // As in Mandos, `connect` without a server requests this, and so does `ip=`.
        let asked = self.configures_addresses || (self.connect && self.targets.is_empty());
        asked || targets.into_iter().any(|it| needs_address(network, it))
    }

    fn parse_own(&mut self, name: &str, list: &str) {
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

    fn parse_ip(&mut self, value: &str) {
        let fields = fields(value);
        if let [method] = fields[..] {
            self.forbids_addresses = matches!(method, "off" | "none");
            self.configures_addresses |= !matches!(method, "" | "off" | "none");
            return;
        }
        self.configures_addresses = true;
        self.forbids_addresses = false;
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

/// The interface in the fields of `ip=`, empty when there is none; `None` when the fields are invalid.
///
/// The first field distinguishes the forms. In the kernel's form it is the machine's address, which may be empty:
/// `CLIENT:SERVER:GATEWAY:NETMASK:HOST:DEVICE:METHOD`; further fields are ignored. In dracut's short form it is the
/// interface: `DEVICE:METHOD[:MTU[:MAC]]`, where the MAC contains colons.
fn device<'f>(fields: &[&'f str]) -> Option<&'f str> {
    let (first, second) = (*fields.first()?, *fields.get(1)?);
    if first.is_empty() || is_address(first) {
        return Some(fields.get(DEVICE_FIELD).copied().unwrap_or_default());
    }
    // An IPv6 address without brackets looks like many fields.
    let of_address = first.bytes().all(|digit| digit.is_ascii_hexdigit());
    (!of_address || is_method(second)).then_some(first)
}

/// Accepts a prefix length, as NetworkManager does.
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

/// dracut accepted several, separated by commas.
fn is_method(field: &str) -> bool {
    field.split(',').all(|method| METHODS.contains(&method))
}

/// Splits at white space outside of double quotes, and drops the quotes.
fn words(line: &str) -> impl Iterator<Item = String> {
    let mut quoted = false;
    let words = line.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    });
    words.map(|word| word.replace('"', ""))
}

/// Splits at colons outside of brackets.
fn fields(value: &str) -> Vec<&str> {
    let mut inside = false;
    let fields = value.split(move |c: char| {
        inside = (inside || c == '[') && c != ']';
        !inside && c == ':'
    });
    fields.collect()
}

#[cfg(test)]
mod tests;
