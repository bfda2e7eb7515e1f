mod addresses;
mod drift;

use super::super::present::PresentLink;
use super::super::reach::boot_route;
use super::super::snapshot::{KernelAddress, KernelLink, LinkDetails};
use super::super::{LinkKind, Mac, compare};
use super::*;

/// A machine whose links are numbered from 1 in their order.
#[derive(Default)]
struct Host(Snapshot);

fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Host {
    fn add(&mut self, name: &str, kind: Option<&str>) -> &mut KernelLink {
        let index = u32::try_from(self.0.links.len()).unwrap() + 1;
        self.0.links.push(KernelLink {
            present: PresentLink {
                index,
                name: name.to_owned(),
                up: true,
                mtu: 1500,
                kind: kind.map(str::to_owned),
                ..PresentLink::default()
            },
            ethernet: true,
            running: true,
            ..KernelLink::default()
        });
        self.0.links.last_mut().unwrap()
    }

    fn index(&self, name: &str) -> u32 {
        self.0.named(name).unwrap().present.index
    }

    fn nic(&mut self, name: &str, last: u8) -> &mut KernelLink {
        let link = self.add(name, None);
        link.present.permanent_mac = Some(mac(last));
        link.present.mac = Some(mac(last));
        link.present.driver = Some("e1000e".to_owned());
        link.present.bus_address = Some(format!("0000:0{last}:00.0"));
        link.bus = Some("pci".to_owned());
        link
    }

    /// A link on another, with its address.
    fn on(
        &mut self,
        name: &str,
        kind: &str,
        parent: &str,
        details: LinkDetails,
    ) -> &mut KernelLink {
        let below = self.0.named(parent).unwrap();
        let (parent, address) = (below.present.index, below.present.mac);
        let link = self.add(name, Some(kind));
        link.parent = Some(parent);
        link.present.mac = address;
        link.details = details;
        link
    }

    fn vlan(&mut self, name: &str, id: u16, parent: &str) {
        let protocol = 0x8100;
        self.on(name, "vlan", parent, LinkDetails::Vlan { id, protocol });
    }

    /// A link made of others, with the hardware address of the first.
    fn of(&mut self, name: &str, kind: &str, details: LinkDetails, members: &[&str]) {
        let address = members.first().and_then(|it| self.0.named(it)?.present.mac);
        let link = self.add(name, Some(kind));
        link.present.mac = address;
        link.details = details;
        let index = link.present.index;
        for member in members {
            let member = self.0.links.iter_mut().find(|it| it.name() == *member);
            let member = member.unwrap();
            member.present.master = Some(index);
            if kind == "bond" {
                member.present.mac = address;
            }
        }
    }

    fn bond(&mut self, name: &str, mode: u16, members: &[&str]) {
        let details = LinkDetails::Bond {
            mode,
            miimon: 100,
            lacp_rate: 1,
            hash_policy: 1,
            primary: None,
        };
        self.of(name, "bond", details, members);
    }

    fn bridge(&mut self, name: &str, ports: &[&str]) {
        let details = LinkDetails::Bridge {
            filters_vlans: false,
        };
        self.of(name, "bridge", details, ports);
    }

    fn address(&mut self, link: &str, cidr: &str) -> &mut KernelAddress {
        let link = self.index(link);
        self.0.addresses.push(KernelAddress {
            link,
            cidr: cidr.parse().unwrap(),
            peer: None,
            dynamic: false,
            no_prefix_route: false,
        });
        self.0.addresses.last_mut().unwrap()
    }

    fn found(&self, link: &str) -> ServerRoute {
        ServerRoute {
            link: self.index(link),
            reach: ReachMethod::Neighbour,
        }
    }

    fn routed(
        &self,
        link: &str,
        to: &str,
        prefix: u8,
        via: Option<&str>,
        source: &str,
    ) -> ServerRoute {
        ServerRoute {
            link: self.index(link),
            reach: ReachMethod::Routed(Routed {
                to: ip(to),
                prefix,
                via: via.map(ip),
                source: Some(ip(source)),
                is_static: true,
            }),
        }
    }

    fn learn(&self, routes_to_servers: &[ServerRoute]) -> Learned {
        let learned = learn(&self.0, routes_to_servers);
        let text = learned.definition.to_string();
        assert_eq!(Definition::parse(&text), Ok(learned.definition.clone()));
        // A configuration that was just learned has no differences.
        assert_eq!(
            compare::differences(&learned.definition, &[], &learned, &self.0),
            []
        );
        // Every server is reached with the written configuration.
        for to_server in routes_to_servers {
            if let ReachMethod::Routed(routed) = &to_server.reach
                && learned.remarks.is_empty()
            {
                let reached = boot_route(&learned.definition, routed.to).unwrap();
                assert_eq!(
                    reached.via.is_some(),
                    routed.via.is_some() && !reached.by_dhcp
                );
            }
        }
        learned
    }

    fn conf(&self, routes_to_servers: &[ServerRoute]) -> String {
        let learned = self.learn(routes_to_servers);
        assert_eq!(learned.remarks, []);
        learned.definition.to_string()
    }

    fn remark(&self, to_server: ServerRoute) -> String {
        let learned = self.learn(&[to_server]);
        assert_eq!(learned.definition, Definition::default());
        let remarks: Vec<String> = learned.remarks.iter().map(ToString::to_string).collect();
        remarks.join("; ")
    }
}

