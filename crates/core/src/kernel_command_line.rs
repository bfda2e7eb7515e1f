//! What the kernel's command line asks of us: `mandos=` and `nightlatch=`, and `ip=`.
//!
//! The reading is pure. Whatever stands there, a machine comes up: what is not understood is told and left.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::connect::{NONE, Servers, Target, is_interface_name};
use crate::network::Definition;
use crate::network::reach::needs_address;

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
    /// The boot system is told to configure none, by the last `ip=`.
    pub unaddressed: bool,
    /// What was not understood.
    pub warnings: Vec<String>,
}

impl Parameters {
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

    /// True when the boot system must configure addresses for the client to reach its servers. `others` are servers that
    /// the client's own options name, `network` the links that it makes.
    pub fn needs_addresses(&self, others: &Servers, network: &Definition) -> bool {
        let connects = self.connect || !others.named.is_empty();
        if self.off || !connects || self.unaddressed {
            return false;
        }
        let mut targets: Vec<&Target> = self.targets.iter().collect();
        if targets.is_empty() {
            targets.extend(others.targets());
        }
        // As with Mandos: `connect` alone asks for just this, and so does `ip=`.
        let asked = self.addressed || (self.connect && self.targets.is_empty());
        asked || targets.into_iter().any(|it| needs_address(network, it))
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
            self.unaddressed = matches!(method, "off" | "none");
            self.addressed |= !matches!(method, "" | "off" | "none");
            return;
        }
        self.addressed = true;
        self.unaddressed = false;
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
mod tests;
