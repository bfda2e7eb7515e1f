//! What may be asked of the kernel, one change at a time.

use super::{Cidr, LinkName, Mac, Route};

/// One change. Numbers are those of links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Make a link, marked as ours.
    Create {
        /// Its name.
        name: LinkName,
        /// What it is.
        new: New,
        /// Its hardware address.
        mac: Option<Mac>,
        /// Its largest packet.
        mtu: Option<u32>,
    },
    /// Make a bond as the kernel's module makes one: nobody's, without members.
    CreateRawBond(LinkName),
    /// Take a link away.
    Remove(u32),
    /// Take our mark from a link that others use by now: it is theirs.
    HandOver(u32),
    /// Make the first a member of the second, or of nothing.
    SetMaster(u32, Option<u32>),
    /// Take it up or down.
    SetUp(u32, bool),
    /// Set its largest packet.
    SetMtu(u32, u32),
    /// Set its hardware address.
    SetMac(u32, Mac),
    /// Let the bond, the first, prefer a member, the second.
    SetPrimary(u32, u32),
    /// Give it an address.
    AddAddress(u32, Cidr),
    /// Take that away.
    RemoveAddress(u32, Cidr),
    /// Give it a route.
    AddRoute(u32, Route),
    /// Take that away.
    RemoveRoute(u32, Route),
}

/// What is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum New {
    /// A VLAN.
    Vlan {
        /// The number of its parent.
        parent: u32,
        /// Its id.
        id: u16,
        /// The EtherType that marks it.
        protocol: u16,
    },
    /// A bond, by the kernel's numbers.
    Bond {
        /// The mode.
        mode: u16,
        /// How often members are looked at, in milliseconds.
        miimon: u32,
        /// The rate of LACP.
        lacp_rate: Option<u16>,
        /// Which packets belong together.
        hash_policy: Option<u16>,
    },
    /// A bridge.
    Bridge {
        /// Whether it speaks the spanning tree protocol.
        stp: bool,
        /// How long a new port listens, in seconds.
        forward_delay: Option<u32>,
    },
}

/// How a change went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is made.
    Made,
    /// Something of that name was there.
    WasThere,
    /// It failed.
    Failed,
}

impl Change {
    /// The number of the link that must be there for it.
    pub(super) fn subject(&self) -> Option<u32> {
        match self {
            Self::Create { .. } | Self::CreateRawBond(_) => None,
            Self::Remove(index)
            | Self::HandOver(index)
            | Self::SetMaster(index, _)
            | Self::SetUp(index, _)
            | Self::SetMtu(index, _)
            | Self::SetMac(index, _)
            | Self::SetPrimary(index, _)
            | Self::AddAddress(index, _)
            | Self::RemoveAddress(index, _)
            | Self::AddRoute(index, _)
            | Self::RemoveRoute(index, _) => Some(*index),
        }
    }
}