#[test]
fn a_vlan_on_a_bond_leads_to_the_permanent_addresses_of_its_cards() {
    let mut host = Host::default();
    host.nic("eno1", 1);
    host.nic("eno2", 2);
    host.nic("eno3", 3);
    host.bond("bond0", 4, &["eno1", "eno2"]);
    host.vlan("bond0.5", 5, "bond0");
    assert_eq!(
        host.conf(&[host.found("bond0.5")]),
        "[eno1]\nmatch-mac = 52:54:00:00:00:01\n\n[eno2]\nmatch-mac = 52:54:00:00:00:02\n\n\
         [bond0]\nkind = bond\nmode = 802.3ad\nlacp-rate = fast\nhash-policy = layer3+4\n\
         members = eno1 eno2\n\n[bond0.5]\nkind = vlan\nid = 5\nparent = bond0\n"
    );
}

#[test]
fn a_bridge_is_replaced_by_its_port_which_gets_its_address() {
    let mut host = Host::default();
    host.nic("eno1", 1);
    host.vlan("eno1.7", 7, "eno1");
    host.add("vnet0", Some("tun"));
    host.add("veth1", Some("veth"));
    host.bridge("br0", &["vnet0", "veth1", "eno1.7"]);
    host.address("br0", "192.0.2.7/24");
    let port =
        "[eno1]\nmatch-mac = 52:54:00:00:00:01\n\n[eno1.7]\nkind = vlan\nid = 7\nparent = eno1\n";
    assert_eq!(
        host.conf(&[host.found("br0")]),
        format!("{port}stands-for = br0\n")
    );
    let to_server = host.routed("br0", "198.51.100.1", 0, Some("192.0.2.1"), "192.0.2.7");
    let conf = host.conf(&[to_server]);
    assert_eq!(
        conf,
        format!(
            "{port}addresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\nstands-for = br0\n"
        )
    );
    // `interface = br0` of a configuration now refers to the port.
    let definition = Definition::parse(&conf).unwrap();
    assert_eq!(definition.used_for("br0").unwrap().name.as_str(), "eno1.7");
}

#[test]
fn a_vlan_on_a_bridge_is_one_on_its_port() {
    let mut host = Host::default();
    host.nic("eno1", 1);
    host.bridge("vmbr0", &["eno1"]);
    host.vlan("vmbr0.9", 9, "vmbr0");
    assert_eq!(
        host.conf(&[host.found("vmbr0.9")]),
        "[eno1]\nmatch-mac = 52:54:00:00:00:01\nstands-for = vmbr0\n\n\
         [vmbr0.9]\nkind = vlan\nid = 9\nparent = eno1\n"
    );
}

#[test]
fn cards_that_share_an_address_are_distinguished() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    // A virtual function has the address of the interface that it replaces.
    let twin = host.nic("enP1s1", 2);
    twin.present.permanent_mac = Some(mac(1));
    twin.present.driver = Some("mlx5_core".to_owned());
    let conf = host.conf(&[host.found("eth0")]);
    assert_eq!(
        conf,
        "[eth0]\nmatch-mac = 52:54:00:00:00:01\nmatch-driver = e1000e\n"
    );
    let third = host.nic("eth2", 3);
    third.present.permanent_mac = Some(mac(1));
    third.present.mac = Some(mac(1));
    let conf = host.conf(&[host.found("eth2")]);
    assert_eq!(
        conf,
        "[eth2]\nmatch-mac = 52:54:00:00:00:01\nmatch-path = pci-0000:03:00.0\n"
    );
    let definition = Definition::parse(&conf).unwrap();
    let LinkKind::Device(wanted) = &definition.links()[0].kind else {
        unreachable!()
    };
    let fits: Vec<&str> = host
        .0
        .links
        .iter()
        .filter(|it| wanted.fits(&it.present))
        .map(KernelLink::name)
        .collect();
    assert_eq!(fits, ["eth2"]);
}

