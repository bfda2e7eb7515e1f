//! Interfaces that have no IPv6 link-local address, and what the kernel says of the reason. Never decides what is done
//! about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nightlatch_core::network::link_local::{MIN_MTU, NoLinkLocalReason, ObservedInterface};

use crate::netif::{self, Interface};
use crate::netlink::{self as messages, NetlinkMessage};

/// The kernel's network settings (ip-sysctl of its documentation).
const SETTINGS: &str = "/proc/sys/net";

/// `IN6_ADDR_GEN_MODE_NONE`: the kernel makes no link-local address.
const NONE: &str = "1";

/// Looks at `interfaces`. Those whose packets all go to another link, as a member of a bond, are left out.
///
/// # Errors
/// Those of asking the kernel for links or addresses.
pub fn observe<'a>(
    interfaces: impl Iterator<Item = &'a Interface>,
) -> io::Result<Vec<ObservedInterface>> {
    let mut v4 = BTreeSet::new();
    // The flags of each address, by interface.
    let mut v6: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for message in netif::dump(&messages::dump_addresses())? {
        if let NetlinkMessage::Address {
            index, flags, ip, ..
        } = message
        {
            match ip {
                IpAddr::V4(_) => {
                    v4.insert(index);
                }
                IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                    v6.entry(index).or_default().push(flags);
                }
                IpAddr::V6(_) => {}
            }
        }
    }
    let links = netif::dump(&messages::dump_links())?;
    let mut observed = Vec::new();
    for interface in interfaces {
        let described = links.iter().find_map(|message| match message {
            NetlinkMessage::Link(link) if link.index == interface.index => Some(link),
            _ => None,
        });
        let Some(link) = described else { continue };
        if link.flags & libc::IFF_SLAVE as u32 != 0 {
            continue;
        }
        let flags = v6.get(&interface.index).map_or(&[][..], Vec::as_slice);
        let unfit = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;
        let has_link_local = flags.iter().any(|flags| flags & unfit == 0);
        let failed = flags.iter().any(|flags| flags & libc::IFA_F_DADFAILED != 0);
        observed.push(ObservedInterface {
            index: interface.index,
            // The kernel's own name: settings and commands are by that one.
            name: link.name.clone(),
            has_link_local,
            has_ipv4: v4.contains(&interface.index),
            reason: match (has_link_local, failed) {
                (true, _) => None,
                (false, true) => Some(NoLinkLocalReason::Duplicate),
                (false, false) => reason(Path::new(SETTINGS), &link.name, link.mtu),
            },
        });
    }
    Ok(observed)
}

fn reason(settings: &Path, name: &str, mtu: u32) -> Option<NoLinkLocalReason> {
    // A service may see of /proc nothing but processes.
    let is_missing = |path: &Path| matches!(path.try_exists(), Ok(false));
    if !is_missing(settings) && is_missing(&settings.join("ipv6")) {
        return Some(NoLinkLocalReason::NoIpv6);
    }
    if mtu < MIN_MTU {
        return Some(NoLinkLocalReason::Mtu(mtu));
    }
    let setting = |setting: &str| {
        let folder = settings.join("ipv6/conf").join(name);
        fs::read_to_string(folder.join(setting)).ok()
    };
    let is = |what: &str, value: &str| setting(what).is_some_and(|it| it.trim() == value);
    if is("disable_ipv6", "1") {
        return Some(NoLinkLocalReason::Disabled);
    }
    is("addr_gen_mode", NONE).then_some(NoLinkLocalReason::NotGenerated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_settings_give_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("ipv6/conf/eth0");
        assert_eq!(
            reason(folder.path(), "eth0", 1500),
            Some(NoLinkLocalReason::NoIpv6)
        );
        fs::create_dir_all(&at).unwrap();
        assert_eq!(reason(folder.path(), "eth0", 1500), None);
        assert_eq!(
            reason(folder.path(), "eth0", 1000),
            Some(NoLinkLocalReason::Mtu(1000))
        );
        fs::write(at.join("addr_gen_mode"), "1\n").unwrap();
        assert_eq!(
            reason(folder.path(), "eth0", 1500),
            Some(NoLinkLocalReason::NotGenerated)
        );
        fs::write(at.join("disable_ipv6"), "1\n").unwrap();
        assert_eq!(
            reason(folder.path(), "eth0", 1500),
            Some(NoLinkLocalReason::Disabled)
        );
        fs::write(at.join("disable_ipv6"), "0\n").unwrap();
        fs::write(at.join("addr_gen_mode"), "3\n").unwrap();
        assert_eq!(reason(folder.path(), "eth0", 1500), None);
    }

    #[test]
    fn the_loopback_interface_has_no_such_address() {
        let all = netif::interfaces().unwrap();
        let observed = observe(all.iter().filter(|it| it.name == "lo")).unwrap();
        assert!(matches!(&observed[..], [lo] if !lo.has_link_local && lo.name == "lo"));
    }
}
