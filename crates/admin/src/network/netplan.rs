//! netplan(5): YAML files that are merged into one.

use std::collections::BTreeMap;
use std::sync::Arc;

use nightlatch_core::network::{
    Bond, BondMode, Cidr, Kind, Link, LinkName, Miimon, Route, VlanId, Word,
};

use super::found::{Attachment, Described, Found, Place, Selector, Weight};
use super::keyfile;
use super::yaml::{self, Node};

/// Sections whose links are not made at boot.
const OTHER_KINDS: [(&str, &str); 7] = [
    ("wifis", "Wi-Fi needs the network hook `wireless`"),
    ("modems", "a modem needs a network hook"),
    ("tunnels", "tunnels and WireGuard need a network hook"),
    ("vrfs", "VRFs are not made at boot"),
    ("dummy-devices", "dummy devices are not made at boot"),
    ("virtual-ethernets", "virtual cables are not made at boot"),
    (
        "nm-devices",
        "what NetworkManager alone understands is not read",
    ),
];

/// What is not needed to reach a server on the link: addresses that others give, names, order of things,
/// properties of hardware that are as good at boot as ever.
const NOT_NEEDED: [&str; 44] = [
    "renderer",
    "dhcp4",
    "dhcp6",
    "dhcp4-overrides",
    "dhcp6-overrides",
    "dhcp-identifier",
    "ipv6-privacy",
    "ipv6-mtu",
    "ipv6-address-generation",
    "ipv6-address-token",
    "link-local",
    "accept-ra",
    "nameservers",
    "optional",
    "optional-addresses",
    "critical",
    "wakeonlan",
    "emit-lldp",
    "routing-policy",
    "ignore-carrier",
    "activation-mode",
    "neigh-suppress",
    "receive-checksum-offload",
    "transmit-checksum-offload",
    "tcp-segmentation-offload",
    "tcp6-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "large-receive-offload",
    "networkmanager",
    "embedded-switch-mode",
    "virtual-function-count",
    "delay-virtual-functions-rebind",
    // Of bonds and bridges.
    "up-delay",
    "down-delay",
    "gratuitous-arp",
    "gratuitious-arp",
    "packets-per-slave",
    "learn-packet-interval",
    "resend-igmp",
    "ageing-time",
    "priority",
    "port-priority",
    "path-cost",
];

/// Reads files that are to be merged, in their order.
pub fn read(files: &[(Arc<str>, &str)]) -> Found {
    let mut found = Found::default();
    let mut all: Option<Node> = None;
    for (file, text) in files {
        match (yaml::parse(file, text), &mut all) {
            (Ok(node), None) => all = Some(node),
            (Ok(node), Some(all)) => all.merge(node),
            (Err(error), _) => {
                let place = Place::new(file, error.line);
                found.remark(&place, Weight::Matters, format!("expected YAML: {error}"));
            }
        }
    }
    let Some(network) = all.as_ref().and_then(|all| all.get("network")) else {
        return found;
    };
    let mut reader = Reader {
        selectors: selectors(network),
        found,
    };
    for (key, node) in network.map() {
        reader.section(key, node);
    }
    reader.found
}

/// What each definition's id means: an interface by what `match` says, or else by the id.
fn selectors(network: &Node) -> BTreeMap<String, Selector> {
    let ethernets = network.get("ethernets").map_or(&[][..], Node::map);
    let selector = |(id, node): &(String, Node)| {
        let Some(wanted) = node.get("match") else {
            return (id.clone(), Selector::named(id));
        };
        let texts = |key: &str| -> Vec<String> {
            let texts = wanted.get(key).map(Node::texts).unwrap_or_default();
            texts.into_iter().map(|(text, _)| text.to_owned()).collect()
        };
        let mac = wanted.get("macaddress").and_then(Node::text);
        let selector = Selector {
            names: texts("name"),
            macs: mac.and_then(|mac| mac.parse().ok()).into_iter().collect(),
            drivers: texts("driver"),
            paths: Vec::new(),
            physical: true,
        };
        (id.clone(), selector)
    };
    ethernets.iter().map(selector).collect()
}

struct Reader {
    selectors: BTreeMap<String, Selector>,
    found: Found,
}

impl Reader {
    fn section(&mut self, key: &str, node: &Node) {
        match key {
            "version" | "renderer" => {}
            "ethernets" => self.each(node, Self::ethernet),
            "bonds" => self.each(node, Self::bond),
            "bridges" => self.each(node, Self::bridge),
            "vlans" => self.each(node, Self::vlan),
            other => match OTHER_KINDS.iter().find(|(kind, _)| *kind == other) {
                Some((_, why)) => {
                    for (id, node) in node.map() {
                        self.found
                            .remark(&node.place, Weight::Matters, format!("{id}: {why}"));
                    }
                }
                None => self.unknown(&node.place, other),
            },
        }
    }

