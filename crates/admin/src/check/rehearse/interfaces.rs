//! From which interfaces a rehearsal is tried: those that a boot would have, and that are up now. Reads sysfs,
//! changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// ARPHRD_ETHER (netdevice(7)).
const ETHERNET: &str = "1";

/// What kinds the kernel calls links that a boot has only when it makes them (`DEVTYPE`).
const MADE: [&str; 3] = ["vlan", "bond", "bridge"];

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    name: String,
    is_ethernet: bool,
    is_up: bool,
    /// It belongs to a bond or a bridge.
    has_master: bool,
    /// The kind of a link that was made; empty for a device.
    kind: String,
    /// A device of the machine belongs to it.
    has_device_below: bool,
}

/// All interfaces of the machine whose files are below `root`, by name.
pub(super) fn present(root: &Path) -> Vec<Interface> {
    let entries = fs::read_dir(root.join("sys/class/net"));
    let entries = entries.into_iter().flatten().flatten();
    let mut found: Vec<Interface> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            let below = fs::read_dir(&path).into_iter().flatten().flatten();
            let mut below =
                below.filter(|entry| entry.file_name().to_string_lossy().starts_with("lower_"));
            Some(Interface {
                name: entry.file_name().into_string().ok()?,
                is_ethernet: read("type").trim() == ETHERNET,
                is_up: read("operstate").trim() == "up",
                has_master: path.join("master").exists(),
                kind: read("uevent")
                    .lines()
                    .find_map(|line| line.strip_prefix("DEVTYPE="))
                    .unwrap_or_default()
                    .to_owned(),
                has_device_below: below.any(|entry| entry.path().join("device").exists()),
            })
        })
        .collect();
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Which of them can be tried, and what keeps others that are `wanted` by name. `made` are the links that a
/// boot makes.
pub(super) fn usable(
    present: &[Interface],
    wanted: &[String],
    made: &[String],
) -> (Vec<String>, Vec<String>) {
    if wanted.is_empty() {
        let suitable = present.iter().filter(|one| is_suitable(one, made));
        return (suitable.map(|one| one.name.clone()).collect(), Vec::new());
    }
    let mut remarks = Vec::new();
    let usable = wanted.iter().filter(|name| {
        let found = present.iter().find(|one| one.name == **name);
        match found {
            Some(one) if one.is_up => return true,
            // It was made ready for the next boot, perhaps. To take it up is no check's business.
            Some(_) => remarks.push(format!(
                "{name} is down: a boot would take it up, it is not tried"
            )),
            None => remarks.push(format!("there is no interface {name}")),
        }
        false
    });
    let usable = usable.cloned().collect();
    (usable, remarks)
}

/// The modules of the drivers of these interfaces, and of those below them. A driver that is built in has none.
pub(super) fn drivers(root: &Path, names: &[String]) -> BTreeSet<String> {
    let folders = names
        .iter()
        .map(|name| root.join("sys/class/net").join(name));
    let all = folders.flat_map(|folder| {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_name().to_string_lossy().starts_with("lower_"));
        let below: Vec<_> = below.map(|entry| entry.path()).collect();
        std::iter::once(folder).chain(below)
    });
    let modules = all.filter_map(|folder| {
        let module = fs::read_link(folder.join("device/driver/module")).ok()?;
        module.file_name()?.to_str().map(str::to_owned)
    });
    modules.collect()
}

fn is_suitable(one: &Interface, made: &[String]) -> bool {
    if !one.is_ethernet || !one.is_up || one.has_master {
        return false;
    }
    // Where a boot uses the device, it is tried by the bridge that it now belongs to. The bridges of containers
    // and virtual machines have no device, and are not there in a boot.
    let is_stand_in = one.has_device_below && one.kind != "vlan";
    !MADE.contains(&one.kind.as_str()) || made.contains(&one.name) || is_stand_in
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, kind: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            is_ethernet: true,
            is_up: true,
            has_master: false,
            kind: kind.to_owned(),
            has_device_below: false,
        }
    }

    #[test]
    fn what_a_boot_would_not_have_is_not_tried() {
        let member = Interface {
            has_master: true,
            ..interface("eth1", "")
        };
        let down = Interface {
            is_up: false,
            ..interface("eth2", "")
        };
        let tunnel = Interface {
            is_ethernet: false,
            ..interface("wg0", "wireguard")
        };
        let bridge = Interface {
            has_device_below: true,
            ..interface("br0", "bridge")
        };
        let vlan = Interface {
            has_device_below: true,
            ..interface("eth0.5", "vlan")
        };
        let all = [
            interface("eth0", ""),
            member,
            down,
            tunnel,
            interface("docker0", "bridge"),
            bridge,
            vlan,
        ];
        let (names, remarks) = usable(&all, &[], &[]);
        assert_eq!(names, ["eth0", "br0"]);
        assert!(remarks.is_empty());
        let (names, _) = usable(&all, &[], &["eth0.5".to_owned()]);
        assert_eq!(names, ["eth0", "br0", "eth0.5"]);
        let wanted = ["eth2", "docker0", "eth9"].map(str::to_owned);
        let (names, remarks) = usable(&all, &wanted, &[]);
        assert_eq!(names, ["docker0"]);
        assert_eq!(remarks.len(), 2);
    }
}
