//! Connection profiles of NetworkManager: nm-settings-keyfile(5).
//!
//! They hold secrets: nothing of a value is told but where it is one of the few that are read.

use std::sync::Arc;

use nightlatch_core::network::{Bond, BondMode, Cidr, Kind, Link, LinkName, Mac, Route, Word};

use super::found::{Attachment, Described, Found, Place, Selector, Weight};
use super::keyfile::{self, Entry, entries};

/// Sections that have nothing to do with reaching a server on the link.
const OTHER_SECTIONS: [&str; 12] = [
    "proxy",
    "user",
    "ipv4",
    "ipv6",
    "802-1x",
    "dcb",
    "tc",
    "sriov",
    "ethtool",
    "link",
    "hostname",
    "bridge-port",
];

/// Keys that are not needed to reach a server on the link.
const NOT_NEEDED: [&str; 37] = [
    // [connection]
    "id",
    "uuid",
    "type",
    "interface-name",
    "master",
    "controller",
    "slave-type",
    "port-type",
    "timestamp",
    "autoconnect",
    "autoconnect-priority",
    "autoconnect-slaves",
    "autoconnect-ports",
    "autoconnect-retries",
    "permissions",
    "zone",
    "lldp",
    "mdns",
    "llmnr",
    "dns-over-tls",
    "metered",
    "stable-id",
    "secondaries",
    "read-only",
    "multi-connect",
    "gateway-ping-timeout",
    "wait-device-timeout",
    "mud-url",
    // [ethernet]
    "auto-negotiate",
    "wake-on-lan",
    "wake-on-lan-password",
    "generate-mac-address-mask",
    "duplex",
    "speed",
    // [bridge]
    "ageing-time",
    "priority",
    "multicast-snooping",
];

/// One profile.
struct Profile<'t> {
    place: Place,
    file: Arc<str>,
    entries: Vec<Entry<'t>>,
}

/// Reads all profiles: they refer to each other by UUID.
pub fn read(files: &[(Arc<str>, &str)]) -> Found {
    let mut found = Found::default();
    let mut profiles = Vec::new();
    for (file, text) in files {
        let (entries, stray) = entries(text);
        for line in stray {
            found.remark(
                &Place::new(file, line),
                Weight::Unknown,
                "a line without a meaning",
            );
        }
        profiles.push(Profile {
            place: Place::new(file, 1),
            file: Arc::clone(file),
            entries,
        });
    }
    for profile in &profiles {
        profile.read(&profiles, &mut found);
    }
    found
}

