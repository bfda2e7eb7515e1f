//! Addresses and routes of servers that are connected to.

use super::*;

#[test]
fn gateways_that_no_address_covers_are_on_the_link() {
    // Hetzner: a /32 and a gateway elsewhere. OVH: the same with another address. Old style: a peer.
    for peer in [None, Some("172.31.1.1/32")] {
        let mut host = Host::default();
        host.nic("eth0", 1);
        host.address("eth0", "203.0.113.7/32").peer = peer.map(|it| it.parse().unwrap());
        let to_server = host.routed("eth0", "198.51.100.1", 0, Some("172.31.1.1"), "203.0.113.7");
        assert_eq!(
            host.conf(&[to_server]),
            "[eth0]\nmatch-mac = 52:54:00:00:00:01\naddresses = 203.0.113.7/32\n\
             routes = default via 172.31.1.1 onlink\n"
        );
    }
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.address("eth0", "2001:db8:1::7/64");
    let to_server = |via| host.routed("eth0", "2001:db8:2::1", 0, Some(via), "2001:db8:1::7");
    assert!(
        host.conf(&[to_server("fe80::1")])
            .ends_with("routes = default via fe80::1\n")
    );
    let conf = host.conf(&[to_server("2001:db8:f::1")]);
    assert!(conf.ends_with("routes = default via 2001:db8:f::1 onlink\n"));
}

#[test]
fn the_other_end_of_a_line_is_a_route() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.address("eth0", "10.0.0.1/32").peer = Some("10.9.9.9/32".parse().unwrap());
    let conf = host.conf(&[host.routed("eth0", "10.9.9.9", 32, None, "10.0.0.1")]);
    assert!(
        conf.ends_with("addresses = 10.0.0.1/32\nroutes = 10.9.9.9/32\n"),
        "{conf}"
    );
}

#[test]
fn a_server_on_the_network_of_an_address_needs_no_route() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.address("eth0", "192.0.2.7/24");
    let conf = host.conf(&[host.routed("eth0", "192.0.2.9", 24, None, "192.0.2.7")]);
    assert!(conf.ends_with("addresses = 192.0.2.7/24\n"), "{conf}");
    // Some networks send all packets through the gateway, even to their own prefix.
    let to_server = host.routed("eth0", "192.0.2.9", 0, Some("192.0.2.1"), "192.0.2.7");
    let conf = host.conf(&[to_server]);
    assert!(
        conf.ends_with("routes = 192.0.2.9/32 via 192.0.2.1\n"),
        "{conf}"
    );
}

#[test]
fn an_address_of_the_loopback_interface_moves_to_the_link_that_carries_it() {
    let mut host = Host::default();
    host.add("lo", None).loopback = true;
    host.nic("eth0", 1);
    host.address("lo", "10.255.0.1/32");
    let to_server = host.routed("eth0", "198.51.100.1", 24, Some("10.1.1.1"), "10.255.0.1");
    let conf = host.conf(&[to_server]);
    let end = "addresses = 10.255.0.1/32\nroutes = 198.51.100.0/24 via 10.1.1.1 onlink\n";
    assert!(conf.ends_with(end), "{conf}");
}

#[test]
fn two_servers_by_two_default_routes_get_routes_of_their_own() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.nic("eth1", 2);
    host.address("eth0", "192.0.2.7/24");
    host.address("eth1", "203.0.113.7/24");
    let conf = host.conf(&[
        host.routed("eth0", "198.51.100.1", 0, Some("192.0.2.1"), "192.0.2.7"),
        host.routed(
            "eth1",
            "198.51.100.2",
            0,
            Some("203.0.113.1"),
            "203.0.113.7",
        ),
    ]);
    for route in [
        "routes = 198.51.100.1/32 via 192.0.2.1\n",
        "routes = 198.51.100.2/32 via 203.0.113.1\n",
    ] {
        assert!(conf.contains(route), "{conf}");
    }
}

#[test]
fn two_addresses_of_one_link_are_distinguished_by_their_routes() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.address("eth0", "192.0.2.7/32");
    host.address("eth0", "203.0.113.7/32");
    let conf = host.conf(&[
        host.routed("eth0", "198.51.100.1", 32, Some("10.0.0.1"), "192.0.2.7"),
        host.routed("eth0", "198.51.100.2", 32, Some("10.0.0.2"), "203.0.113.7"),
    ]);
    let routes = "routes = 198.51.100.1/32 via 10.0.0.1 onlink src 192.0.2.7, \
                  198.51.100.2/32 via 10.0.0.2 onlink src 203.0.113.7\n";
    assert!(conf.ends_with(routes), "{conf}");
}

#[test]
fn leased_addresses_are_not_written_as_static_ones() {
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.address("eth0", "192.0.2.7/24").dynamic = true;
    host.address("eth0", "2001:db8::7/64").dynamic = true;
    let conf = host.conf(&[host.routed("eth0", "198.51.100.1", 0, Some("192.0.2.1"), "192.0.2.7")]);
    assert_eq!(
        conf,
        "[eth0]\nmatch-mac = 52:54:00:00:00:01\naddresses = dhcp\n"
    );
    let to_server = host.routed("eth0", "198.51.100.1", 24, Some("192.0.2.2"), "192.0.2.7");
    let conf = host.conf(&[to_server]);
    assert!(
        conf.ends_with("routes = 198.51.100.0/24 via 192.0.2.2 onlink\n"),
        "{conf}"
    );
    let to_server = host.routed("eth0", "2001:db8:f::1", 0, Some("fe80::1"), "2001:db8::7");
    let learned = host.learn(&[to_server]);
    assert_eq!(learned.definition.links()[0].addresses, []);
    assert_eq!(
        learned.remarks[0].what,
        RemarkKind::Router(ip("2001:db8::7"))
    );
    let mut host = Host::default();
    host.nic("eth0", 1);
    host.address("eth0", "2001:db8::7/128").dynamic = true;
    let to_server = host.routed("eth0", "2001:db8:f::1", 0, Some("fe80::1"), "2001:db8::7");
    assert!(host.told(to_server).contains("was given by DHCPv6"));
}