    fn each(&mut self, section: &Node, read: fn(&mut Self, &str, &Node)) {
        for (id, node) in section.map() {
            read(self, id, node);
        }
    }

    fn unknown(&mut self, place: &Place, what: &str) {
        if !NOT_NEEDED.contains(&what) {
            self.found
                .remark(place, Weight::Unknown, format!("{what}: not understood"));
        }
    }

    fn name(&mut self, id: &str, node: &Node) -> Option<LinkName> {
        self.found.parse(&node.place, "name", id)
    }

    fn selector(&self, id: &str) -> Selector {
        let known = self.selectors.get(id).cloned();
        known.unwrap_or_else(|| Selector::named(id))
    }

    fn ethernet(&mut self, id: &str, node: &Node) {
        let mut attachment = Attachment::new(self.selector(id), node.place.clone());
        for (key, value) in node.map() {
            match key.as_str() {
                "match" => {
                    if let Some(mac) = value.get("macaddress").and_then(Node::text) {
                        self.found
                            .parse::<nightlatch_core::network::Mac>(&value.place, key, mac);
                    }
                }
                "set-name" => attachment.name = self.parsed(value, key),
                _ => self.common(key, value, &mut attachment),
            }
        }
        if attachment.name.is_none() && node.get("match").is_none() {
            attachment.name = self.name(id, node);
        }
        self.found.attachments.push(attachment);
    }

    /// What every kind of link can have.
    fn common(&mut self, key: &str, value: &Node, attachment: &mut Attachment) {
        match key {
            "macaddress" => attachment.mac = self.parsed(value, key),
            "mtu" => attachment.mtu = self.parsed(value, key),
            "addresses" => {
                for (text, place) in value.texts() {
                    let address = self.found.parse::<Cidr>(place, key, text);
                    attachment.addresses.extend(address);
                }
            }
            "gateway4" | "gateway6" => {
                let text = format!("default via {}", value.text().unwrap_or_default());
                attachment
                    .routes
                    .extend(self.found.parse::<Route>(&value.place, key, &text));
            }
            "routes" => {
                if let yaml::Value::List(routes) = &value.value {
                    let routes = routes.iter();
                    attachment
                        .routes
                        .extend(routes.filter_map(|route| self.route(route)));
                }
            }
            other => self.unknown(&value.place, other),
        }
    }

    fn route(&mut self, node: &Node) -> Option<Route> {
        let text = |key: &str| node.get(key).and_then(Node::text);
        let to = match text("to").unwrap_or("default") {
            "0.0.0.0/0" | "::/0" | "0/0" => "default",
            to => to,
        };
        let onlink = matches!(text("on-link").map(keyfile::yes), Some(Ok(true)));
        if let Some(kind @ ("blackhole" | "unreachable" | "prohibit" | "throw")) = text("type") {
            let what = format!("a route of type {kind} is left out");
            self.found.remark(&node.place, Weight::Harmless, what);
            return None;
        }
        let via = text("via").map(|via| format!(" via {via}"));
        let onlink = if onlink { " onlink" } else { "" };
        let whole = if to.contains('/') || to == "default" {
            to.to_owned()
        } else {
            format!("{to}/{}", if to.contains(':') { 128 } else { 32 })
        };
        let route = format!("{whole}{}{onlink}", via.unwrap_or_default());
        self.found.parse(&node.place, "routes", &route)
    }

    fn parsed<T>(&mut self, node: &Node, key: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        self.found
            .parse(&node.place, key, node.text().unwrap_or_default())
    }

    fn word<T: Word>(&mut self, node: &Node, key: &str) -> Option<T> {
        let text = node.text().unwrap_or_default();
        let value =
            T::of(text).ok_or_else(|| format!("expected one of {}, found {text:?}", T::words()));
        self.found.value(&node.place, key, value)
    }

    /// The links that a bond or bridge is made of.
    fn members(&mut self, node: &Node, master: &LinkName, primary: Option<&str>) {
        for (id, place) in node.texts() {
            self.found.attachments.push(Attachment {
                master: Some(master.clone()),
                primary: primary == Some(id),
                ..Attachment::new(self.selector(id), place.clone())
            });
        }
    }

    fn add(&mut self, link: Link, node: &Node, attachment: Attachment) {
        self.found.links.push(Described {
            link: Link {
                mac: attachment.mac,
                mtu: attachment.mtu,
                addresses: attachment.addresses,
                routes: attachment.routes,
                ..link
            },
            place: node.place.clone(),
        });
    }