impl Profile<'_> {
    fn get(&self, sections: &[&str], key: &str) -> Option<(&str, Place)> {
        let mut entries = self.entries.iter().rev();
        let entry = entries.find(|it| sections.contains(&it.section) && it.key == key)?;
        Some((entry.value.as_str(), Place::new(&self.file, entry.line)))
    }

    fn connection(&self, key: &str) -> Option<&str> {
        self.get(&["connection"], key).map(|(value, _)| value)
    }

    /// The name of its interface: as it says, or as NetworkManager makes one of a VLAN's parent.
    fn interface(&self, all: &[Profile<'_>]) -> Option<String> {
        let own = self.connection("interface-name");
        let own = own.or(self
            .get(&["vlan"], "interface-name")
            .map(|(value, _)| value));
        match own.filter(|name| !name.is_empty()) {
            Some(name) => Some(name.to_owned()),
            None if self.connection("type") == Some("vlan") => {
                let (id, _) = self.get(&["vlan"], "id")?;
                Some(format!("{}.{id}", self.parent(all)?.only_name()?))
            }
            None => None,
        }
    }

    /// Which interfaces a profile is for.
    fn selector(&self, all: &[Profile<'_>]) -> Selector {
        let list = |key: &str| -> Vec<String> {
            let value = self.get(&["match"], key).map(|(value, _)| value);
            let words = value.unwrap_or_default().split(';');
            let words = words.map(str::trim).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let mac = self.get(&["ethernet", "802-3-ethernet"], "mac-address");
        let mut names = list("interface-name");
        names.extend(self.interface(all));
        Selector {
            names,
            macs: mac
                .and_then(|(mac, _)| mac.parse().ok())
                .into_iter()
                .collect(),
            drivers: list("driver"),
            paths: list("path"),
            physical: false,
        }
    }

    /// What a reference means: the UUID of a profile, or the name of an interface.
    fn referred(reference: &str, all: &[Profile<'_>]) -> Selector {
        let profile = all
            .iter()
            .find(|it| it.connection("uuid") == Some(reference));
        match profile {
            Some(profile) => profile.selector(&[]),
            None => match reference.parse::<Mac>() {
                Ok(mac) => Selector {
                    macs: vec![mac],
                    ..Selector::default()
                },
                Err(_) => Selector::named(reference),
            },
        }
    }

    fn parent(&self, all: &[Profile<'_>]) -> Option<Selector> {
        match self.get(&["vlan"], "parent") {
            Some((parent, _)) => Some(Self::referred(parent, all)),
            // It may stand in [ethernet] as the address of the parent.
            None => {
                let (mac, _) = self.get(&["ethernet", "802-3-ethernet"], "mac-address")?;
                Some(Self::referred(mac, &[]))
            }
        }
    }

    fn read(&self, all: &[Profile<'_>], found: &mut Found) {
        let kind = self.connection("type").unwrap_or_default();
        let id = self.connection("id").unwrap_or("a profile").to_owned();
        let mut own = Attachment::new(self.selector(all), self.place.clone());
        self.common(found, &mut own);
        self.membership(found, all, &mut own);
        let made = match kind {
            "ethernet" | "802-3-ethernet" => None,
            "vlan" => Some(self.vlan(found, all)),
            "bond" => Some(self.bond(found)),
            "bridge" => Some(self.bridge(found)),
            "loopback" => return,
            "wifi" | "802-11-wireless" => {
                let what = format!("{id}: Wi-Fi needs the network hook `wireless`");
                found.remark(&self.place, Weight::Matters, what);
                return;
            }
            other => {
                let what = format!("{id}: a link of type {other} is not made at boot");
                found.remark(&self.place, Weight::Matters, what);
                return;
            }
        };
        self.remark_others(found, kind);
        let Some(made) = made else {
            if own.who != Selector::default() || own.master.is_some() {
                found.attachments.push(own);
            }
            return;
        };
        let name = self.interface(all);
        let name =
            name.and_then(|name| found.parse::<LinkName>(&self.place, "interface-name", &name));
        let (Some(name), Some(kind)) = (name, made) else {
            let what = format!("{id}: expected interface-name, and id and parent of a VLAN");
            found.remark(&self.place, Weight::Matters, what);
            return;
        };
        if own.master.is_some() {
            found.attachments.push(Attachment {
                master: own.master.take(),
                primary: own.primary,
                ..Attachment::new(Selector::named(name.as_str()), self.place.clone())
            });
        }
        let kind = match kind {
            Kind::Vlan { id, protocol, .. } => {
                let who = self.parent(all).unwrap_or_default();
                found.attachments.push(Attachment {
                    vlans: vec![name.clone()],
                    ..Attachment::new(who, self.place.clone())
                });
                Kind::Vlan {
                    id,
                    protocol,
                    parent: name.clone(),
                }
            }
            other => other,
        };
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

    fn common(&self, found: &mut Found, own: &mut Attachment) {
        let ethernet = ["ethernet", "802-3-ethernet"];
        if let Some((mtu, place)) = self.get(&ethernet, "mtu") {
            own.mtu = found.parse_unless_zero(&place, "mtu", mtu);
        }
        let cloned = self.get(&ethernet, "cloned-mac-address");
        let cloned = cloned.or_else(|| self.get(&["bridge"], "mac-address"));
        if let Some((mac, place)) = cloned {
            match mac.parse() {
                Ok(mac) => own.mac = Some(mac),
                Err(_) if ["permanent", "preserve"].contains(&mac) => {}
                Err(_) => found.remark(
                    &place,
                    Weight::Unknown,
                    format!("{mac:?} as address: not understood"),
                ),
            }
        }
        for entry in &self.entries {
            let place = Place::new(&self.file, entry.line);
            if !["ipv4", "ipv6"].contains(&entry.section) {
                continue;
            }
            let numbered = |what: &str| {
                let number = entry.key.strip_prefix(what);
                number.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
            };
            if numbered("address") || numbered("addresses") {
                let (address, gateway) = entry.value.split_once(',').unwrap_or((&entry.value, ""));
                own.addresses
                    .extend(found.parse::<Cidr>(&place, entry.key, address));
                if !gateway.trim().is_empty() {
                    let text = format!("default via {}", gateway.trim());
                    own.routes
                        .extend(found.parse::<Route>(&place, entry.key, &text));
                }
            } else if entry.key == "gateway" {
                let text = format!("default via {}", entry.value);
                own.routes
                    .extend(found.parse::<Route>(&place, entry.key, &text));
            } else if numbered("route") || numbered("routes") {
                let mut parts = entry.value.split(',').map(str::trim);
                let to = match parts.next().unwrap_or_default() {
                    "0.0.0.0/0" | "::/0" => "default",
                    to => to,
                };
                let via = parts.next().filter(|via| !via.is_empty());
                let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
                own.routes
                    .extend(found.parse::<Route>(&place, entry.key, &format!("{to}{via}")));
            }
        }
    }

    fn membership(&self, found: &mut Found, all: &[Profile<'_>], own: &mut Attachment) {
        let master = self.get(&["connection"], "controller");
        let Some((master, place)) = master.or_else(|| self.get(&["connection"], "master")) else {
            return;
        };
        let kind = self
            .connection("port-type")
            .or(self.connection("slave-type"));
        if let Some(other) = kind.filter(|kind| !["bond", "bridge"].contains(kind)) {
            let what = format!("a member of a link of type {other}, which is not made at boot");
            found.remark(&place, Weight::Matters, what);
            return;
        }
        let selector = Self::referred(master, all);
        match selector.only_name() {
            Some(name) => own.master = found.parse(&place, "controller", name),
            None => {
                let what = "controller: expected the name of an interface or the UUID of a profile with one";
                found.remark(&place, Weight::Matters, what);
                return;
            }
        }
        let of_master = all
            .iter()
            .find(|it| it.interface(all).as_deref() == selector.only_name());
        let primary = of_master.and_then(|it| it.get(&["bond"], "primary"));
        own.primary = primary.is_some_and(|(name, _)| own.who.only_name() == Some(name));
    }

    fn vlan(&self, found: &mut Found, all: &[Profile<'_>]) -> Option<Kind> {
        let (id, place) = self.get(&["vlan"], "id")?;
        self.parent(all)?;
        Some(Kind::Vlan {
            id: found.parse(&place, "id", id)?,
            // The caller knows the name.
            parent: "none".parse().ok()?,
            protocol: self.word(found, "vlan", "protocol").unwrap_or_default(),
        })
    }

    fn word<T: Word>(&self, found: &mut Found, section: &str, key: &str) -> Option<T> {
        let (text, place) = self.get(&[section], key)?;
        let lower = text.to_ascii_lowercase();
        let value =
            T::of(&lower).ok_or_else(|| format!("expected one of {}, found {text:?}", T::words()));
        found.value(&place, key, value)
    }

    fn bond(&self, found: &mut Found) -> Option<Kind> {
        let miimon = self.get(&["bond"], "miimon");
        let miimon =
            miimon.and_then(|(text, place)| found.parse_unless_zero(&place, "miimon", text));
        for key in ["arp_interval", "arp_ip_target", "arp_validate"] {
            if let Some((_, place)) = self.get(&["bond"], key) {
                let what = format!("{key}: members are watched by their carrier instead");
                found.remark(&place, Weight::Harmless, what);
            }
        }
        Some(Kind::Bond(Bond {
            mode: self
                .word(found, "bond", "mode")
                .unwrap_or(BondMode::RoundRobin),
            miimon: miimon.unwrap_or_default(),
            lacp_rate: self.word(found, "bond", "lacp_rate"),
            hash_policy: self.word(found, "bond", "xmit_hash_policy"),
            primary: None,
            members: Vec::new(),
        }))
    }

    fn bridge(&self, found: &mut Found) -> Option<Kind> {
        if let Some((text, place)) = self.get(&["bridge"], "vlan-filtering")
            && keyfile::yes(text) == Ok(true)
        {
            let what = "vlan-filtering: VLANs inside of a bridge are not made at boot";
            found.remark(&place, Weight::Matters, what);
        }
        let stp = self.get(&["bridge"], "stp");
        let stp = stp.and_then(|(text, place)| found.value(&place, "stp", keyfile::yes(text)));
        let delay = self.get(&["bridge"], "forward-delay");
        let delay = delay.and_then(|(text, place)| found.parse(&place, "forward-delay", text));
        Some(Kind::Bridge {
            members: Vec::new(),
            // nm-settings(5): on.
            stp: stp.unwrap_or(true),
            forward_delay: delay,
        })
    }

    fn remark_others(&self, found: &mut Found, kind: &str) {
        const BOND: [&str; 12] = [
            "mode",
            "miimon",
            "lacp_rate",
            "xmit_hash_policy",
            "primary",
            "arp_interval",
            "arp_ip_target",
            "arp_validate",
            "updelay",
            "downdelay",
            "num_grat_arp",
            "num_unsol_na",
        ];
        for entry in &self.entries {
            let known: &[&str] = match entry.section {
                "vlan" => &["id", "parent", "interface-name", "protocol", "flags"],
                "bond" => &BOND,
                "bridge" => &["stp", "forward-delay", "vlan-filtering", "mac-address"],
                "ethernet" | "802-3-ethernet" => &["mac-address", "mtu", "cloned-mac-address"],
                "match" => &["interface-name", "driver", "path"],
                _ => &[],
            };
            let quiet = OTHER_SECTIONS.contains(&entry.section)
                // Secrets and details of what is not made are told by its type.
                || (entry.section != kind && known.is_empty() && entry.section.starts_with("wifi"));
            if quiet || known.contains(&entry.key) || NOT_NEEDED.contains(&entry.key) {
                continue;
            }
            let place = Place::new(&self.file, entry.line);
            let what = format!("[{}] {}: not understood", entry.section, entry.key);
            let weight = match entry.section {
                "match" => Weight::Matters,
                _ => Weight::Unknown,
            };
            found.remark(&place, weight, what);
        }
    }
}

#[cfg(test)]
mod tests;
