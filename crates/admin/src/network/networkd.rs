//! systemd.netdev(5), systemd.network(5) and systemd.link(5).

use std::sync::Arc;

use nightlatch_core::network::{
    Bond, BondMode, Cidr, ForwardDelay, HashPolicy, Kind, LacpRate, Link, LinkName, Mac, Miimon,
    Mtu, Protocol, Route, Word,
};

use super::found::{Attachment, Described, Found, Place, Selector, Weight};
use super::keyfile::{self, Entry, entries};
use keys::{
    ADDRESS, BOND, BRIDGE, LINK, MATCH, NETDEV, NETWORK, NOT_NEEDED, OTHER_SECTIONS, ROUTE, VLAN,
};

mod keys;

/// The first of these files that means an interface counts for it.
const NETWORKS: &str = ".network";
const LINKS: &str = ".link";

/// Reads files in their order: each its name (without a folder) with its text, and the drop-ins that
/// belong to it follow as files of the same name.
pub fn read(files: &[(Arc<str>, &str, &str)]) -> Found {
    let mut found = Found::default();
    let mut index = 0;
    while let Some((_, name, _)) = files.get(index) {
        let count = files[index..]
            .iter()
            .take_while(|(_, other, _)| other == name)
            .count();
        let parts = &files[index..index + count];
        index += count;
        let mut all: Vec<(Place, Entry<'_>)> = Vec::new();
        for (part, (file, _, text)) in parts.iter().enumerate() {
            let (entries, stray) = entries(text);
            for line in stray {
                found.remark(
                    &Place::new(file, line),
                    Weight::Unknown,
                    "a line without a meaning",
                );
            }
            // Sections of different files are different ones.
            all.extend(entries.into_iter().map(|entry| {
                let block = entry.block + part * 100_000;
                (Place::new(file, entry.line), Entry { block, ..entry })
            }));
        }
        let whole = Whole {
            place: Place::new(&parts[0].0, 1),
            entries: all,
        };
        match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("netdev") => whole.netdev(&mut found),
            Some("network") => whole.network(&mut found),
            Some("link") => whole.link(&mut found),
            _ => {}
        }
    }
    found
}

/// A file with its drop-ins.
struct Whole<'t> {
    place: Place,
    entries: Vec<(Place, Entry<'t>)>,
}

