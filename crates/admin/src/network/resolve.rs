//! From what the files say to the links that are made at boot.
//!
//! Pure: which interfaces the machine has is an argument.

use std::collections::{BTreeMap, BTreeSet};

use nightlatch_core::network::present::Present;
use nightlatch_core::network::{Definition, Kind, Link, LinkName, Mac, Match};

use super::found::{Attachment, Described, Found, Place, Remark, Selector, Weight};

/// What goes into the image, where each link comes from, and what does not.
#[derive(Default, Debug)]
pub struct Resolved {
    /// What `network.conf` says.
    pub definition: Definition,
    /// Where each of its links stands in the host's files.
    pub places: BTreeMap<LinkName, Place>,
    /// What was not understood or is left out.
    pub remarks: Vec<Remark>,
}

/// Puts together what was found, by each who describes the network. `wanted` are the interfaces that are asked for; without, all that is
/// made is taken. `host` are the interfaces of the machine, as far as they are known.
pub fn resolve(all: Vec<Found>, host: &[Present], wanted: &[String]) -> Resolved {
    let mut work = Work {
        host,
        made: BTreeMap::new(),
        devices: BTreeMap::new(),
        places: BTreeMap::new(),
        remarks: Vec::new(),
    };
    for found in all {
        work.remarks.extend(found.remarks);
        let mut own = BTreeSet::new();
        for described in found.links {
            let name = described.link.name.clone();
            if work.add_made(described) {
                own.insert(name);
            }
        }
        let mut claims: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for attachment in found.attachments {
            let attachment = work.without_others(attachment, &own);
            work.attach(&attachment, &mut claims);
        }
    }
    work.finish(wanted)
}

struct Work<'h> {
    host: &'h [Present],
    /// Links that are made of others.
    made: BTreeMap<LinkName, Link>,
    /// Interfaces that a file says something about.
    devices: BTreeMap<LinkName, Link>,
    places: BTreeMap<LinkName, Place>,
    remarks: Vec<Remark>,
}

