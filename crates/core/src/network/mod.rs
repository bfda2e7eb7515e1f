//! `network.conf`: the links that the boot client creates before it searches, from text to types and back.
//!
//! Owns the format and the rules that follow from it. Never looks at the interfaces of the machine. Sources about
//! links: ip-link(8), and the kernel's documentation of bonding.

use std::fmt;

mod address;
pub mod builder;
pub mod change;
pub mod compare;
mod keywords;
pub mod learn;
pub mod link_local;
mod number;
pub mod present;
pub mod reach;
mod read;
pub mod snapshot;

pub use address::{Cidr, FormatError, LinkName, Mac, Route};
pub use keywords::{BondMode, HashPolicy, Keyword, LacpRate, VlanProtocol, YesNo};
pub use number::{ForwardDelay, Miimon, Mtu, VlanId};
pub use read::{KEYS, NetworkConfError, NetworkConfErrorKind};

/// The item of `addresses` that requests an address by DHCP.
const DHCP: &str = "dhcp";

/// Nesting depth of links, as in the kernel (`MAX_NEST_DEV`).
const DEEPEST: usize = 8;

/// All described links, each after the links that it is made of. No link is made of itself, and none is a member of
/// two.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definition {
    links: Vec<Link>,
}

/// One link: created by the boot client, or an interface of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Name in the file and on the running system.
    pub name: LinkName,
    /// Kind of link with its settings.
    pub kind: LinkKind,
    /// Hardware address to set.
    pub mac: Option<Mac>,
    /// MTU to set.
    pub mtu: Option<Mtu>,
    /// True when it gets an IPv4 address by DHCP, for `--connect`.
    pub dhcp: bool,
    /// Static addresses, for `--connect`.
    pub addresses: Vec<Cidr>,
    /// Static routes, for `--connect`.
    pub routes: Vec<Route>,
    /// Links of the running system that it replaces at boot, such as the bridge of which it is a port.
    pub stands_for: Vec<LinkName>,
}

/// Kinds of links.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LinkKind {
    /// An interface of the machine, with the way to recognise it.
    Device(DeviceMatch),
    /// A VLAN (IEEE 802.1Q).
    Vlan {
        id: VlanId,
        parent: LinkName,
        protocol: VlanProtocol,
    },
    /// A bond of several interfaces.
    Bond(Bond),
    /// A bridge of at least one port.
    Bridge {
        members: Vec<LinkName>,
        stp: bool,
        forward_delay: Option<ForwardDelay>,
    },
}

/// Properties by which an interface of the machine is recognised. Without any, its name is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceMatch {
    /// Permanent hardware address.
    pub mac: Option<Mac>,
    /// Name of the kernel's driver.
    pub driver: Option<String>,
    /// Position on its bus, as udev's `ID_PATH`: `pci-0000:02:00.0`.
    pub path: Option<String>,
}

/// Settings of a bond.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bond {
    /// Bonding mode, which selects the sending member.
    pub mode: BondMode,
    /// MII monitoring interval.
    pub miimon: Miimon,
    /// Rate of LACP packets, for the mode 802.3ad.
    pub lacp_rate: Option<LacpRate>,
    /// Transmit hash policy.
    pub hash_policy: Option<HashPolicy>,
    /// The preferred member.
    pub primary: Option<LinkName>,
    /// Members, at least one.
    pub members: Vec<LinkName>,
}

impl DeviceMatch {
    /// True when an interface is recognised by its name alone.
    pub fn is_by_name(&self) -> bool {
        *self == Self::default()
    }
}

impl Link {
    /// A link with nothing but its name and kind.
    pub fn new(name: LinkName, kind: LinkKind) -> Self {
        Self {
            name,
            kind,
            mac: None,
            mtu: None,
            dhcp: false,
            addresses: Vec::new(),
            routes: Vec::new(),
            stands_for: Vec::new(),
        }
    }

    /// True for an interface that is recognised by something else than its name.
    pub fn is_recognised(&self) -> bool {
        matches!(&self.kind, LinkKind::Device(wanted) if !wanted.is_by_name())
    }

