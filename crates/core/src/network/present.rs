//! The links of a machine as its kernel describes them, and matching them with a description.

use super::{DeviceMatch, Mac};

/// A link as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PresentLink {
    /// Index in the kernel.
    pub index: u32,
    /// Name in the kernel.
    pub name: String,
    /// True when it is administratively up.
    pub up: bool,
    /// Current hardware address.
    pub mac: Option<Mac>,
    /// Permanent hardware address.
    pub permanent_mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Index of the link that it is a member of.
    pub master: Option<u32>,
    /// Kind of a virtual link: `vlan`, `bond`, ...
    pub kind: Option<String>,
    /// Name of the kernel's driver.
    pub driver: Option<String>,
    /// Position on its bus: `0000:02:00.0`.
    pub bus_address: Option<String>,
    /// Creator of the link, by its mark.
    pub creator: LinkCreator,
    /// True when it is in use: it has an address that is not link-local.
    pub in_use: bool,
    /// True when a person or another program uses it: it has such an address that the kernel did not generate, or a
    /// link of others is built on it. Addresses that this program added count too while they exist.
    pub used_by_others: bool,
}

/// Creator of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkCreator {
    /// Another program, or the kernel.
    #[default]
    Others,
    /// This very process.
    ThisProcess,
    /// An earlier process of this program that was killed.
    DeadProcess,
}

impl DeviceMatch {
    /// True when all given properties of an interface match. Links that are made of others share their addresses and
    /// never match.
    pub fn fits(&self, link: &PresentLink) -> bool {
        const MADE_OF_OTHERS: [&str; 12] = [
            "vlan", "bond", "bridge", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "team",
            "vrf", "hsr", "batadv",
        ];
        let kind = link.kind.as_deref().unwrap_or_default();
        let mac = link.permanent_mac.or(link.mac);
        let bus_address = self.path.as_deref().map(bus_address);
        !MADE_OF_OTHERS.contains(&kind)
            && self.mac.is_none_or(|wanted| mac == Some(wanted))
            && (self.driver.is_none() || self.driver == link.driver)
            && (bus_address.is_none() || bus_address == link.bus_address.as_deref())
    }
}

/// The kernel's part of udev's `ID_PATH`: `0000:02:00.0` of `pci-0000:02:00.0`.
fn bus_address(path: &str) -> &str {
    path.split_once('-').map_or(path, |(_, address)| address)
}

/// True for an unused bond, as the kernel's module creates one when it is loaded.
pub(super) fn is_raw_bond(link: &PresentLink, present: &[PresentLink]) -> bool {
    let has_members = present.iter().any(|it| it.master == Some(link.index));
    link.kind.as_deref() == Some("bond")
        && link.creator == LinkCreator::Others
        && !link.up
        && !has_members
        && !link.in_use
}
