//! Follows a link down to the interfaces of the machine that it is made of.

use super::super::snapshot::{KernelLink, LinkDetails, Snapshot};
use super::super::{
    Bond, BondMode, DEEPEST, DeviceMatch, HashPolicy, Keyword, LacpRate, Link, LinkKind, LinkName,
    Mac, Miimon, Mtu, VlanId, VlanProtocol,
};
use super::{LinkRemark, RemarkKind, section_name};

/// Default MTU of Ethernet (RFC 894).
const USUAL_MTU: u32 = 1500;

/// The links of all chains followed so far.
pub(super) struct LinkChains<'s> {
    snapshot: &'s Snapshot,
    links: Vec<Link>,
    remarks: Vec<LinkRemark>,
}

/// One chain while it is followed. It is added once its end is reached.
#[derive(Default)]
struct Pending {
    links: Vec<Link>,
    remarks: Vec<LinkRemark>,
}

impl<'s> LinkChains<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        Self {
            snapshot,
            links: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Adds the link `index` and everything that it is made of; returns the name of its link at boot. With `only_one`,
    /// a bridge is replaced by one port only.
    pub(super) fn follow(&mut self, index: u32, only_one: bool) -> Result<LinkName, RemarkKind> {
        let mut pending = Pending::default();
        let tops = self.part(index, only_one, 0, &mut pending)?;
        for link in pending.links {
            self.take(link);
        }
        for remark in pending.remarks {
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
        let name = || RemarkKind::Gone;
        tops.into_iter().next().ok_or_else(name)
    }

    /// Links and remarks of all chains.
    pub(super) fn finish(self) -> (Vec<Link>, Vec<LinkRemark>) {
        (self.links, self.remarks)
    }

    fn take(&mut self, link: Link) {
        let known = self.links.iter_mut().find(|it| it.name == link.name);
        match known {
            None => self.links.push(link),
            Some(known) => {
                for name in link.stands_for {
                    known.stand_for(name);
                }
            }
        }
    }

    /// The links, at least one, that replace the link `index` at boot.
    fn part(
        &self,
        index: u32,
        only_one: bool,
        depth: usize,
        pending: &mut Pending,
    ) -> Result<Vec<LinkName>, RemarkKind> {
        let link = self.snapshot.link(index).ok_or(RemarkKind::Gone)?;
        let name = || link.name().to_owned();
        if depth > DEEPEST {
            return Err(RemarkKind::NoHardware(name()));
        }
        if link.wireless {
            return Err(RemarkKind::Wireless(name()));
        }
        let below = || match link.parent {
            _ if link.parent_elsewhere => Err(RemarkKind::Elsewhere(name())),
            Some(parent) if parent != index => Ok(parent),
            _ => Err(RemarkKind::NoHardware(name())),
        };
        let made = match (link.kind(), &link.details) {
            ("vlan", LinkDetails::Vlan { id, protocol }) => {
                let parents = self.part(below()?, true, depth + 1, pending)?;
                let parent = parents.into_iter().next().ok_or(RemarkKind::Gone)?;
                self.vlan(link, (*id, *protocol), parent)?
            }
            ("bond", details) => self.bond(link, details, depth, pending)?,
            ("bridge", details) => {
                if (LinkDetails::Bridge {
                    filters_vlans: true,
                }) == *details
                {
                    pending.tell(link, RemarkKind::Filters(name()));
                }
                return self.ports(link, only_one, depth, pending);
            }
            ("macvlan" | "macvtap" | "ipvlan" | "ipvtap", _) => {
                let parts = self.part(below()?, only_one, depth + 1, pending)?;
                pending.stand_for(&parts, &section_name(link.name())?);
                return Ok(parts);
            }
            _ if self.is_hardware(link) => self.device(link)?,
            ("", _) | ("veth", _) => return Err(RemarkKind::NoHardware(name())),
            (kind, _) => {
                return Err(RemarkKind::Kind {
                    link: name(),
                    kind: kind.to_owned(),
                });
            }
        };
        let top = made.name.clone();
        if !pending.links.iter().any(|known| known.name == top) {
            pending.links.push(made);
        }
        Ok(vec![top])
    }

    /// Replaces a bridge by its ports that lead to hardware.
    fn ports(
        &self,
        bridge: &KernelLink,
        only_one: bool,
        depth: usize,
        pending: &mut Pending,
    ) -> Result<Vec<LinkName>, RemarkKind> {
        let mut ports: Vec<&KernelLink> = self.snapshot.members(bridge.present.index).collect();
        // Ports with a carrier come first.
        ports.sort_by_key(|port| !port.running);
        let mut parts = Vec::new();
        let mut failed = None;
        for port in ports {
            let mut own = Pending::default();
            match self.part(port.present.index, only_one, depth + 1, &mut own) {
                Ok(names) if only_one && !parts.is_empty() => drop(names),
                Ok(names) => {
                    parts.extend(names);
                    pending.add(own);
                    continue;
                }
                Err(what) => {
                    failed.get_or_insert(what);
                    continue;
                }
            }
            let what = RemarkKind::Ports {
                bridge: bridge.name().to_owned(),
                port: parts.first().map(ToString::to_string).unwrap_or_default(),
            };
            pending.tell(bridge, what);
        }
        if parts.is_empty() {
            let nothing = || RemarkKind::NoHardware(bridge.name().to_owned());
            // The kind of a virtual port helps nobody; the remark that a port is wireless does.
            return Err(failed
                .filter(|what| matches!(what, RemarkKind::Wireless(_)))
                .unwrap_or_else(nothing));
        }
        pending.stand_for(&parts, &section_name(bridge.name())?);
        Ok(parts)
    }

    fn vlan(
        &self,
        link: &KernelLink,
        (id, protocol): (u16, u16),
        parent: LinkName,
    ) -> Result<Link, RemarkKind> {
        let wrong = || RemarkKind::Settings(link.name().to_owned());
        let id = VlanId::new(id.into()).ok_or_else(wrong)?;
        let mut known = VlanProtocol::ALL.iter();
        let protocol = known.find(|it| it.code() == protocol).ok_or_else(wrong)?;
        let kind = LinkKind::Vlan {
            id,
            parent,
            protocol: *protocol,
        };
        let mut made = Link::new(section_name(link.name())?, kind);
        let below = link.parent.and_then(|parent| self.snapshot.link(parent));
        let inherited = below.and_then(|below| below.present.mac);
        made.mac = link.present.mac.filter(|mac| Some(*mac) != inherited);
        made.mtu = mtu(link);
        Ok(made)
    }

    fn bond(
        &self,
        link: &KernelLink,
        details: &LinkDetails,
        depth: usize,
        pending: &mut Pending,
    ) -> Result<Link, RemarkKind> {
        let wrong = || RemarkKind::Settings(link.name().to_owned());
        let &LinkDetails::Bond {
            mode,
            miimon,
            lacp_rate,
            hash_policy,
            primary,
        } = details
        else {
            return Err(wrong());
        };
        let mut members = Vec::new();
        let mut macs: Vec<Option<Mac>> = Vec::new();
        let mut preferred = None;
        let mut failed = None;
        for member in self.snapshot.members(link.present.index) {
            match self.part(member.present.index, true, depth + 1, pending) {
                Ok(names) => {
                    let [name, ..] = &names[..] else { continue };
                    if primary == Some(member.present.index) {
                        preferred = Some(name.clone());
                    }
                    members.push(name.clone());
                    macs.push(identity(member));
                }
                Err(what) => {
                    failed.get_or_insert(what);
                }
            }
        }
        if members.is_empty() {
            return Err(failed.unwrap_or_else(|| RemarkKind::NoHardware(link.name().to_owned())));
        }
        let mut modes = BondMode::ALL.iter();
        let mode = *modes.find(|it| it.code() == mode).ok_or_else(wrong)?;
        let hashes = matches!(mode, BondMode::Xor | BondMode::Lacp | BondMode::Tlb);
        let mut policies = HashPolicy::ALL.iter();
        let policy = policies.find(|it| it.code() == hash_policy && hashes);
        let fast = mode == BondMode::Lacp && lacp_rate == LacpRate::Fast.code();
        let kind = LinkKind::Bond(Bond {
            mode,
            miimon: Miimon::new(miimon).unwrap_or_default(),
            lacp_rate: fast.then_some(LacpRate::Fast),
            hash_policy: policy.copied().filter(|it| *it != HashPolicy::Layer2),
            primary: preferred,
            members,
        });
        let mut made = Link::new(section_name(link.name())?, kind);
        made.mac = link.present.mac.filter(|mac| !macs.contains(&Some(*mac)));
        made.mtu = mtu(link);
        Ok(made)
    }

    fn device(&self, link: &KernelLink) -> Result<Link, RemarkKind> {
        let kind = LinkKind::Device(self.recognise(link));
        let mut made = Link::new(section_name(link.name())?, kind);
        let master = link.present.master.and_then(|it| self.snapshot.link(it));
        // A bond's member has the hardware address and MTU of the bond.
        if master.is_none_or(|master| master.kind() != "bond") {
            let permanent = link.present.permanent_mac;
            made.mac = link
                .present
                .mac
                .filter(|mac| permanent.is_some_and(|it| it != *mac));
            made.mtu = mtu(link);
        }
        Ok(made)
    }

    /// Properties that distinguish an interface from all others of the machine.
    fn recognise(&self, link: &KernelLink) -> DeviceMatch {
        let present = &link.present;
        let path = || {
            let bus = link.bus.as_deref().unwrap_or("bus");
            let address = present.bus_address.as_deref()?;
            Some(format!("{bus}-{address}"))
        };
        let Some(mac) = identity(link) else {
            return DeviceMatch {
                path: path(),
                ..DeviceMatch::default()
            };
        };
        let others = self.snapshot.links.iter().filter(|other| {
            other.present.index != present.index
                && DeviceMatch::default().fits(&other.present)
                && identity(other) == Some(mac)
        });
        let others: Vec<&KernelLink> = others.collect();
        let by_driver = |other: &&KernelLink| other.present.driver != present.driver;
        let is_alone = others.is_empty();
        let driver = present
            .driver
            .clone()
            .filter(|_| others.iter().all(by_driver));
        DeviceMatch {
            mac: Some(mac),
            path: path().filter(|_| !is_alone && driver.is_none()),
            driver: driver.filter(|_| !is_alone),
        }
    }

    fn is_hardware(&self, link: &KernelLink) -> bool {
        let is_outlet = link.kind() == "veth" && link.parent_elsewhere;
        is_real(link) || (is_outlet && !self.snapshot.links.iter().any(is_real))
    }
}

