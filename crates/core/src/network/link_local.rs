//! Warnings about interfaces without an IPv6 link-local address, on which no neighbour can be found.
//!
//! Pure: the caller observes the interfaces. The kernel generates such an address within about two seconds after the
//! carrier is there.

use core::fmt;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Monotonic;

/// Time for the kernel to generate an address before a missing one without a known reason is reported.
const GRACE: Duration = Duration::from_secs(10);

/// Smallest MTU for IPv6 in bytes (RFC 8200, 5).
pub const MIN_MTU: u32 = 1280;

/// The kernel's reason for a missing link-local address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoLinkLocalReason {
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

impl NoLinkLocalReason {
    /// A remedy, for the interface `name`.
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

impl fmt::Display for NoLinkLocalReason {
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
pub struct ObservedInterface {
    /// Index in the kernel.
    pub index: u32,
    /// Name in the kernel.
    pub name: String,
    /// True when it has a usable link-local address.
    pub has_link_local: bool,
    /// True when it has an IPv4 address.
    pub has_ipv4: bool,
    /// The reason for a missing address, if the kernel has one.
    pub reason: Option<NoLinkLocalReason>,
}

/// A notice that is due once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkLocalNotice {
    /// An interface lacks a link-local address.
    Lacks(ObservedInterface),
    /// A reported interface has an address now.
    HasNow {
        /// Name of the interface.
        name: String,
    },
}

/// An interface without a link-local address.
#[derive(Clone, PartialEq, Eq, Debug)]
struct LackingInterface {
    /// Time at which it was first observed without one.
    since: Monotonic,
    /// The observation that was reported.
    reported: Option<ObservedInterface>,
}

/// Decides which missing addresses are reported, and when.
#[derive(Default, Debug)]
pub struct LinkLocalMonitor {
    lacking: BTreeMap<u32, LackingInterface>,
}

impl LinkLocalMonitor {
    /// Takes the current state of all interfaces; returns the notices that are due.
    pub fn update(
        &mut self,
        interfaces: Vec<ObservedInterface>,
        now: Monotonic,
    ) -> Vec<LinkLocalNotice> {
        self.lacking
            .retain(|index, _| interfaces.iter().any(|it| it.index == *index));
        let remarks = interfaces
            .into_iter()
            .filter_map(|it| self.update_interface(it, now));
        remarks.collect()
    }

    fn update_interface(
        &mut self,
        interface: ObservedInterface,
        now: Monotonic,
    ) -> Option<LinkLocalNotice> {
        if interface.has_link_local {
            let known = self.lacking.remove(&interface.index)?;
            known.reported?;
            return Some(LinkLocalNotice::HasNow {
                name: interface.name,
            });
        }
        let known = self
            .lacking
            .entry(interface.index)
            .or_insert(LackingInterface {
                since: now,
                reported: None,
            });
        let due = interface.reason.is_some() || now >= known.since.after(GRACE);
        if !due || known.reported.as_ref() == Some(&interface) {
            return None;
        }
        known.reported = Some(interface.clone());
        Some(LinkLocalNotice::Lacks(interface))
    }

    /// Time at which to call [`Self::update`] again even without a change.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let silent = self
            .lacking
            .values()
            .filter(|known| known.reported.is_none());
        silent.map(|known| known.since.after(GRACE)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn eth0(reason: Option<NoLinkLocalReason>) -> ObservedInterface {
        ObservedInterface {
            index: 2,
            name: "eth0".to_owned(),
            has_link_local: false,
            has_ipv4: true,
            reason,
        }
    }

    #[test]
    fn a_missing_address_with_a_reason_is_reported_at_once_and_once() {
        let mut monitor = LinkLocalMonitor::default();
        let disabled = eth0(Some(NoLinkLocalReason::Disabled));
        let notices = monitor.update(vec![disabled.clone()], at(1));
        assert_eq!(notices, [LinkLocalNotice::Lacks(disabled.clone())]);
        assert_eq!(monitor.update(vec![disabled.clone()], at(100)), []);
        assert_eq!(monitor.poll_timeout(), None);
        // A new reason is reported.
        let other = eth0(Some(NoLinkLocalReason::NotGenerated));
        assert_eq!(
            monitor.update(vec![other.clone()], at(101)),
            [LinkLocalNotice::Lacks(other)]
        );
        // An interface that disappeared and came back is reported again.
        assert_eq!(monitor.update(Vec::new(), at(102)), []);
        assert_eq!(monitor.update(vec![disabled.clone()], at(103)).len(), 1);
    }

    #[test]
    fn a_missing_address_without_a_reason_is_reported_after_some_seconds() {
        let mut monitor = LinkLocalMonitor::default();
        assert_eq!(monitor.update(vec![eth0(None)], at(5)), []);
        assert_eq!(monitor.poll_timeout(), Some(at(15)));
        assert_eq!(monitor.update(vec![eth0(None)], at(14)), []);
        assert_eq!(
            monitor.update(vec![eth0(None)], at(15)),
            [LinkLocalNotice::Lacks(eth0(None))]
        );
        assert_eq!(monitor.poll_timeout(), None);
        let has = ObservedInterface {
            has_link_local: true,
            ..eth0(None)
        };
        let now = LinkLocalNotice::HasNow {
            name: "eth0".to_owned(),
        };
        assert_eq!(monitor.update(vec![has.clone()], at(20)), [now]);
        assert_eq!(monitor.update(vec![has.clone()], at(21)), []);
        // An address that was never reported as missing is not reported as present.
        assert_eq!(LinkLocalMonitor::default().update(vec![has], at(22)), []);
    }
}
