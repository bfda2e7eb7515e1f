//! Differences from a file, and the route of a boot to an address with one.

use super::super::super::reach::Unreachable;
use super::*;

#[test]
fn differences_are_rated_by_their_effect() {
    let mut host = Host::default();
    host.nic("eno1", 1);
    host.nic("eno2", 2);
    host.bond("bond0", 1, &["eno1", "eno2"]);
    host.vlan("bond0.5", 5, "bond0");
    let learned = host.learn(&[host.found("bond0.5")]);
    let conf = learned.definition.to_string();
    let differences = |conf: &str| -> Vec<(String, bool)> {
        let file = Definition::parse(conf).unwrap();
        let all = compare::differences(&file, &[], &learned, &host.0).into_iter();
        all.map(|it| (it.to_string(), it.is_decisive())).collect()
    };
    let one = |said: &str, decisive| vec![(said.to_owned(), decisive)];
    // Equivalent settings.
    for same in [
        conf.replace("eno1 eno2", "eno2 eno1"),
        conf.replace(
            "match-mac = 52:54:00:00:00:01",
            "match-path = pci-0000:01:00.0",
        ),
        conf.replace("[eno1]\nmatch-mac = 52:54:00:00:00:01\n", "[eno1]\n"),
    ] {
        assert_eq!(differences(&same), []);
    }
    assert_eq!(
        differences(&conf.replace("id = 5", "id = 6")),
        one("bond0.5: id in the file: 6; now: 5", true)
    );
    assert_eq!(
        differences(&conf.replace("members", "miimon = 50\nmembers")),
        one("bond0: miimon in the file: 50; now: not set", false)
    );
    assert_eq!(
        differences(&conf.replace("00:01", "00:09")),
        one(
            "eno1: match-mac in the file: 52:54:00:00:00:09; now: 52:54:00:00:00:01",
            true
        )
    );
    let more = format!("{conf}\n[bond0.6]\nkind = vlan\nid = 6\nparent = bond0\n");
    let said = "bond0.6 is in the file; the running system has no such link, or does not need it";
    assert_eq!(differences(&more), one(said, true));
    let all = differences("");
    assert_eq!(
        all.iter().filter(|(_, decisive)| *decisive).count(),
        2,
        "{all:?}"
    );
}

#[test]
fn a_section_with_a_fault_is_not_called_missing() {
    let mut host = Host::default();
    host.nic("eno1", 1);
    host.vlan("eno1.5", 5, "eno1");
    let learned = host.learn(&[host.found("eno1.5")]);
    let conf = learned.definition.to_string();
    let (file, faults) = Definition::recover(&conf.replace("id = 5", "id = five"));
    assert_eq!(faults[0].link.as_ref().unwrap().as_str(), "eno1.5");
    let found = compare::differences(&file, &faults, &learned, &host.0);
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    let expected = "eno1.5 leads to a server now; a boot leaves out its section, which has a fault";
    assert_eq!(said, [expected]);
    assert!(found[0].is_decisive());
}

#[test]
fn a_bridge_in_a_file_means_the_same_as_its_port() {
    let mut host = Host::default();
    host.nic("eno1", 1);
    host.bridge("br0", &["eno1"]);
    host.address("br0", "192.0.2.7/24");
    let to_server = host.routed("br0", "192.0.2.9", 24, None, "192.0.2.7");
    let learned = host.learn(&[to_server]);
    let file = "[br0]\nkind = bridge\nmembers = eno1\naddresses = 192.0.2.7/24\n";
    let file = Definition::parse(file).unwrap();
    assert_eq!(compare::differences(&file, &[], &learned, &host.0), []);
}

#[test]
fn an_address_is_reached_with_the_file_or_the_reason_is_given() {
    let reached = |conf: &str, to: &str| boot_route(&Definition::parse(conf).unwrap(), ip(to));
    let link = "[eth0]\naddresses = 192.0.2.7/24\n";
    assert_eq!(reached(link, "192.0.2.9").unwrap().via, None);
    assert_eq!(
        reached(link, "198.51.100.1"),
        Err(Unreachable::NoRoute(ip("198.51.100.1")))
    );
    assert_eq!(
        reached(link, "2001:db8::1"),
        Err(Unreachable::NoAddress(ip("2001:db8::1")))
    );
    assert_eq!(
        reached("", "192.0.2.9"),
        Err(Unreachable::NoAddress(ip("192.0.2.9")))
    );
    let by = |route: &str| reached(&format!("{link}routes = {route}\n"), "198.51.100.1");
    assert_eq!(
        by("default via 192.0.2.1").unwrap().via,
        Some(ip("192.0.2.1"))
    );
    let two = "default via 192.0.2.1, 198.51.100.0/24 via 192.0.2.2";
    assert_eq!(by(two).unwrap().via, Some(ip("192.0.2.2")));
    assert!(matches!(
        by("default via 10.0.0.1"),
        Err(Unreachable::Gateway { .. })
    ));
    assert!(by("default via 10.0.0.1 onlink").is_ok());
    assert!(by("10.0.0.1/32, default via 10.0.0.1").is_ok());
    assert!(
        reached("[eth0]\naddresses = dhcp\n", "198.51.100.1")
            .unwrap()
            .by_dhcp
    );
    // A member never gets addresses.
    let member = "[eth0]\naddresses = 192.0.2.7/24\n[br0]\nkind = bridge\nmembers = eth0\n";
    assert!(reached(member, "192.0.2.9").is_err());
}