    fn bond(&mut self, id: &str, node: &Node) {
        let Some(name) = self.name(id, node) else {
            return;
        };
        let mut bond = Bond {
            mode: BondMode::RoundRobin,
            miimon: Miimon::default(),
            lacp_rate: None,
            hash_policy: None,
            primary: None,
            members: Vec::new(),
        };
        let mut common = Attachment::new(Selector::named(id), node.place.clone());
        let parameters = node.get("parameters");
        let primary = parameters
            .and_then(|it| it.get("primary"))
            .and_then(Node::text);
        for (key, value) in node.map() {
            match key.as_str() {
                "interfaces" => self.members(value, &name, primary),
                "parameters" => {
                    for (key, value) in value.map() {
                        self.bond_parameter(&mut bond, key, value);
                    }
                }
                _ => self.common(key, value, &mut common),
            }
        }
        self.add(Link::new(name, Kind::Bond(bond)), node, common);
    }

    fn bond_parameter(&mut self, bond: &mut Bond, key: &str, value: &Node) {
        match key {
            "mode" => bond.mode = self.word(value, key).unwrap_or(bond.mode),
            "lacp-rate" => bond.lacp_rate = self.word(value, key),
            "transmit-hash-policy" => bond.hash_policy = self.word(value, key),
            "mii-monitor-interval" => {
                let text = value.text().unwrap_or_default();
                let millis =
                    millis(text).ok_or_else(|| format!("expected milliseconds, found {text:?}"));
                // Never is what it must not be: a member without a carrier would be used for ever.
                let millis = self.found.value(&value.place, key, millis);
                bond.miimon = millis.and_then(Miimon::new).unwrap_or_default();
            }
            "primary" => {}
            "arp-interval" | "arp-ip-targets" | "arp-validate" | "arp-all-targets" => {
                let what = format!("{key}: members are watched by their carrier instead");
                self.found.remark(&value.place, Weight::Harmless, what);
            }
            "fail-over-mac-policy"
            | "min-links"
            | "ad-select"
            | "all-members-active"
            | "all-slaves-active"
            | "primary-reselect-policy" => {
                let what = format!("{key}: the kernel's default is used");
                self.found.remark(&value.place, Weight::Unknown, what);
            }
            other => self.unknown(&value.place, other),
        }
    }

    fn bridge(&mut self, id: &str, node: &Node) {
        let Some(name) = self.name(id, node) else {
            return;
        };
        // netplan(5): on, and 15 seconds.
        let (mut stp, mut forward_delay) = (true, None);
        let mut common = Attachment::new(Selector::named(id), node.place.clone());
        for (key, value) in node.map() {
            match key.as_str() {
                "interfaces" => self.members(value, &name, None),
                "parameters" => {
                    for (key, value) in value.map() {
                        match key.as_str() {
                            "stp" => {
                                let text = value.text().unwrap_or_default();
                                let yes = keyfile::yes(text);
                                stp = self.found.value(&value.place, key, yes).unwrap_or(stp);
                            }
                            "forward-delay" => forward_delay = self.parsed(value, key),
                            "hello-time" | "max-age" => {
                                let what = format!("{key}: the kernel's default is used");
                                self.found.remark(&value.place, Weight::Unknown, what);
                            }
                            other => self.unknown(&value.place, other),
                        }
                    }
                }
                _ => self.common(key, value, &mut common),
            }
        }
        let kind = Kind::Bridge {
            members: Vec::new(),
            stp,
            forward_delay,
        };
        self.add(Link::new(name, kind), node, common);
    }

    fn vlan(&mut self, id: &str, node: &Node) {
        let Some(name) = self.name(id, node) else {
            return;
        };
        let mut common = Attachment::new(Selector::named(id), node.place.clone());
        let (mut number, mut parent) = (None, None);
        for (key, value) in node.map() {
            match key.as_str() {
                "id" => number = self.parsed::<VlanId>(value, key),
                "link" => parent = value.text().map(|id| (self.selector(id), &value.place)),
                _ => self.common(key, value, &mut common),
            }
        }
        let (Some(number), Some((who, place))) = (number, parent) else {
            let what = format!("{id}: expected id and link");
            self.found.remark(&node.place, Weight::Matters, what);
            return;
        };
        self.found.attachments.push(Attachment {
            vlans: vec![name.clone()],
            ..Attachment::new(who, place.clone())
        });
        let kind = Kind::Vlan {
            id: number,
            parent: name.clone(),
            protocol: Default::default(),
        };
        self.add(Link::new(name, kind), node, common);
    }
}

/// netplan(5): milliseconds, unless a suffix says otherwise.
fn millis(text: &str) -> Option<u32> {
    match text.strip_suffix("ms").or(text.strip_suffix('s')) {
        Some(number) if !text.ends_with("ms") => {
            number.trim().parse::<u32>().ok()?.checked_mul(1000)
        }
        number => number.unwrap_or(text).trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests;
