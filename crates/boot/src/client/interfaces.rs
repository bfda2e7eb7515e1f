//! The choice of network interfaces, as mandos-client(8mandos) documents it under DESCRIPTION and `--interface`. Pure:
//! decides over a list, changes nothing.

use nightlatch_core::network::Definition;
use nightlatch_sys::netif::{Flags, Interface};

/// The value of `--interface`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum InterfaceSelection {
    /// Nothing: every suitable interface.
    #[default]
    Suitable,
    /// These, whatever they are; those that do not exist yet are waited for, and when none comes to be, all that
    /// are suitable are used.
    Named(Vec<String>),
    /// These and never others: `none` stands behind them.
    Only(Vec<String>),
    /// `none` alone: take nothing up, use the suitable ones that are up already.
    AsTheyAre,
}

impl InterfaceSelection {
    /// Reads the names of all `--interface` options, in order. `none` ends the list.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut chosen = Vec::new();
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            if name == "none" {
                return match chosen.is_empty() {
                    true => Self::AsTheyAre,
                    false => Self::Only(chosen),
                };
            }
            if !chosen.iter().any(|known| known == name) {
                chosen.push(name.to_owned());
            }
        }
        match chosen.is_empty() {
            true => Self::Suitable,
            false => Self::Named(chosen),
        }
    }

    /// True when `interface` is to be used; `connecting` says that `--connect` was given.
    pub fn uses(&self, interface: &Interface, connecting: bool) -> bool {
        match self {
            Self::Suitable => is_suitable(interface.flags, connecting),
            Self::Named(names) | Self::Only(names) => names.contains(&interface.name),
            Self::AsTheyAre => interface.flags.up() && is_suitable(interface.flags, connecting),
        }
    }

    /// The links of `definition` that are made at first, and all of them when more are made once none of the interfaces
    /// that were named has come to be.
    pub(super) fn narrow(&self, definition: Definition) -> (Definition, Option<Definition>) {
        match self {
            Self::Suitable => (definition, None),
            Self::Named(names) => (definition.clone().needed_for(names), Some(definition)),
            Self::Only(names) => (definition.needed_for(names), None),
            Self::AsTheyAre => (Definition::default(), None),
        }
    }

    /// True when used interfaces that are down are taken up.
    pub fn takes_up(&self) -> bool {
        *self != Self::AsTheyAre
    }
}

fn is_suitable(flags: Flags, connecting: bool) -> bool {
    let reaches = connecting || (flags.broadcast() && !flags.point_to_point());
    reaches && !flags.loopback() && !flags.no_arp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: u32 = 0x1;
    const BROADCAST: u32 = 0x2;
    const LOOPBACK: u32 = 0x8;
    const POINTOPOINT: u32 = 0x10;
    const NOARP: u32 = 0x80;

    fn interface(name: &str, bits: u32) -> Interface {
        Interface {
            index: 1,
            name: name.to_owned(),
            flags: Flags::from_bits(bits),
        }
    }

    // "all interfaces that are not loopback interfaces, are not point-to-point interfaces, are
    // capable of broadcasting and do not have the NOARP flag"
    #[test]
    fn suitable_is_what_the_manual_says() {
        let suitable =
            |bits, connecting| InterfaceSelection::Suitable.uses(&interface("x", bits), connecting);
        assert!(suitable(BROADCAST, false));
        for bits in [
            0,
            BROADCAST | LOOPBACK,
            BROADCAST | POINTOPOINT,
            BROADCAST | NOARP,
        ] {
            assert!(!suitable(bits, false), "{bits:#x}");
        }
        // "If the --connect option is used, point-to-point interfaces and non-broadcast interfaces
        // are accepted."
        assert!(suitable(0, true) && suitable(POINTOPOINT, true));
        assert!(!suitable(LOOPBACK, true) && !suitable(NOARP, true));
    }

    // "only bring up interfaces specified before this string"
    #[test]
    fn none_ends_the_list() {
        let named = InterfaceSelection::of_names(["eth0", "", "eth0", "none", "eth1"]);
        assert_eq!(named, InterfaceSelection::Only(vec!["eth0".to_owned()]));
        let as_they_are = InterfaceSelection::of_names(["none", "eth1"]);
        assert!(!as_they_are.takes_up());
        assert!(as_they_are.uses(&interface("x", UP | BROADCAST), false));
        assert!(!as_they_are.uses(&interface("x", BROADCAST), false));
        assert_eq!(
            InterfaceSelection::of_names([""]),
            InterfaceSelection::Suitable
        );
    }
}
