//! The links that the boot client makes before it searches: `network.conf`, from text to types and
//! back.
//!
//! Owns what may stand in it and what follows from it. Never knows which interfaces there are. Source
//! of the facts about links: ip-link(8), and the kernel's documentation of bonding.

use std::fmt;

mod address;
pub mod change;
pub mod compare;
pub mod learn;
pub mod link_local;
pub mod maker;
mod number;
pub mod present;
pub mod reach;
mod read;
pub mod snapshot;
mod words;

pub use address::{Cidr, LinkName, Mac, Route, Unlike};
pub use number::{ForwardDelay, Miimon, Mtu, VlanId};
pub use read::{Fault, KEYS, Wrong};
pub use words::{BondMode, HashPolicy, LacpRate, Protocol, Word, YesNo};

/// Among `addresses`, that DHCP gives one.
const DHCP: &str = "dhcp";

/// How many links may stand one on another: as many as the kernel allows (`MAX_NEST_DEV`).
const DEEPEST: usize = 8;

/// Every link that is described, each after all that it is made of. No link is made of itself, and
/// none is a member of two.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definition {
    links: Vec<Link>,
}

/// One link: one that is made, or an interface of the machine that is only looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it is called, here and on the running system.
    pub name: LinkName,
    /// What it is.
    pub kind: Kind,
    /// The hardware address that it is given.
    pub mac: Option<Mac>,
    /// The largest packet.
    pub mtu: Option<Mtu>,
    /// True when it has an IPv4 address by DHCP, for `--connect`.
    pub dhcp: bool,
    /// Its own addresses, for `--connect`.
    pub addresses: Vec<Cidr>,
    /// Its routes, for `--connect`.
    pub routes: Vec<Route>,
    /// Links of the running system in whose place it is used, such as the bridge that it is a port of.
    pub stands_for: Vec<LinkName>,
}

/// What a link is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An interface of the machine.
    Device(Match),
    /// One network of several on a cable (IEEE 802.1Q).
    Vlan {
        /// Its number.
        id: VlanId,
        /// The link that carries it.
        parent: LinkName,
        /// How packets are marked.
        protocol: Protocol,
    },
    /// Several interfaces as one.
    Bond(Bond),
    /// A switch.
    Bridge {
        /// What is plugged in, at least one.
        members: Vec<LinkName>,
        /// Whether it speaks the spanning tree protocol.
        stp: bool,
        /// How long a new port listens before it forwards.
        forward_delay: Option<ForwardDelay>,
    },
}

/// How an interface of the machine is recognised: by all that is given, or else by its name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Match {
    /// The address that its maker gave it.
    pub mac: Option<Mac>,
    /// The kernel's driver.
    pub driver: Option<String>,
    /// Where it is, as `ID_PATH` of udev has it: `pci-0000:02:00.0`.
    pub path: Option<String>,
}

/// How several interfaces are one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bond {
    /// Who sends when.
    pub mode: BondMode,
    /// How often members are looked at.
    pub miimon: Miimon,
    /// How often partners of 802.3ad tell of themselves.
    pub lacp_rate: Option<LacpRate>,
    /// Which packets belong together.
    pub hash_policy: Option<HashPolicy>,
    /// The member that is used when it can be.
    pub primary: Option<LinkName>,
    /// What it is made of, at least one.
    pub members: Vec<LinkName>,
}

impl Match {
    /// Whether an interface is recognised by its name alone.
    pub fn is_by_name(&self) -> bool {
        *self == Self::default()
    }
}

impl Bond {
    /// Takes a member out, where it is one.
    pub fn remove_member(&mut self, name: &LinkName) {
        self.members.retain(|member| member != name);
        self.primary.take_if(|primary| primary == name);
    }
}