impl Pending {
    fn add(&mut self, other: Self) {
        for link in other.links {
            if !self.links.iter().any(|known| known.name == link.name) {
                self.links.push(link);
            }
        }
        self.remarks.extend(other.remarks);
    }

    fn tell(&mut self, link: &KernelLink, what: RemarkKind) {
        self.remarks.push(LinkRemark {
            link: link.name().to_owned(),
            what,
        });
    }

    fn stand_for(&mut self, parts: &[LinkName], name: &LinkName) {
        let links = self.links.iter_mut();
        for link in links.filter(|link| parts.contains(&link.name)) {
            link.stand_for(name.clone());
        }
    }
}

/// True when a link is an interface of the machine, made of nothing else.
fn is_real(link: &KernelLink) -> bool {
    let has_device = link.present.bus_address.is_some();
    !link.loopback && link.ethernet && (has_device || link.kind().is_empty())
}

/// The hardware address by which an interface is recognised; `None` when it may change with each boot and a bus
/// address exists.
fn identity(link: &KernelLink) -> Option<Mac> {
    let present = &link.present;
    let lasting = present.permanent_mac.or(link.mac_before_bond);
    lasting.or_else(|| present.mac.filter(|_| present.bus_address.is_none()))
}

fn mtu(link: &KernelLink) -> Option<Mtu> {
    Mtu::new(link.present.mtu).filter(|mtu| mtu.get() != USUAL_MTU)
}