impl Whole<'_> {
    fn last(&self, section: &str, key: &str) -> Option<(&str, &Place)> {
        let mut entries = self.entries.iter().rev();
        let entry = entries.find(|(_, entry)| entry.section == section && entry.key == key);
        entry.map(|(place, entry)| (entry.value.as_str(), place))
    }

    fn parsed<T>(&self, found: &mut Found, section: &str, key: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let (text, place) = self.last(section, key)?;
        found.parse(place, key, text)
    }

    fn word<T: Word>(&self, found: &mut Found, section: &str, key: &str) -> Option<T> {
        let (text, place) = self.last(section, key)?;
        let value =
            T::of(text).ok_or_else(|| format!("expected one of {}, found {text:?}", T::words()));
        found.value(place, key, value)
    }

    fn yes(&self, found: &mut Found, section: &str, key: &str) -> Option<bool> {
        let (text, place) = self.last(section, key)?;
        found.value(place, key, keyfile::yes(text))
    }

    /// Notes every key that is neither `known` nor without use here.
    fn remark_others(&self, found: &mut Found, known: &[(&str, &[&str])]) {
        for (place, entry) in &self.entries {
            let section = known.iter().find(|(section, _)| *section == entry.section);
            let keys = section.map_or(&[][..], |(_, keys)| keys);
            let quiet = OTHER_SECTIONS.contains(&entry.section) && section.is_none();
            if quiet || keys.contains(&entry.key) || NOT_NEEDED.contains(&entry.key) {
                continue;
            }
            let what = format!("[{}] {}: not understood", entry.section, entry.key);
            found.remark(place, Weight::Unknown, what);
        }
    }

    fn netdev(&self, found: &mut Found) {
        let Some((kind, place)) = self.last("NetDev", "Kind") else {
            found.remark(&self.place, Weight::Matters, "expected Kind= in [NetDev]");
            return;
        };
        let Some(name) = self.parsed::<LinkName>(found, "NetDev", "Name") else {
            found.remark(&self.place, Weight::Matters, "expected Name= in [NetDev]");
            return;
        };
        let (made, section) = match kind {
            "vlan" => (self.vlan(found, &name), VLAN),
            "bond" => (self.bond(found), BOND),
            "bridge" => (self.bridge(found), BRIDGE),
            other => {
                let what = format!("{name}: a link of kind {other} is not made at boot");
                found.remark(place, Weight::Matters, what);
                return;
            }
        };
        self.remark_others(found, &[NETDEV, section]);
        let Some(made) = made else { return };
        let mut link = Link::new(name, made);
        link.mac = self.mac(found, "NetDev");
        link.mtu = self.bytes(found, "NetDev");
        let place = self.place.clone();
        found.links.push(Described { link, place });
    }

    fn mac(&self, found: &mut Found, section: &str) -> Option<Mac> {
        match self.last(section, "MACAddress") {
            Some(("none", _)) | None => None,
            Some((text, place)) => found.parse(place, "MACAddress", text),
        }
    }

    fn bytes(&self, found: &mut Found, section: &str) -> Option<Mtu> {
        let (text, place) = self.last(section, "MTUBytes")?;
        let bytes = bytes(text)
            .and_then(Mtu::new)
            .ok_or_else(|| format!("expected a number of bytes from 68 to 65535, found {text:?}"));
        found.value(place, "MTUBytes", bytes)
    }

    fn vlan(&self, found: &mut Found, name: &LinkName) -> Option<Kind> {
        let Some(id) = self.parsed(found, "VLAN", "Id") else {
            found.remark(&self.place, Weight::Matters, "expected Id= in [VLAN]");
            return None;
        };
        Some(Kind::Vlan {
            id,
            parent: name.clone(),
            protocol: self
                .word::<Protocol>(found, "VLAN", "Protocol")
                .unwrap_or_default(),
        })
    }

    fn bond(&self, found: &mut Found) -> Option<Kind> {
        let miimon = self
            .last("Bond", "MIIMonitorSec")
            .and_then(|(text, place)| {
                let millis = millis(text)
                    .ok_or_else(|| format!("expected a length of time, found {text:?}"));
                found.value(place, "MIIMonitorSec", millis)
            });
        for key in [
            "ARPIntervalSec",
            "ARPIPTargets",
            "ARPValidate",
            "ARPAllTargets",
        ] {
            if let Some((_, place)) = self.last("Bond", key) {
                let what = format!("{key}: members are watched by their carrier instead");
                found.remark(place, Weight::Harmless, what);
            }
        }
        Some(Kind::Bond(Bond {
            mode: self
                .word(found, "Bond", "Mode")
                .unwrap_or(BondMode::RoundRobin),
            miimon: miimon.and_then(Miimon::new).unwrap_or_default(),
            lacp_rate: self.word::<LacpRate>(found, "Bond", "LACPTransmitRate"),
            hash_policy: self.word::<HashPolicy>(found, "Bond", "TransmitHashPolicy"),
            primary: None,
            members: Vec::new(),
        }))
    }

    fn bridge(&self, found: &mut Found) -> Option<Kind> {
        if let Some((text, place)) = self.last("Bridge", "VLANFiltering")
            && keyfile::yes(text) == Ok(true)
        {
            let what = "VLANFiltering: VLANs inside of a bridge are not made at boot";
            found.remark(place, Weight::Matters, what);
        }
        let delay = self
            .last("Bridge", "ForwardDelaySec")
            .and_then(|(text, place)| {
                let delay = millis(text)
                    .and_then(|millis| ForwardDelay::new(millis / 1000))
                    .ok_or_else(|| format!("expected at most 30 seconds, found {text:?}"));
                found.value(place, "ForwardDelaySec", delay)
            });
        Some(Kind::Bridge {
            members: Vec::new(),
            stp: self.yes(found, "Bridge", "STP").unwrap_or(false),
            forward_delay: delay,
        })
    }

    /// What `[Match]` means. `None` when it means no interface that could be used at boot, or, and noted, when
    /// only the running system can know.
    fn selector(&self, found: &mut Found) -> Option<Selector> {
        let matches = || self.entries.iter().filter(|(_, it)| it.section == "Match");
        if matches().any(|(_, entry)| is_never_meant(entry)) {
            return None;
        }
        let mut selector = Selector::default();
        let mut known = true;
        for (place, entry) in matches() {
            let words = || entry.value.split_whitespace().map(str::to_owned);
            match entry.key {
                "Name" | "OriginalName" => selector.names.extend(words()),
                "MACAddress" | "PermanentMACAddress" => {
                    let macs = words().filter_map(|word| found.parse(place, entry.key, &word));
                    let macs: Vec<Mac> = macs.collect();
                    selector.macs.extend(macs);
                }
                "Driver" => selector.drivers.extend(words()),
                "Path" => selector.paths.extend(words()),
                // What is no cable is no interface that could be used here.
                "Type" if entry.value == "ether" => selector.physical = true,
                "Kind" if entry.value == "!*" => selector.physical = true,
                "Virtualization" if entry.value == "!container" => {}
                _ => {
                    let what = format!(
                        "[Match] {}: not understood, the file is left out",
                        entry.key
                    );
                    found.remark(place, Weight::Matters, what);
                    known = false;
                }
            }
        }
        let some = selector != Selector::default();
        if known && !some {
            found.remark(
                &self.place,
                Weight::Matters,
                "expected [Match], the file is left out",
            );
        }
        (known && some).then_some(selector)
    }

    fn network(&self, found: &mut Found) {
        let Some(who) = self.selector(found) else {
            return;
        };
        self.remark_others(found, &[MATCH, LINK, NETWORK, ADDRESS, ROUTE]);
        let mut own = Attachment::new(who, self.place.clone());
        own.first_of = Some(NETWORKS);
        own.mac = self.mac(found, "Link");
        own.mtu = self.bytes(found, "Link");
        for (place, entry) in &self.entries {
            let value = entry.value.as_str();
            match (entry.section, entry.key) {
                ("Network", "VLAN") => own
                    .vlans
                    .extend(found.parse::<LinkName>(place, "VLAN", value)),
                ("Network", "Bond" | "Bridge") => own.master = found.parse(place, entry.key, value),
                ("Network", "PrimarySlave") => own.primary = keyfile::yes(value) == Ok(true),
                ("Network" | "Address", "Address") => {
                    own.addresses.extend(address(found, place, value));
                }
                ("Network", "Gateway") => {
                    let text = format!("default via {value}");
                    own.routes
                        .extend(found.parse::<Route>(place, "Gateway", &text));
                }
                (
                    "Network",
                    "MACVLAN" | "MACVTAP" | "IPVLAN" | "IPVTAP" | "VXLAN" | "Tunnel" | "VRF"
                    | "Xfrm" | "MACsec" | "IPoIB" | "BatmanAdvanced",
                ) => {
                    let what = format!("{}={value}: such a link is not made at boot", entry.key);
                    found.remark(place, Weight::Matters, what);
                }
                _ => {}
            }
        }
        own.routes.extend(self.routes(found));
        found.attachments.push(own);
    }

    fn routes(&self, found: &mut Found) -> Vec<Route> {
        let mut blocks: Vec<usize> = Vec::new();
        for (_, entry) in self.entries.iter().filter(|(_, it)| it.section == "Route") {
            if blocks.last() != Some(&entry.block) {
                blocks.push(entry.block);
            }
        }
        let mut routes = Vec::new();
        for block in blocks {
            let get = |key: &str| {
                let mut entries = self.entries.iter();
                let entry = entries.find(|(_, it)| it.block == block && it.key == key);
                entry.map(|(place, entry)| (entry.value.as_str(), place))
            };
            let gateway = get("Gateway").filter(|(it, _)| !it.starts_with('_'));
            let to = get("Destination");
            let Some((_, place)) = gateway.or(to) else {
                continue;
            };
            let onlink = get("GatewayOnLink").is_some_and(|(it, _)| keyfile::yes(it) == Ok(true));
            let to = match to {
                Some((to, _)) if to != "0.0.0.0/0" && to != "::/0" => to,
                _ => "default",
            };
            let via = gateway.map(|(via, _)| format!(" via {via}"));
            let onlink = if onlink && via.is_some() {
                " onlink"
            } else {
                ""
            };
            let text = format!("{to}{}{onlink}", via.unwrap_or_default());
            routes.extend(found.parse::<Route>(place, "Route", &text));
        }
        routes
    }

    fn link(&self, found: &mut Found) {
        // Hardware settings are many, and none is needed.
        let name = self.last("Link", "Name");
        if name.is_none()
            && self.last("Link", "MTUBytes").is_none()
            && self.mac(found, "Link").is_none()
        {
            return;
        }
        let Some(who) = self.selector(found) else {
            return;
        };
        let mut own = Attachment::new(who, self.place.clone());
        own.first_of = Some(LINKS);
        own.name = name.and_then(|(name, place)| found.parse(place, "Name", name));
        own.mac = self.mac(found, "Link");
        own.mtu = self.bytes(found, "Link");
        found.attachments.push(own);
    }
}

