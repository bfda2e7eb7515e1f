//! The parts of the running kernel's network state that a boot can depend on.

use core::net::IpAddr;

use super::present::PresentLink;
use super::{Cidr, Mac};

/// All links and addresses of a network namespace at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// The order is the kernel's.
    pub links: Vec<KernelLink>,
    /// The order is the kernel's.
    pub addresses: Vec<KernelAddress>,
}

/// A link with the properties of its construction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelLink {
    /// Properties of every link.
    pub present: PresentLink,
    /// Index of the link below it: that of a VLAN or macvlan, the other end of a veth.
    pub parent: Option<u32>,
    /// True when that link is in another network namespace.
    pub parent_elsewhere: bool,
    /// True when it is of Ethernet or InfiniBand, which have neighbours.
    pub ethernet: bool,
    /// True when it is the loopback interface.
    pub loopback: bool,
    /// True when it has a carrier.
    pub running: bool,
    /// True when it is a wireless interface.
    pub wireless: bool,
    /// Bus of its device, as sysfs calls the subsystem: `pci`, `usb`, `platform`.
    pub bus: Option<String>,
    /// Hardware address that it had before it joined a bond.
    pub mac_before_bond: Option<Mac>,
    /// Properties of its kind.
    pub details: LinkDetails,
}

/// Properties of one kind of link, with the kernel's numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LinkDetails {
    /// No relevant properties.
    #[default]
    None,
    /// A VLAN with its id and EtherType.
    Vlan {
        /// VLAN id (IEEE 802.1Q).
        id: u16,
        /// EtherType of its tag.
        protocol: u16,
    },
    /// A bond with its settings.
    Bond {
        /// Mode, by the kernel's number.
        mode: u16,
        /// MII monitoring interval in milliseconds; 0 is never.
        miimon: u32,
        /// The rate of LACP.
        lacp_rate: u16,
        /// The transmit hash policy.
        hash_policy: u16,
        /// Index of the preferred member.
        primary: Option<u32>,
    },
    /// A bridge between ports.
    Bridge {
        /// True when ports let some VLANs through only.
        filters_vlans: bool,
    },
}

/// An address of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelAddress {
    /// Index of the link.
    pub link: u32,
    /// The address, with the network that it makes reachable; with a peer, all its bits.
    pub cidr: Cidr,
    /// The network of the peer at the other end of the line.
    pub peer: Option<Cidr>,
    /// True when it has a lifetime: DHCP or a router gave it.
    pub dynamic: bool,
    /// True when the kernel made no route for its network.
    pub no_prefix_route: bool,
}

/// The kernel's route to an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelRoute {
    /// Kind of the route.
    pub kind: RouteKind,
    /// Index of the link that packets leave by.
    pub link: u32,
    /// Length of the prefix that matched.
    pub prefix: u8,
    /// Gateway, unless it is on the link.
    pub via: Option<IpAddr>,
    /// The source address that the kernel takes.
    pub source: Option<IpAddr>,
    /// True when an administrator or a program other than a DHCP client or the kernel made it.
    pub is_static: bool,
}

/// Kinds of routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// Packets are sent over a link.
    Unicast,
    /// The address is this machine's own.
    Local,
    /// Packets are dropped, or the address is not unicast.
    Other,
}

impl Snapshot {
    /// The link with this index.
    pub fn link(&self, index: u32) -> Option<&KernelLink> {
        self.links.iter().find(|link| link.present.index == index)
    }

    /// The link of this name.
    pub fn named(&self, name: &str) -> Option<&KernelLink> {
        self.links.iter().find(|link| link.present.name == name)
    }

    /// The links whose master has this index.
    pub fn members(&self, master: u32) -> impl Iterator<Item = &KernelLink> {
        let links = self.links.iter();
        links.filter(move |link| link.present.master == Some(master))
    }

    /// True when an address is one of this machine's.
    pub fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|seen| seen.cidr.ip == ip)
    }
}

impl KernelLink {
    /// Name in the kernel.
    pub fn name(&self) -> &str {
        &self.present.name
    }

    /// Kind of link as in ip-link(8); empty for an interface of the machine.
    pub fn kind(&self) -> &str {
        self.present.kind.as_deref().unwrap_or_default()
    }
}
