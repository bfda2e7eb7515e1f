//! The links of a machine as its kernel shows them, and which of them is meant by a description.

use super::{Mac, Match};

/// A link as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Present {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Its hardware address now.
    pub mac: Option<Mac>,
    /// The hardware address that its maker gave it.
    pub permanent_mac: Option<Mac>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The number of the link that it is a member of.
    pub master: Option<u32>,
    /// What it is, where it is no interface of the machine: `vlan`, `bond`, ...
    pub kind: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Where it is on its bus: `0000:02:00.0`.
    pub bus_address: Option<String>,
    /// Who made it.
    pub maker: By,
    /// Whether somebody uses it: it has an address beyond its own cable.
    pub in_use: bool,
    /// True when a person or another program uses it: it has such an address that the kernel did not make by itself, or a
    /// link of others is on it. Addresses that this program gave count too, as long as they are there.
    pub used_by_others: bool,
}

/// Who made a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// Not this program.
    #[default]
    Others,
    /// This process.
    Us,
    /// A process of this program that was killed.
    TheDead,
}

impl Match {
    /// Whether an interface is the one that is meant. Links that are made of others have their
    /// addresses and are never meant.
    pub fn fits(&self, link: &Present) -> bool {
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

/// What of udev's `ID_PATH` the kernel knows: `pci-0000:02:00.0` is the device `0000:02:00.0`.
fn bus_address(path: &str) -> &str {
    path.split_once('-').map_or(path, |(_, address)| address)
}

/// Whether it is a bond that nobody has set up, as the kernel's module makes one when it is loaded.
pub(super) fn is_raw_bond(link: &Present, present: &[Present]) -> bool {
    let has_members = present.iter().any(|it| it.master == Some(link.index));
    link.kind.as_deref() == Some("bond")
        && link.maker == By::Others
        && !link.up
        && !has_members
        && !link.in_use
}