    /// Adds `name` to the links that it replaces at boot, unless it is there.
    pub fn stand_for(&mut self, name: LinkName) {
        if self.name != name && !self.stands_for.contains(&name) {
            self.stands_for.push(name);
        }
    }

    /// Keys and values of its section.
    pub fn settings(&self) -> Vec<(String, String)> {
        let text = self.to_string();
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        lines
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The links that it is made of.
    pub fn parts(&self) -> &[LinkName] {
        match &self.kind {
            LinkKind::Device(_) => &[],
            LinkKind::Vlan { parent, .. } => std::slice::from_ref(parent),
            LinkKind::Bond(Bond { members, .. }) | LinkKind::Bridge { members, .. } => members,
        }
    }

    /// The links that belong to it exclusively: members of a bond, ports of a bridge.
    pub fn members(&self) -> &[LinkName] {
        match self.kind {
            LinkKind::Vlan { .. } => &[],
            _ => self.parts(),
        }
    }
}

/// A conflict between links.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LinkConflict {
    /// Two links have one name.
    #[error("{0} is described twice")]
    DuplicateName(LinkName),
    /// A link is a member of two others.
    #[error(
        "{member} is a member of both {first} and {second}; a link can be a member of one only"
    )]
    TwoMasters {
        member: LinkName,
        first: LinkName,
        second: LinkName,
    },
    /// A link is made of itself, or nested deeper than the kernel allows.
    #[error("{0} is made of itself, or of too many links one on another")]
    Cycle(LinkName),
}

impl Definition {
    /// Sorts links into an order in which they can be created.
    ///
    /// # Errors
    /// When links conflict.
    pub fn new(links: Vec<Link>) -> Result<Self, LinkConflict> {
        match conflict(&links) {
            Some((_, conflict)) => Err(conflict),
            None => Ok(Self::sorted(links)),
        }
    }

    /// Sorts links without conflicts by their nesting depth.
    fn sorted(links: Vec<Link>) -> Self {
        let depths: Vec<Option<usize>> = links.iter().map(|it| depth(&links, it, 0)).collect();
        let mut links: Vec<Option<Link>> = links.into_iter().map(Some).collect();
        let mut sorted = Vec::with_capacity(links.len());
        for level in 0..=DEEPEST {
            for (link, depth) in links.iter_mut().zip(&depths) {
                if *depth == Some(level) {
                    sorted.extend(link.take());
                }
            }
        }
        Self { links: sorted }
    }

    /// The links, each after the links that it is made of.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name.as_str() == name)
    }

    /// The link of this name, or else the first one that replaces it at boot.
    pub fn used_for(&self, name: &str) -> Option<&Link> {
        let stands = |link: &&Link| link.stands_for.iter().any(|it| it.as_str() == name);
        self.link(name).or_else(|| self.links.iter().find(stands))
    }

    /// The links that no other link is made of.
    pub fn tops(&self) -> impl Iterator<Item = &Link> {
        let is_part = |name: &LinkName| self.links.iter().any(|it| it.parts().contains(name));
        self.links.iter().filter(move |link| !is_part(&link.name))
    }

    /// True when the link of this name is a member of another, so that it is not searched itself.
    pub fn is_member(&self, name: &str) -> bool {
        let members = self.links.iter().flat_map(Link::members);
        members.into_iter().any(|member| member.as_str() == name)
    }

    /// Keeps the links of these names and everything that they are made of.
    #[must_use]
    pub fn needed_for(mut self, names: &[impl AsRef<str>]) -> Self {
        let wanted = |name: &LinkName| names.iter().any(|it| it.as_ref() == name.as_str());
        // Parts come before the links that are made of them, so this goes backwards.
        let mut parts: Vec<LinkName> = Vec::new();
        let mut index = self.links.len();
        while index > 0 {
            index -= 1;
            let link = &self.links[index];
            if wanted(&link.name) || parts.contains(&link.name) {
                parts.extend_from_slice(link.parts());
            } else {
                self.links.remove(index);
            }
        }
        self
    }
}