impl Work<'_> {
    fn remark(&mut self, place: &Place, weight: Weight, what: String) {
        self.remarks.push(Remark {
            place: place.clone(),
            what,
            weight,
        });
    }

    /// Tells whether it is taken: not when another describes it already.
    fn add_made(&mut self, described: Described) -> bool {
        let Described { link, place } = described;
        if let Some(first) = self.places.get(&link.name) {
            let what = format!(
                "{} is described in {first} already, which is taken",
                link.name
            );
            self.remark(&place, Weight::Unknown, what);
            return false;
        }
        self.places.insert(link.name.clone(), place);
        self.made.insert(link.name.clone(), link);
        true
    }

    /// What somebody says of a link counts only where his description of it does.
    fn without_others(&self, attachment: Attachment, own: &BTreeSet<LinkName>) -> Attachment {
        let others = |name: &LinkName| self.made.contains_key(name) && !own.contains(name);
        let mut attachment = attachment;
        attachment.master = attachment.master.filter(|name| !others(name));
        attachment.vlans.retain(|name| !others(name));
        attachment
    }

    /// The names of the links that a selector means, by the names of the running system.
    fn meant(&self, attachment: &Attachment) -> Vec<LinkName> {
        let who = &attachment.who;
        if let Some(name) = who.only_name() {
            return name.parse().into_iter().collect();
        }
        let on_host = self.host.iter().filter(|it| {
            let is_made = self.made.keys().any(|name| name.as_str() == it.name);
            !is_made && fits(who, it)
        });
        let mut meant: Vec<LinkName> = on_host.filter_map(|it| it.name.parse().ok()).collect();
        if !who.names.is_empty() && !who.physical && who.macs.is_empty() && who.drivers.is_empty() {
            let made = self.made.keys();
            meant.extend(
                made.filter(|name| named(&who.names, name.as_str()))
                    .cloned(),
            );
        }
        // Where the machine is not known, a name that is given is as good.
        if let (true, Some(name)) = (meant.is_empty(), &attachment.name) {
            meant.push(name.clone());
        }
        meant
    }

    fn attach(
        &mut self,
        attachment: &Attachment,
        claims: &mut BTreeMap<&'static str, Vec<String>>,
    ) {
        let mut meant = self.meant(attachment);
        if let Some(group) = attachment.first_of {
            let claimed = claims.entry(group).or_default();
            meant.retain(|name| !claimed.iter().any(|it| it == name.as_str()));
            claimed.extend(meant.iter().map(ToString::to_string));
        }
        let joins = attachment.master.is_some() || !attachment.vlans.is_empty();
        if meant.is_empty() && joins {
            let what = "no interface of this machine is meant by it".to_owned();
            self.remark(&attachment.place, Weight::Matters, what);
        }
        for name in meant {
            self.join(&name, attachment);
            let said = attachment.mac.is_some()
                || attachment.mtu.is_some()
                || !attachment.addresses.is_empty()
                || !attachment.routes.is_empty();
            if let Some(link) = self.made.get_mut(&name) {
                add(link, attachment);
            } else {
                let device = self.device(&name, attachment);
                if said {
                    add(device, attachment);
                }
            }
        }
    }

    fn join(&mut self, name: &LinkName, attachment: &Attachment) {
        let mut unknown = Vec::new();
        if let Some(master) = &attachment.master {
            match self.made.get_mut(master).map(|link| &mut link.kind) {
                Some(Kind::Bond(bond)) => {
                    push(&mut bond.members, name);
                    if attachment.primary {
                        bond.primary = Some(name.clone());
                    }
                }
                Some(Kind::Bridge { members, .. }) => push(members, name),
                _ => unknown.push(master.clone()),
            }
        }
        for vlan in &attachment.vlans {
            match self.made.get_mut(vlan).map(|link| &mut link.kind) {
                Some(Kind::Vlan { parent, .. }) => *parent = name.clone(),
                _ => unknown.push(vlan.clone()),
            }
        }
        for other in unknown {
            let what = format!("{other} is not described, or is no link of that kind");
            self.remark(&attachment.place, Weight::Matters, what);
        }
    }

    /// An interface, recognised as surely as possible.
    fn device(&mut self, name: &LinkName, attachment: &Attachment) -> &mut Link {
        let present = self.host.iter().find(|it| it.name == name.as_str());
        let link = self.devices.entry(name.clone()).or_insert_with(|| {
            let wanted = present.map_or_else(|| by_file(&attachment.who), by_host);
            Link::new(name.clone(), Kind::Device(wanted))
        });
        let place = &attachment.place;
        self.places
            .entry(name.clone())
            .or_insert_with(|| place.clone());
        link
    }

    fn finish(mut self, wanted: &[String]) -> Resolved {
        self.drop_empty();
        let made: Vec<Link> = std::mem::take(&mut self.made).into_values().collect();
        let mut links = Vec::new();
        for link in made {
            links.push(link);
            // A link that does not fit is left out, the others are made.
            if let Err(misfit) = Definition::new(links.clone())
                && let Some(link) = links.pop()
            {
                let place = self.places.get(&link.name).cloned();
                if let Some(place) = place {
                    self.remark(
                        &place,
                        Weight::Matters,
                        format!("{misfit}; {} is left out", link.name),
                    );
                }
            }
        }
        let parts = links.iter().flat_map(Link::parts).map(LinkName::as_str);
        let mut needed: Vec<String> = parts.map(str::to_owned).collect();
        needed.extend(wanted.iter().cloned());
        for name in &needed {
            let is_there = links.iter().any(|link| link.name.as_str() == name);
            if let (false, Ok(name)) = (is_there, name.parse::<LinkName>()) {
                links.extend(self.needed_device(name));
            }
        }
        // With addresses of its own an interface serves `connect`, also where nothing is made of it.
        let devices = std::mem::take(&mut self.devices).into_values();
        let static_ones =
            devices.filter(|link| !link.addresses.is_empty() || !link.routes.is_empty());
        for link in static_ones {
            if !links.iter().any(|known| known.name == link.name) {
                links.push(link);
            }
        }
        let mut definition = Definition::new(links).unwrap_or_default();
        if !wanted.is_empty() {
            definition = definition.needed_for(wanted);
        }
        let taken = |name: &LinkName| definition.link(name.as_str()).is_some();
        self.places.retain(|name, _| taken(name));
        let weight =
            |remark: &Remark| (remark.weight, remark.place.file.clone(), remark.place.line);
        self.remarks.sort_by_key(weight);
        self.remarks.dedup();
        Resolved {
            definition,
            places: self.places,
            remarks: self.remarks,
        }
    }

    /// An interface that is asked for or a part of something, though no file says anything about it.
    fn needed_device(&mut self, name: LinkName) -> Option<Link> {
        if let Some(link) = self.devices.remove(&name) {
            return Some(link);
        }
        let present = self.host.iter().find(|it| it.name == name.as_str());
        let wanted = present.map(by_host)?;
        (!wanted.is_by_name()).then(|| Link::new(name, Kind::Device(wanted)))
    }

    /// Links of nothing reach nobody: bridges for virtual machines, VLANs whose parent is not known.
    fn drop_empty(&mut self) {
        loop {
            let empty = self.made.values().find(|link| match &link.kind {
                Kind::Vlan { parent, .. } => *parent == link.name,
                _ => link.parts().is_empty(),
            });
            let Some(name) = empty.map(|link| link.name.clone()) else {
                return;
            };
            self.made.remove(&name);
            for link in self.made.values_mut() {
                match &mut link.kind {
                    Kind::Vlan { parent, .. } if *parent == name => *parent = link.name.clone(),
                    Kind::Bond(bond) => bond.remove_member(&name),
                    Kind::Bridge { members, .. } => members.retain(|member| *member != name),
                    _ => {}
                }
            }
            if let Some(place) = self.places.remove(&name) {
                let what = format!("{name} is made of nothing and reaches nobody; it is left out");
                self.remark(&place, Weight::Harmless, what);
            }
        }
    }
}

