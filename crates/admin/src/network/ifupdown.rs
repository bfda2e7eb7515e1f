//! interfaces(5) of ifupdown, with what vlan, ifenslave and bridge-utils add to it
//! (vlan-interfaces(5), bridge-utils-interfaces(5), the README of ifenslave).

use std::sync::Arc;

use nightlatch_core::network::{Bond, BondMode, Cidr, Kind, Link, LinkName, Route, VlanId, Word};

use super::found::{Attachment, Described, Found, Place, Selector, Weight};
use super::keyfile;

/// What is not needed to reach a server on the link.
const NOT_NEEDED: [&str; 40] = [
    "broadcast",
    "network",
    "metric",
    "pointopoint",
    "scope",
    "preferred-lifetime",
    "privext",
    "accept_ra",
    "autoconf",
    "dad-attempts",
    "dad-interval",
    "request_prefix",
    "hostname",
    "leasehours",
    "leasetime",
    "vendor",
    "client",
    "dns-nameservers",
    "dns-nameserver",
    "dns-search",
    "dns-domain",
    "dns-options",
    "description",
    "offload-tso",
    "offload-gso",
    "offload-gro",
    "bridge_maxwait",
    "bridge_waitport",
    "bridge_ageing",
    "bridge_bridgeprio",
    "bridge_pathcost",
    "bridge_portprio",
    "bridge_gcint",
    "bond_updelay",
    "bond_downdelay",
    "bond_num_grat_arp",
    "bond_give_a_chance",
    "allow",
    "use_dhcpcd",
    "txqueuelen",
];

/// What runs other programs: nobody here knows what they do.
const COMMANDS: [&str; 6] = ["up", "down", "pre-up", "post-up", "pre-down", "post-down"];

/// A logical line of a file: its words, and where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The first word.
    pub word: String,
    /// What follows it.
    pub rest: String,
    /// The line, from 1.
    pub line: usize,
}

/// Splits a file into its lines: those that end with a backslash go on, comments begin a line.
pub fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut whole = String::new();
    let mut begin = 0;
    for (number, line) in text.lines().enumerate() {
        if whole.is_empty() {
            begin = number + 1;
            if line.trim_start().starts_with('#') {
                continue;
            }
        }
        if let Some(more) = line.strip_suffix('\\') {
            whole.push_str(more);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        let text = std::mem::take(&mut whole);
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if !word.is_empty() {
            lines.push(Line {
                word: word.to_owned(),
                rest: rest.trim().to_owned(),
                line: begin,
            });
        }
    }
    lines
}

/// Reads files in the order in which they are included, without their `source` lines.
pub fn read(files: &[(Arc<str>, &str)]) -> Found {
    let mut found = Found::default();
    let mut stanzas: Vec<Stanza> = Vec::new();
    for (file, text) in files {
        let mut within = false;
        for line in lines(text) {
            let place = Place::new(file, line.line);
            match line.word.as_str() {
                "iface" => {
                    let name = line.rest.split_whitespace().next().unwrap_or_default();
                    // A label is an address of the interface before the colon.
                    let name = name.split(':').next().unwrap_or_default();
                    if line.rest.split_whitespace().any(|word| word == "inherits") {
                        let what = format!("{name}: inherits is not understood");
                        found.remark(&place, Weight::Unknown, what);
                    }
                    within = true;
                    match stanzas.iter_mut().position(|it| it.name == name) {
                        // Families of one interface are told apart by nothing that matters here.
                        Some(index) => {
                            let stanza = stanzas.remove(index);
                            stanzas.push(stanza);
                        }
                        None => stanzas.push(Stanza {
                            name: name.to_owned(),
                            place,
                            options: Vec::new(),
                        }),
                    }
                }
                "source" | "source-directory" | "no-auto-down" | "no-scripts" => within = false,
                "mapping" | "rename" | "template" => {
                    within = false;
                    let what = format!("{}: not understood", line.word);
                    found.remark(&place, Weight::Unknown, what);
                }
                auto if auto == "auto" || auto.starts_with("allow-") => within = false,
                _ if within => {
                    if let Some(stanza) = stanzas.last_mut() {
                        let key = line.word.replace('-', "_");
                        stanza.options.push((key, line.rest, place));
                    }
                }
                other => {
                    let what = format!("{other}: not understood");
                    found.remark(&place, Weight::Unknown, what);
                }
            }
        }
    }
    for stanza in stanzas.iter().filter(|stanza| stanza.name != "lo") {
        stanza.read(&mut found);
    }
    found
}

/// Everything about one interface.
struct Stanza {
    name: String,
    place: Place,
    /// Key (with underscores, which some spell as hyphens), value and place.
    options: Vec<(String, String, Place)>,
}