/// Whether a line of `[Match]` leaves out every wired interface, and every link that is made at boot:
/// containers, tunnels, and Wi-Fi that leads to no network of others.
fn is_never_meant(entry: &Entry<'_>) -> bool {
    let mut words = entry.value.split_whitespace();
    let wanted: &[&str] = match entry.key {
        "Virtualization" => return entry.value == "container",
        "WLANInterfaceType" => return matches!(entry.value.as_str(), "ad-hoc" | "ap"),
        // Of Wi-Fi is told that it is left out: it may be the only network there is.
        "Type" => &["ether", "vlan", "bond", "bridge", "wlan"],
        "Kind" => &["vlan", "bond", "bridge"],
        _ => return false,
    };
    let is_wanted =
        |word: &str| wanted.contains(&word) || word.starts_with('!') || word.contains('*');
    !words.any(is_wanted)
}

/// An address without a length is one of a single host; one of zeros has networkd choose a network of its
/// own to serve.
fn address(found: &mut Found, place: &Place, text: &str) -> Option<Cidr> {
    if let Some((zeros, _)) = text.split_once('/')
        && matches!(zeros, "0.0.0.0" | "::")
    {
        return None;
    }
    match (text.contains('/'), text.contains(':')) {
        (true, _) => found.parse(place, "Address", text),
        (false, true) => found.parse(place, "Address", &format!("{text}/128")),
        (false, false) => found.parse(place, "Address", &format!("{text}/32")),
    }
}

/// A length of time in milliseconds: seconds, or with `ms`, `s` or `min` (systemd.time(7)).
fn millis(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor = match text.get(digits.len()..)?.trim() {
        "ms" | "msec" => 1,
        "" | "s" | "sec" => 1000,
        "min" | "m" => 60_000,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u32 = whole.parse().ok()?;
    let mut millis = whole.checked_mul(factor)?;
    if !fraction.is_empty() {
        let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
        millis =
            millis.checked_add(thousandths.parse::<u32>().ok()?.checked_mul(factor)? / 1000)?;
    }
    Some(millis)
}

/// A number of bytes, or of 1024 (`K`), and so on.
fn bytes(text: &str) -> Option<u32> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1024),
        b'M' => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    digits.trim().parse::<u32>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests;
