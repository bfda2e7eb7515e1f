//! Changes of links that the kernel is asked for, one at a time.

use super::{Cidr, LinkName, Mac, Route};

/// One change. A `u32` is the index of a link unless named otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LinkChange {
    /// Create a link, marked as created by this process.
    Create {
        name: LinkName,
        new: NewLink,
        mac: Option<Mac>,
        mtu: Option<u32>,
    },
    /// Create a bond as the kernel's module does: unmarked, without members.
    CreateRawBond(LinkName),
    /// Delete a link.
    Remove(u32),
    /// Remove the mark from a link that others use by now.
    HandOver(u32),
    /// Make the first link a member of the second, or of none.
    SetMaster(u32, Option<u32>),
    /// Take a link up or down.
    SetUp(u32, bool),
    /// Set the MTU, in bytes.
    SetMtu(u32, u32),
    /// Set the hardware address.
    SetMac(u32, Mac),
    /// Make the second link the primary member of the bond, the first.
    SetPrimary(u32, u32),
    /// Add an address to a link.
    AddAddress(u32, Cidr),
    /// Remove it from the link.
    RemoveAddress(u32, Cidr),
    /// Add a route over a link.
    AddRoute(u32, Route),
    /// Remove it from the link.
    RemoveRoute(u32, Route),
}

/// The kind of link to create, with the kernel's numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NewLink {
    Vlan {
        parent: u32,
        id: u16,
        protocol: u16,
    },
    Bond {
        mode: u16,
        /// MII monitoring interval in milliseconds.
        miimon: u32,
        lacp_rate: Option<u16>,
        hash_policy: Option<u16>,
    },
    Bridge {
        /// True for the spanning tree protocol.
        stp: bool,
        /// Forwarding delay in seconds.
        forward_delay: Option<u32>,
    },
}

/// Result of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeOutcome {
    /// The kernel made it.
    Made,
    /// The name was in use.
    AlreadyExists,
    /// Any other error.
    Failed,
}

impl LinkChange {
    /// Index of the link that must exist for the change.
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
