//! Links as [`nightlatch_core::network::builder`] sees them, and the changes that it asks for.
//!
//! Never decides anything. Changes need `CAP_NET_ADMIN` effective during the call.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nightlatch_core::network::change::LinkChange;
use nightlatch_core::network::present::{LinkCreator, PresentLink};
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use crate::netif::{self, Flags};
use crate::netlink::{self as messages, NetlinkMessage};

/// The upper bits of the group of a link that this program made; the rest is the process id. No other program uses
/// such groups.
const MARK: u32 = 0x4e << MARK_SHIFT;
/// Numbers of processes are below 2^22 (`PID_MAX_LIMIT`, proc(5)).
const MARK_SHIFT: u32 = 24;

/// The kernel's folder of network interfaces.
pub(crate) const CLASS: &str = "/sys/class/net";

/// Every link of this network namespace.
///
/// # Errors
/// Those of asking the kernel for links or addresses.
pub fn present() -> io::Result<Vec<PresentLink>> {
    let Used { any, by_others } = used()?;
    let described = netif::dump(&messages::dump_links())?.into_iter();
    let links = described.filter_map(|message| match message {
        NetlinkMessage::Link(link) => Some(link),
        _ => None,
    });
    let links: Vec<_> = links.collect();
    let carries = |index: u32| links.iter().any(|upper| is_on(upper, index));
    let carrying: BTreeSet<u32> = links
        .iter()
        .map(|link| link.index)
        .filter(|i| carries(*i))
        .collect();
    let present = links.into_iter().map(|link| PresentLink {
        in_use: any.contains(&link.index),
        used_by_others: by_others.contains(&link.index) || carrying.contains(&link.index),
        creator: creator(link.group),
        driver: driver(&link.name),
        bus_address: bus_address(&link.name),
        up: Flags::from_bits(link.flags).up(),
        index: link.index,
        name: link.name,
        mac: link.mac,
        permanent_mac: link.permanent_mac,
        mtu: link.mtu,
        master: link.master,
        kind: link.kind,
    });
    Ok(present.collect())
}

/// Makes a change.
///
/// # Errors
/// What the kernel answers.
pub fn apply(change: &LinkChange) -> io::Result<()> {
    netif::change(&messages::changes::message(change, own_mark()))
}

fn own_mark() -> u32 {
    MARK | getpid().as_raw_nonzero().get().cast_unsigned()
}

fn creator(group: u32) -> LinkCreator {
    if group == own_mark() {
        return LinkCreator::ThisProcess;
    }
    if group >> MARK_SHIFT != MARK >> MARK_SHIFT {
        return LinkCreator::Others;
    }
    let process = i32::try_from(group & !MARK).ok().and_then(Pid::from_raw);
    // One that we may not signal is there too.
    match process.map(test_kill_process) {
        Some(Err(Errno::SRCH)) => LinkCreator::DeadProcess,
        _ => LinkCreator::Others,
    }
}

/// True when others have put a link of theirs on the link `index`, and it is up.
fn is_on(upper: &messages::KernelLink, index: u32) -> bool {
    const PUT_ON_OTHERS: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
    let kind = upper.kind.as_deref().unwrap_or_default();
    upper.lower == Some(index)
        && PUT_ON_OTHERS.contains(&kind)
        && creator(upper.group) == LinkCreator::Others
        && Flags::from_bits(upper.flags).up()
}

/// The links with an address that is not just that of its own cable.
struct Used {
    any: BTreeSet<u32>,
    /// Those of which a person or a program gave one, not the kernel, which takes what routers announce.
    by_others: BTreeSet<u32>,
}

fn used() -> io::Result<Used> {
    let described = netif::dump(&messages::dump_addresses())?;
    let mut used = Used {
        any: BTreeSet::new(),
        by_others: BTreeSet::new(),
    };
    // A kernel that reports origins reports that of its own addresses, such as the loopback address.
    let tells = described.iter().any(|message| {
        matches!(
            message,
            NetlinkMessage::Address {
                origin: Some(_),
                ..
            }
        )
    });
    for message in described {
        let NetlinkMessage::Address {
            index,
            flags,
            ip,
            origin,
        } = message
        else {
            continue;
        };
        if is_given(ip) {
            used.any.insert(index);
            if !is_of_kernel(ip, flags, origin, tells) {
                used.by_others.insert(index);
            }
        }
    }
    Ok(used)
}

/// True when the kernel made an address by itself, after a router's announcement.
fn is_of_kernel(ip: IpAddr, flags: u32, origin: Option<u8>, tells: bool) -> bool {
    /// Of a router's announcement (`IFAPROT_KERNEL_RA`).
    const ANNOUNCED: u8 = 2;
    let has = |bit: u32| flags & bit != 0;
    match (ip, origin) {
        (IpAddr::V4(_), _) => false,
        (_, Some(origin)) => origin == ANNOUNCED,
        _ => has(libc::IFA_F_TEMPORARY) || (!tells && !has(libc::IFA_F_PERMANENT)),
    }
}

fn is_given(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

pub(crate) fn driver(interface: &str) -> Option<String> {
    let link = Path::new(CLASS).join(interface).join("device/driver");
    let target = std::fs::read_link(link).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The address of its device on the bus. A virtual device of virtio is on no bus; its parent is.
pub(crate) fn bus_address(interface: &str) -> Option<String> {
    Some(device(interface)?.file_name()?.to_str()?.to_owned())
}

/// The name of that bus.
pub(crate) fn bus(interface: &str) -> Option<String> {
    let bus = std::fs::canonicalize(device(interface)?.join("subsystem")).ok()?;
    Some(bus.file_name()?.to_str()?.to_owned())
}

fn device(interface: &str) -> Option<PathBuf> {
    let device = Path::new(CLASS).join(interface).join("device");
    let mut device = std::fs::canonicalize(device).ok()?;
    if device
        .file_name()?
        .as_encoded_bytes()
        .starts_with(b"virtio")
    {
        device.pop();
    }
    Some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_who_made_a_link() {
        assert_eq!(creator(own_mark()), LinkCreator::ThisProcess);
        assert_eq!(creator(0), LinkCreator::Others);
        assert_eq!(creator(0x1234_5678), LinkCreator::Others);
        // The first process is always there, and no process has the highest number.
        assert_eq!(creator(MARK | 1), LinkCreator::Others);
        assert_eq!(creator(MARK | 0x3f_ffff), LinkCreator::DeadProcess);
    }

    #[test]
    fn an_address_that_the_kernel_made_is_nobodys() {
        let of_kernel = |ip: &str, flags, origin, tells| {
            is_of_kernel(ip.parse().unwrap(), flags, origin, tells)
        };
        let permanent = libc::IFA_F_PERMANENT;
        assert!(of_kernel("2001:db8::1", 0, Some(2), true));
        assert!(of_kernel("2001:db8::1", 0, None, false));
        assert!(of_kernel("2001:db8::1", libc::IFA_F_TEMPORARY, None, true));
        for (ip, flags, origin, tells) in [
            ("192.0.2.1", 0, None, false),
            ("192.0.2.1", permanent, None, true),
            ("2001:db8::1", permanent, None, false),
            ("2001:db8::1", 0, None, true),
            ("2001:db8::1", 0, Some(4), true),
        ] {
            assert!(
                !of_kernel(ip, flags, origin, tells),
                "{ip} {flags} {origin:?}"
            );
        }
    }

    #[test]
    fn the_loopback_interface_is_there_with_its_size() {
        let all = present().unwrap();
        let lo = all.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.mtu > 1500 && lo.master.is_none() && lo.creator == LinkCreator::Others);
    }
}