fn push(members: &mut Vec<LinkName>, name: &LinkName) {
    if !members.contains(name) {
        members.push(name.clone());
    }
}

fn add(link: &mut Link, attachment: &Attachment) {
    link.mac = link.mac.or(attachment.mac);
    link.mtu = link.mtu.or(attachment.mtu);
    for address in &attachment.addresses {
        if !link.addresses.contains(address) {
            link.addresses.push(*address);
        }
    }
    for route in &attachment.routes {
        if !link.routes.contains(route) {
            link.routes.push(*route);
        }
    }
}

/// By the address that its maker gave it; else by its place, and else by its name.
fn by_host(present: &Present) -> Match {
    let pci = |address: &&String| address.split(':').count() == 3 && address.contains('.');
    match present.permanent_mac {
        Some(mac) => Match {
            mac: Some(mac),
            ..Match::default()
        },
        None => Match {
            path: present
                .bus_address
                .as_ref()
                .filter(pci)
                .map(|it| format!("pci-{it}")),
            ..Match::default()
        },
    }
}

/// By what the file says, where the machine itself is not known.
fn by_file(who: &Selector) -> Match {
    let exact = |list: &[String]| match list {
        [one] if !one.contains(['*', '?', '[', '!']) => Some(one.clone()),
        _ => None,
    };
    let mac: Option<Mac> = match who.macs[..] {
        [mac] => Some(mac),
        _ => None,
    };
    Match {
        mac,
        driver: exact(&who.drivers).filter(|_| mac.is_none()),
        path: exact(&who.paths).filter(|path| mac.is_none() && path.starts_with("pci-")),
    }
}

/// Whether an interface of the machine is meant.
fn fits(who: &Selector, present: &Present) -> bool {
    let physical = present.kind.is_none() || present.kind.as_deref() == Some("veth");
    let mac = [present.permanent_mac, present.mac];
    let path = present.bus_address.as_ref().map(|it| format!("pci-{it}"));
    let of = |list: &[String], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| named(list, value))
    };
    present.name != "lo"
        && (physical || (!who.physical && who.macs.is_empty()))
        && of(&who.names, Some(&present.name))
        && of(&who.drivers, present.driver.as_deref())
        && of(&who.paths, path.as_deref())
        && (who.macs.is_empty() || mac.iter().flatten().any(|mac| who.macs.contains(mac)))
}

/// Whether a name fits to one of these patterns and to none that begins with `!`.
fn named(patterns: &[String], name: &str) -> bool {
    let fits = |pattern: &str| glob::Pattern::new(pattern).is_ok_and(|it| it.matches(name));
    let (not, yes): (Vec<&String>, Vec<&String>) = patterns
        .iter()
        .partition(|pattern| pattern.starts_with('!'));
    let refused = not.iter().any(|pattern| fits(&pattern[1..]));
    !refused && (yes.is_empty() || yes.iter().any(|pattern| fits(pattern)))
}

#[cfg(test)]
mod tests;
