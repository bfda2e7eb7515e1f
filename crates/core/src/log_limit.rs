//! Quotas for log lines that other hosts can cause: a flood of requests must not become a flood of lines.
//!
//! Lines are counted in classes, for one window at a time. Lines beyond a quota are left out, and their number is
//! reported when the window ends.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::time::Monotonic;

/// Time in which lines are counted together.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Value of [`LogQuota::classes`] where peers choose the classes: it bounds the memory that a peer with many addresses
/// can use up.
pub const MAX_CLASSES: usize = 256;

/// Classes that are named at the end of a window: the end of a flood must not be a flood either.
const MAX_NAMED: usize = 3;

/// Limits on the lines within one [`WINDOW`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogQuota {
    /// Lines of one class.
    pub class: u32,
    /// Lines of all classes together.
    pub all: u32,
    /// Number of classes that are counted by name; lines of all others are left out.
    pub classes: usize,
}

/// Counts the lines of the current window.
#[derive(Debug)]
pub struct LogLimit<K> {
    quota: LogQuota,
    /// `None` before the first line, and once the window has ended.
    ends: Option<Monotonic>,
    written: u32,
    classes: BTreeMap<K, Count>,
    /// Lines of classes that are not counted by name.
    unnamed: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Count {
    written: u32,
    left_out: u64,
}

/// The lines that a window left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OmittedLines<K> {
    /// The classes with most of them, the largest first.
    pub largest: Vec<(K, u64)>,
    /// Number of lines of all other classes.
    pub others: u64,
}

impl<K: Ord> LogLimit<K> {
    /// A limit without a window.
    pub const fn new(quota: LogQuota) -> Self {
        Self {
            quota,
            ends: None,
            written: 0,
            classes: BTreeMap::new(),
            unnamed: 0,
        }
    }

    /// Counts a line of `class`; true when it is to be written. [`Self::close`] comes first.
    pub fn admit(&mut self, class: K, now: Monotonic) -> bool {
        self.ends.get_or_insert(now.after(WINDOW));
        if self.classes.len() >= self.quota.classes && !self.classes.contains_key(&class) {
            self.unnamed = self.unnamed.saturating_add(1);
            return false;
        }
        let count = self.classes.entry(class).or_default();
        if count.written >= self.quota.class || self.written >= self.quota.all {
            count.left_out = count.left_out.saturating_add(1);
            return false;
        }
        count.written += 1;
        self.written += 1;
        true
    }

    /// Time at which [`Self::close`] ends the window; `None` without a window.
    pub const fn ends(&self) -> Option<Monotonic> {
        self.ends
    }

    /// Ends the window if its time has passed; returns the lines left out, if any.
    pub fn close(&mut self, now: Monotonic) -> Option<OmittedLines<K>> {
        if self.ends? > now {
            return None;
        }
        self.finish()
    }

    /// Ends the window early, as at the end of the program.
    pub fn finish(&mut self) -> Option<OmittedLines<K>> {
        self.ends = None;
        self.written = 0;
        let unnamed = std::mem::take(&mut self.unnamed);
        let mut largest: Vec<_> = std::mem::take(&mut self.classes)
            .into_iter()
            .map(|(class, count)| (class, count.left_out))
            .filter(|(_, left_out)| *left_out > 0)
            .collect();
        largest.sort_by_key(|(_, left_out)| std::cmp::Reverse(*left_out));
        let rest = largest.split_off(largest.len().min(MAX_NAMED));
        let others = rest
            .into_iter()
            .fold(unnamed, |sum, (_, left_out)| sum.saturating_add(left_out));
        (others > 0 || !largest.is_empty()).then_some(OmittedLines { largest, others })
    }
}

/// The network of a peer's address: one host can have all the IPv6 addresses of its /64 at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceClass(IpAddr);

impl From<IpAddr> for SourceClass {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(),
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        })
    }
}

impl fmt::Display for SourceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.0.is_ipv4() { 24 } else { 64 };
        write!(f, "{}/{length}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: LogQuota = LogQuota {
        class: 3,
        all: 5,
        classes: MAX_CLASSES,
    };

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn lines_beyond_the_quota_of_a_class_are_counted() {
        let mut limit = LogLimit::new(QUOTA);
        assert_eq!(limit.ends(), None);
        let written = (0..100).filter(|_| limit.admit("flood", at(5))).count();
        assert_eq!(written, 3);
        assert!(limit.admit("other", at(6)), "the quota is of the class");
        assert_eq!(limit.ends(), Some(at(65)));
        assert_eq!(limit.close(at(64)), None);
        let left_out = limit.close(at(65)).unwrap();
        assert_eq!(left_out.largest, [("flood", 97)]);
        assert_eq!(left_out.others, 0);
        assert_eq!((limit.close(at(66)), limit.ends()), (None, None));
        assert!(limit.admit("flood", at(66)), "a new window");
    }

    #[test]
    fn a_window_without_a_flood_reports_nothing() {
        let mut limit = LogLimit::new(QUOTA);
        assert!(limit.admit("one", at(0)));
        assert_eq!(limit.close(at(60)), None);
        assert_eq!(limit.ends(), None);
    }

    #[test]
    fn with_unlimited_classes_no_class_displaces_another() {
        let mut limit = LogLimit::new(LogQuota {
            class: 1,
            all: u32::MAX,
            classes: usize::MAX,
        });
        assert!((0..10_000_u32).all(|class| limit.admit(class, at(0))));
        assert_eq!(limit.finish(), None);
    }

    #[test]
    fn many_classes_together_have_a_quota_and_few_of_them_are_named() {
        let mut limit = LogLimit::new(QUOTA);
        let classes = (0..10_000_u32).flat_map(|class| [class, class]);
        let written = classes.filter(|class| limit.admit(*class, at(0))).count();
        assert_eq!(written, 5);
        assert!(limit.classes.len() <= MAX_CLASSES);
        let left_out = limit.finish().unwrap();
        assert_eq!(left_out.largest.len(), MAX_NAMED);
        let named: u64 = left_out.largest.iter().map(|(_, count)| count).sum();
        assert_eq!(named + left_out.others, 20_000 - 5);
    }

    #[test]
    fn the_addresses_of_one_network_are_one_source() {
        let class = |address: &str| SourceClass::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(class("2001:db8::1"), class("2001:db8::ffff:1"));
        assert_ne!(class("2001:db8::1"), class("2001:db8:0:1::1"));
        assert_eq!(class("::ffff:192.0.2.1"), class("192.0.2.200"));
        assert_ne!(class("192.0.2.1"), class("192.0.3.1"));
        assert_eq!(class("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(class("192.0.2.77").to_string(), "192.0.2.0/24");
    }
}