/// The first conflict, and the index of its link.
fn conflict(links: &[Link]) -> Option<(usize, LinkConflict)> {
    for (index, link) in links.iter().enumerate() {
        let before = &links[..index];
        if before.iter().any(|other| other.name == link.name) {
            return Some((index, LinkConflict::DuplicateName(link.name.clone())));
        }
        for member in link.members() {
            if let Some(first) = before.iter().find(|it| it.members().contains(member)) {
                let conflict = LinkConflict::TwoMasters {
                    member: member.clone(),
                    first: first.name.clone(),
                    second: link.name.clone(),
                };
                return Some((index, conflict));
            }
        }
    }
    let cycle = |link: &&Link| depth(links, link, 0).is_none();
    let index = links.iter().position(|link| cycle(&link))?;
    Some((index, LinkConflict::Cycle(links[index].name.clone())))
}

/// Nesting depth below `link`; `None` when it is made of itself, or nested too deep.
fn depth(links: &[Link], link: &Link, above: usize) -> Option<usize> {
    if above > DEEPEST {
        return None;
    }
    let mut depth = 0;
    for part in link.parts() {
        if let Some(part) = links.iter().find(|it| it.name == *part) {
            depth = depth.max(self::depth(links, part, above + 1)? + 1);
        }
    }
    Some(depth)
}

impl fmt::Display for Definition {
    /// Prints it as `network.conf`; parsing the text gives the same again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.links.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{link}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Link {
    /// Prints it as a section of `network.conf`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}]", self.name)?;
        match &self.kind {
            LinkKind::Device(found) => write!(f, "{found}")?,
            LinkKind::Vlan {
                id,
                parent,
                protocol,
            } => {
                writeln!(f, "kind = vlan\nid = {id}\nparent = {parent}")?;
                if *protocol != VlanProtocol::default() {
                    writeln!(f, "protocol = {protocol}")?;
                }
            }
            LinkKind::Bond(bond) => write!(f, "kind = bond\n{bond}")?,
            LinkKind::Bridge {
                members,
                stp,
                forward_delay,
            } => {
                writeln!(f, "kind = bridge\nmembers = {}", list(members, " "))?;
                if *stp {
                    writeln!(f, "stp = yes")?;
                }
                line(f, "forward-delay", forward_delay.as_ref())?;
            }
        }
        line(f, "mac", self.mac.as_ref())?;
        line(f, "mtu", self.mtu.as_ref())?;
        let dhcp = self.dhcp.then(|| DHCP.to_owned());
        let addresses = self.addresses.iter().map(ToString::to_string);
        let addresses: Vec<String> = dhcp.into_iter().chain(addresses).collect();
        if !addresses.is_empty() {
            writeln!(f, "addresses = {}", addresses.join(" "))?;
        }
        if !self.routes.is_empty() {
            writeln!(f, "routes = {}", list(&self.routes, ", "))?;
        }
        if !self.stands_for.is_empty() {
            writeln!(f, "stands-for = {}", list(&self.stands_for, " "))?;
        }
        Ok(())
    }
}

impl fmt::Display for DeviceMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "match-mac", self.mac.as_ref())?;
        line(f, "match-driver", self.driver.as_ref())?;
        line(f, "match-path", self.path.as_ref())
    }
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mode = {}", self.mode)?;
        if self.miimon != Miimon::default() {
            writeln!(f, "miimon = {}", self.miimon)?;
        }
        line(f, "lacp-rate", self.lacp_rate.as_ref())?;
        line(f, "hash-policy", self.hash_policy.as_ref())?;
        line(f, "primary", self.primary.as_ref())?;
        writeln!(f, "members = {}", list(&self.members, " "))
    }
}

fn line(f: &mut fmt::Formatter<'_>, key: &str, value: Option<&impl fmt::Display>) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "{key} = {value}"),
        None => Ok(()),
    }
}

fn list(items: &[impl fmt::Display], between: &str) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(between)
}

#[cfg(test)]
mod tests;