impl Stanza {
    fn option(&self, keys: &[&str]) -> Option<(&str, &Place)> {
        let option = self
            .options
            .iter()
            .find(|(key, ..)| keys.contains(&key.as_str()));
        option.map(|(_, value, place)| (value.as_str(), place))
    }

    fn read(&self, found: &mut Found) {
        let Some(name) = found.parse::<LinkName>(&self.place, "iface", &self.name) else {
            return;
        };
        let mut own = Attachment::new(Selector::named(&self.name), self.place.clone());
        own.name = Some(name.clone());
        for (key, value, place) in &self.options {
            self.common(found, &mut own, key, value, place);
        }
        self.routes(found, &mut own);
        if let Some((master, place)) = self.option(&["bond_master"]) {
            own.master = found.parse(place, "bond-master", master);
            own.primary = self
                .option(&["bond_primary"])
                .is_some_and(|(primary, _)| primary == self.name);
        }
        let kind = self
            .bond(found, &name)
            .or_else(|| self.bridge(found, &name));
        match kind.or_else(|| self.vlan(found, &name)) {
            None => found.attachments.push(own),
            Some(kind) => {
                // What belongs to another has its master in the attachments, like an interface.
                if own.master.is_some() {
                    found.attachments.push(Attachment {
                        master: own.master,
                        primary: own.primary,
                        ..Attachment::new(own.who, own.place)
                    });
                }
                found.links.push(Described {
                    link: Link {
                        name,
                        kind,
                        mac: own.mac,
                        mtu: own.mtu,
                        addresses: own.addresses,
                        routes: own.routes,
                    },
                    place: self.place.clone(),
                });
            }
        }
    }

    fn common(
        &self,
        found: &mut Found,
        own: &mut Attachment,
        key: &str,
        value: &str,
        place: &Place,
    ) {
        match key {
            "mtu" => own.mtu = found.parse(place, key, value),
            "hwaddress" | "bridge_hw" => {
                let mac = value.strip_prefix("ether").unwrap_or(value).trim();
                // `bridge_hw` may name an interface whose address is taken.
                match mac.parse() {
                    Ok(mac) => own.mac = Some(mac),
                    Err(_) => {
                        found.remark(place, Weight::Unknown, format!("{key}: not understood"))
                    }
                }
            }
            "address" => own.addresses.extend(self.address(found, value, place)),
            "netmask" | "gateway" => {}
            "bond_arp_interval" | "bond_arp_ip_target" | "bond_arp_validate" => {
                let what = format!("{key}: members are watched by their carrier instead");
                found.remark(place, Weight::Harmless, what);
            }
            "bridge_vlan_aware" | "bridge_vids" | "bridge_pvid" | "bridge_access" => {
                let what = format!("{key}: VLANs inside of a bridge are not made at boot");
                found.remark(place, Weight::Matters, what);
            }
            command if COMMANDS.contains(&command.replace('_', "-").as_str()) => {
                let what = format!(
                    "{}: a command, which is not run at boot",
                    command.replace('_', "-")
                );
                found.remark(place, Weight::Unknown, what);
            }
            wireless if wireless.starts_with("wpa_") || wireless.starts_with("wireless_") => {
                let what = format!("{}: Wi-Fi needs the network hook `wireless`", self.name);
                found.remark(place, Weight::Matters, what);
            }
            known if KNOWN.contains(&known) => {}
            other
                if NOT_NEEDED.contains(&other)
                    || NOT_NEEDED.contains(&other.replace('_', "-").as_str()) => {}
            other => found.remark(place, Weight::Unknown, format!("{other}: not understood")),
        }
    }

    /// `192.0.2.7/24`, or with its `netmask` apart, which may be a mask or a length.
    fn address(&self, found: &mut Found, value: &str, place: &Place) -> Option<Cidr> {
        if value.contains('/') {
            return found.parse(place, "address", value);
        }
        let bits = match self.option(&["netmask"]) {
            Some((mask, _)) => match mask.parse::<std::net::Ipv4Addr>() {
                Ok(mask) => mask.to_bits().leading_ones().to_string(),
                Err(_) => mask.to_owned(),
            },
            None => if value.contains(':') { "128" } else { "32" }.to_owned(),
        };
        found.parse(place, "address", &format!("{value}/{bits}"))
    }

    fn routes(&self, found: &mut Found, own: &mut Attachment) {
        for (key, value, place) in &self.options {
            if key == "gateway" && value != "none" {
                own.routes.extend(found.parse::<Route>(
                    place,
                    "gateway",
                    &format!("default via {value}"),
                ));
            }
        }
    }

