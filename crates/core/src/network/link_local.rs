//! Interfaces on which no IPv6 neighbour can be found, for want of a link-local address: what is said of them, and when.
//!
//! Pure: the caller observes the interfaces. The kernel makes such an address by itself within about two seconds after the
//! cable is there, if nothing forbids it.

use core::fmt;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Monotonic;

/// How long the kernel may take, before it is said that an address is missing for no reason that it gives.
const GRACE: Duration = Duration::from_secs(10);

/// The smallest MTU with which the kernel speaks IPv6 (RFC 8200, 5), in bytes.
pub const MIN_MTU: u32 = 1280;

/// Why an interface has no link-local address, as far as the kernel says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The kernel has no IPv6 at all.
    NoIpv6,
    /// `disable_ipv6` is set.
    Disabled,
    /// `addr_gen_mode` is `none`.
    NotGenerated,
    /// Another host on the link has the address (RFC 4862, 5.4).
    Duplicate,
    /// The MTU is below [`MIN_MTU`].
    Mtu(u32),
}

impl Reason {
    /// What mends it, on the interface called `name`.
    pub fn hint(self, name: &str) -> String {
        match self {
            Self::NoIpv6 => {
                "remove ipv6.disable=1 from the kernel's command line, or load the module ipv6"
                    .to_owned()
            }
            Self::Disabled => format!("`sysctl net.ipv6.conf.{name}.disable_ipv6=0` enables it"),
            Self::NotGenerated => format!("`ip link set {name} addrgenmode eui64` makes one"),
            Self::Duplicate => format!(
                "give {name} another hardware address, or find the other host that has this one"
            ),
            Self::Mtu(_) => format!("`ip link set {name} mtu {MIN_MTU}` or more"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIpv6 => f.write_str("this kernel has no IPv6"),
            Self::Disabled => f.write_str("IPv6 is disabled there: disable_ipv6=1"),
            Self::NotGenerated => f.write_str("the kernel makes none: addr_gen_mode=1, none"),
            Self::Duplicate => f.write_str(
                "another host on the link has the same: duplicate address detection failed",
            ),
            Self::Mtu(mtu) => write!(f, "IPv6 needs an MTU of at least {MIN_MTU}, it is {mtu}"),
        }
    }
}

/// An interface that is used, up and running.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// True when it has a link-local address that can be used.
    pub has_link_local: bool,
    /// True when it has an IPv4 address.
    pub has_ipv4: bool,
    /// Why it has no link-local address.
    pub reason: Option<Reason>,
}

/// What is to be said once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remark {
    /// An interface lacks the address.
    Lacks(Observed),
    /// It has one after all.
    HasNow {
        /// The interface's name.
        name: String,
    },
}

/// What is known of each interface.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    /// When it was seen without the address first.
    since: Monotonic,
    /// What was said of it.
    told: Option<Observed>,
}

/// Follows interfaces.
#[derive(Default, Debug)]
pub struct Watch {
    lacking: BTreeMap<u32, Known>,
}

impl Watch {
    /// Takes in all interfaces as they are now, and answers with what is to be said.
    pub fn look(&mut self, interfaces: Vec<Observed>, now: Monotonic) -> Vec<Remark> {
        self.lacking
            .retain(|index, _| interfaces.iter().any(|it| it.index == *index));
        let remarks = interfaces
            .into_iter()
            .filter_map(|it| self.look_at(it, now));
        remarks.collect()
    }

    fn look_at(&mut self, interface: Observed, now: Monotonic) -> Option<Remark> {
        if interface.has_link_local {
            let known = self.lacking.remove(&interface.index)?;
            known.told?;
            return Some(Remark::HasNow {
                name: interface.name,
            });
        }
        let known = self.lacking.entry(interface.index).or_insert(Known {
            since: now,
            told: None,
        });
        let due = interface.reason.is_some() || now >= known.since.after(GRACE);
        if !due || known.told.as_ref() == Some(&interface) {
            return None;
        }
        known.told = Some(interface.clone());
        Some(Remark::Lacks(interface))
    }

    /// When to look again though nothing has changed.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let silent = self.lacking.values().filter(|known| known.told.is_none());
        silent.map(|known| known.since.after(GRACE)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn eth0(reason: Option<Reason>) -> Observed {
        Observed {
            index: 2,
            name: "eth0".to_owned(),
            has_link_local: false,
            has_ipv4: true,
            reason,
        }
    }

    #[test]
    fn what_the_kernel_gives_a_reason_for_is_said_at_once_and_once() {
        let mut watch = Watch::default();
        let disabled = eth0(Some(Reason::Disabled));
        let said = watch.look(vec![disabled.clone()], at(1));
        assert_eq!(said, [Remark::Lacks(disabled.clone())]);
        assert_eq!(watch.look(vec![disabled.clone()], at(100)), []);
        assert_eq!(watch.poll_timeout(), None);
        // News of it are.
        let other = eth0(Some(Reason::NotGenerated));
        assert_eq!(
            watch.look(vec![other.clone()], at(101)),
            [Remark::Lacks(other)]
        );
        // What went away and came back is new.
        assert_eq!(watch.look(Vec::new(), at(102)), []);
        assert_eq!(watch.look(vec![disabled.clone()], at(103)).len(), 1);
    }

    #[test]
    fn without_a_reason_the_kernel_has_some_seconds() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(vec![eth0(None)], at(5)), []);
        assert_eq!(watch.poll_timeout(), Some(at(15)));
        assert_eq!(watch.look(vec![eth0(None)], at(14)), []);
        assert_eq!(
            watch.look(vec![eth0(None)], at(15)),
            [Remark::Lacks(eth0(None))]
        );
        assert_eq!(watch.poll_timeout(), None);
        let has = Observed {
            has_link_local: true,
            ..eth0(None)
        };
        let now = Remark::HasNow {
            name: "eth0".to_owned(),
        };
        assert_eq!(watch.look(vec![has.clone()], at(20)), [now]);
        assert_eq!(watch.look(vec![has.clone()], at(21)), []);
        // Nobody is told of one that was never missed.
        assert_eq!(Watch::default().look(vec![has], at(22)), []);
    }
}