impl Link {
    /// A link with nothing but its name and kind.
    pub fn new(name: LinkName, kind: Kind) -> Self {
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

    /// Whether it is an interface that is recognised by something else than its name.
    pub fn is_recognised(&self) -> bool {
        matches!(&self.kind, Kind::Device(wanted) if !wanted.is_by_name())
    }

    /// Says once that it is used in the place of `name`.
    pub fn stand_for(&mut self, name: LinkName) {
        if self.name != name && !self.stands_for.contains(&name) {
            self.stands_for.push(name);
        }
    }

    /// Its settings but its name, as its section has them.
    pub fn settings(&self) -> Vec<(String, String)> {
        let text = self.to_string();
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        lines
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The links it is made of.
    pub fn parts(&self) -> &[LinkName] {
        match &self.kind {
            Kind::Device(_) => &[],
            Kind::Vlan { parent, .. } => std::slice::from_ref(parent),
            Kind::Bond(Bond { members, .. }) | Kind::Bridge { members, .. } => members,
        }
    }

    /// The links that belong to it and to nobody else.
    pub fn members(&self) -> &[LinkName] {
        match self.kind {
            Kind::Vlan { .. } => &[],
            _ => self.parts(),
        }
    }
}

/// Why links do not fit together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misfit {
    /// Two of one name.
    #[error("{0} is described twice")]
    Twice(LinkName),
    /// A link with two masters.
    #[error(
        "{member} is a member of both {first} and {second}; a link can be a member of one only"
    )]
    TwoMasters {
        /// The member.
        member: LinkName,
        /// The master that stands first.
        first: LinkName,
        /// The other.
        second: LinkName,
    },
    /// A link that is made of itself.
    #[error("{0} is made of itself, or of too many links one on another")]
    Circle(LinkName),
}

impl Definition {
    /// Puts links into an order in which they can be made.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(links: Vec<Link>) -> Result<Self, Misfit> {
        match misfit(&links) {
            Some((_, misfit)) => Err(misfit),
            None => Ok(Self::sorted(links)),
        }
    }

    /// Links that fit together, in order: what is deeper is made of more.
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

    /// The links, each after all that it is made of.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name.as_str() == name)
    }

    /// The link of this name, or else the first that stands for it.
    pub fn used_for(&self, name: &str) -> Option<&Link> {
        let stands = |link: &&Link| link.stands_for.iter().any(|it| it.as_str() == name);
        self.link(name).or_else(|| self.links.iter().find(stands))
    }

    /// The links that no other link is made of.
    pub fn tops(&self) -> impl Iterator<Item = &Link> {
        let is_part = |name: &LinkName| self.links.iter().any(|it| it.parts().contains(name));
        self.links.iter().filter(move |link| !is_part(&link.name))
    }

    /// Whether the link of this name belongs to another, so that nothing is to be found on itself.
    pub fn is_member(&self, name: &str) -> bool {
        let members = self.links.iter().flat_map(Link::members);
        members.into_iter().any(|member| member.as_str() == name)
    }

    /// What the links of these names need: themselves, and all that they are made of.
    #[must_use]
    pub fn needed_for(mut self, names: &[impl AsRef<str>]) -> Self {
        let wanted = |name: &LinkName| names.iter().any(|it| it.as_ref() == name.as_str());
        // What a link is made of stands before it.
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

/// The first link that does not fit to those before it, and why.
fn misfit(links: &[Link]) -> Option<(usize, Misfit)> {
    for (index, link) in links.iter().enumerate() {
        let before = &links[..index];
        if before.iter().any(|other| other.name == link.name) {
            return Some((index, Misfit::Twice(link.name.clone())));
        }
        for member in link.members() {
            if let Some(first) = before.iter().find(|it| it.members().contains(member)) {
                let misfit = Misfit::TwoMasters {
                    member: member.clone(),
                    first: first.name.clone(),
                    second: link.name.clone(),
                };
                return Some((index, misfit));
            }
        }
    }
    let circle = |link: &&Link| depth(links, link, 0).is_none();
    let index = links.iter().position(|link| circle(&link))?;
    Some((index, Misfit::Circle(links[index].name.clone())))
}

/// How many links stand one on another below `link`; `None` for one that is made of itself, or deeper
/// than any network.
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
    /// As `network.conf` has it; reading it gives the same again.
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
    /// Its section.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}]", self.name)?;
        match &self.kind {
            Kind::Device(found) => write!(f, "{found}")?,
            Kind::Vlan {
                id,
                parent,
                protocol,
            } => {
                writeln!(f, "kind = vlan\nid = {id}\nparent = {parent}")?;
                if *protocol != Protocol::default() {
                    writeln!(f, "protocol = {protocol}")?;
                }
            }
            Kind::Bond(bond) => write!(f, "kind = bond\n{bond}")?,
            Kind::Bridge {
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

impl fmt::Display for Match {
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