    fn bond(&self, found: &mut Found, name: &LinkName) -> Option<Kind> {
        let slaves = self.option(&["bond_slaves", "slaves"]);
        let mode = self.option(&["bond_mode"]);
        if self.option(&["bond_master"]).is_some() || (slaves.is_none() && mode.is_none()) {
            return None;
        }
        let primaries = self.option(&["bond_primary"]).map_or("", |(it, _)| it);
        // The first that is there counts; which that is, is known only at boot.
        let primary = primaries.split_whitespace().next();
        if let Some((slaves, place)) = slaves {
            for slave in slaves.split_whitespace().filter(|it| *it != "none") {
                found.attachments.push(Attachment {
                    master: Some(name.clone()),
                    primary: primary == Some(slave),
                    ..Attachment::new(Selector::named(slave), place.clone())
                });
            }
        }
        let miimon = self.option(&["bond_miimon"]);
        let miimon =
            miimon.and_then(|(text, place)| found.parse_unless_zero(place, "bond-miimon", text));
        Some(Kind::Bond(Bond {
            mode: self
                .word(found, "bond_mode")
                .unwrap_or(BondMode::RoundRobin),
            miimon: miimon.unwrap_or_default(),
            lacp_rate: self.word(found, "bond_lacp_rate"),
            hash_policy: self.word(found, "bond_xmit_hash_policy"),
            primary: None,
            members: Vec::new(),
        }))
    }

    fn word<T: Word>(&self, found: &mut Found, key: &str) -> Option<T> {
        let (text, place) = self.option(&[key])?;
        let value =
            T::of(text).ok_or_else(|| format!("expected one of {}, found {text:?}", T::words()));
        found.value(place, key, value)
    }

    fn bridge(&self, found: &mut Found, name: &LinkName) -> Option<Kind> {
        let (ports, place) = self.option(&["bridge_ports"])?;
        let mut words = ports.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "none" => {}
                "all" | "regex" => {
                    let pattern = if word == "regex" { words.next() } else { None };
                    let what = match pattern {
                        Some(_) => "bridge_ports: a regular expression is not understood",
                        None => "bridge_ports: all is not understood, name the interfaces",
                    };
                    found.remark(place, Weight::Matters, what);
                }
                port => found.attachments.push(Attachment {
                    master: Some(name.clone()),
                    ..Attachment::new(Selector::named(port), place.clone())
                }),
            }
        }
        let stp = self.option(&["bridge_stp"]);
        let stp =
            stp.and_then(|(text, place)| found.value(place, "bridge_stp", keyfile::yes(text)));
        let delay = self.option(&["bridge_fd"]);
        let delay = delay.and_then(|(text, place)| {
            // Seconds with a fraction, which may be none.
            let whole = text.split('.').next().unwrap_or_default();
            found.parse(place, "bridge_fd", whole)
        });
        Some(Kind::Bridge {
            members: Vec::new(),
            stp: stp.unwrap_or(false),
            forward_delay: delay,
        })
    }

    /// `eth0.5`, or `vlan5` and any other name with `vlan-raw-device` (and `vlan-id`).
    fn vlan(&self, found: &mut Found, name: &LinkName) -> Option<Kind> {
        let dotted = self.name.rsplit_once('.');
        let raw = self.option(&["vlan_raw_device"]);
        let id = self.option(&["vlan_id"]);
        let number = match (id, dotted, raw) {
            (Some((id, place)), ..) => found.parse::<VlanId>(place, "vlan-id", id)?,
            (None, Some((_, id)), _) if id.bytes().all(|b| b.is_ascii_digit()) => {
                found.parse(&self.place, "the VLAN's number in its name", id)?
            }
            (None, _, Some((_, place))) => {
                let digits = self.name.trim_start_matches(|c: char| !c.is_ascii_digit());
                found.parse::<VlanId>(
                    place,
                    "vlan-raw-device: the VLAN's number in its name",
                    digits,
                )?
            }
            _ => return None,
        };
        let parent = raw
            .map(|(raw, _)| raw)
            .or(dotted.map(|(parent, _)| parent))?;
        found.attachments.push(Attachment {
            vlans: vec![name.clone()],
            ..Attachment::new(Selector::named(parent), self.place.clone())
        });
        let protocol = self.word(found, "vlan_protocol").unwrap_or_default();
        Some(Kind::Vlan {
            id: number,
            parent: name.clone(),
            protocol,
        })
    }
}

/// Read elsewhere than key by key.
const KNOWN: [&str; 16] = [
    "bond_slaves",
    "slaves",
    "bond_master",
    "bond_mode",
    "bond_primary",
    "bond_miimon",
    "bond_lacp_rate",
    "bond_xmit_hash_policy",
    "bridge_ports",
    "bridge_stp",
    "bridge_fd",
    "vlan_raw_device",
    "vlan_id",
    "vlan_protocol",
    "netmask",
    "gateway",
];

#[cfg(test)]
mod tests;