#[test]
fn an_address_that_changes_with_each_boot_recognises_nothing() {
    let mut host = Host::default();
    host.nic("end0", 1).present.permanent_mac = None;
    assert_eq!(
        host.conf(&[host.found("end0")]),
        "[end0]\nmatch-path = pci-0000:01:00.0\n"
    );
}

#[test]
fn settings_other_than_the_defaults_are_kept() {
    let mut host = Host::default();
    let card = host.nic("eth0", 1);
    card.present.mac = Some(mac(77));
    card.present.mtu = 9000;
    assert_eq!(
        host.conf(&[host.found("eth0")]),
        "[eth0]\nmatch-mac = 52:54:00:00:00:01\nmac = 52:54:00:00:00:4d\nmtu = 9000\n"
    );
}

#[test]
fn a_vrf_is_left_out_and_a_macvlan_is_its_parent() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.of("blue", "vrf", LinkDetails::None, &["eth0"]);
    host.address("eth0", "192.0.2.7/24");
    let conf = host.conf(&[host.routed("eth0", "192.0.2.9", 24, None, "192.0.2.7")]);
    assert!(!conf.contains("blue") && conf.contains("addresses = 192.0.2.7/24"));
    host.on("mv0", "macvlan", "eth0", LinkDetails::None);
    let conf = host.conf(&[host.found("mv0")]);
    assert!(conf.contains("[eth0]") && conf.contains("stands-for = mv0"));
}

#[test]
fn a_route_that_a_boot_cannot_use_is_reported_and_not_written() {
    let mut host = Host::default();
    host.add("lo", None).loopback = true;
    host.nic("eth0", 1);
    host.nic("wlan0", 2).wireless = true;
    host.add("wg0", Some("wireguard")).ethernet = false;
    host.add("veth1", Some("veth"));
    host.bridge("docker0", &["veth1"]);
    host.bridge("ap0", &["wlan0"]);
    host.vlan("docker0.5", 5, "docker0");
    host.vlan("far", 5, "eth0");
    host.0.links.last_mut().unwrap().parent_elsewhere = true;
    host.bond("empty", 1, &[]);
    for (link, told) in [
        ("lo", "leads to no network interface"),
        ("wlan0", "wlan0 is wireless"),
        ("ap0", "wlan0 is wireless"),
        ("wg0", "a link of the kind wireguard"),
        ("docker0", "docker0 leads to no network interface"),
        ("docker0.5", "docker0 leads to no network interface"),
        ("veth1", "veth1 leads to no network interface"),
        ("far", "is in another network namespace"),
        ("empty", "empty leads to no network interface"),
    ] {
        let said = host.remark(host.found(link));
        assert!(
            said.starts_with(link) && said.contains(told),
            "{link}: {said}"
        );
    }
    host.address("eth0", "192.0.2.7/24");
    for (to_server, told) in [
        (
            host.routed("eth0", "192.0.2.9", 0, Some("fe80::1"), "192.0.2.7"),
            "by the gateway fe80::1",
        ),
        (
            host.routed("eth0", "192.0.2.9", 24, None, "192.0.2.8"),
            "no address to reach",
        ),
    ] {
        let said = host.remark(to_server);
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_virtual_cable_is_an_interface_if_there_is_nothing_else() {
    let mut host = Host::default();
    let end = host.add("lan0", Some("veth"));
    end.present.mac = Some(mac(9));
    end.parent_elsewhere = true;
    // Both ends of this cable are on this machine: it leads nowhere.
    host.add("inner", Some("veth")).parent = Some(9);
    host.bridge("br0", &["inner", "lan0"]);
    assert_eq!(
        host.conf(&[host.found("br0")]),
        "[lan0]\nmatch-mac = 52:54:00:00:00:09\nstands-for = br0\n"
    );
}

#[test]
fn links_that_are_made_of_themselves_end_the_search() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.vlan("a", 1, "eth0");
    host.vlan("b", 2, "a");
    let b = host.index("b");
    host.0.links[1].parent = Some(b);
    assert!(
        host.remark(host.found("b"))
            .contains("leads to no network interface")
    );
}
