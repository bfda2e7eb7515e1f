use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const SAMPLE: &str = "\
[eth0]
match-mac = 52:54:00:12:34:56

[eth1]
match-driver = virtio_net
mtu = 9000

[bond0]
kind = bond
mode = 802.3ad
lacp-rate = fast
hash-policy = layer3+4
members = eth0 eth1
mtu = 9000

[bond0.5]
kind = vlan
id = 5
parent = bond0
addresses = 192.0.2.7/24 2001:db8::7/64
routes = default via 192.0.2.1, 198.51.100.0/24 via 192.0.2.2 onlink
";

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

fn wrong(text: &str) -> String {
    let faults = Definition::parse(text).unwrap_err();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}

#[test]
fn a_vlan_on_a_bond_of_two_is_parsed_and_printed_unchanged() {
    let definition = Definition::parse(SAMPLE).unwrap();
    assert_eq!(definition.to_string(), SAMPLE);
    let vlan = definition.link("bond0.5").unwrap();
    assert_eq!(vlan.parts(), [name("bond0")]);
    assert!(vlan.members().is_empty());
    assert!(definition.is_member("eth0") && !definition.is_member("bond0"));
}

#[test]
fn links_are_sorted_after_their_parts() {
    let text =
        "[a]\nkind = vlan\nid = 1\nparent = b\n[b]\nkind = bridge\nmembers = c d\n[d]\n[c]\n";
    let definition = Definition::parse(text).unwrap();
    let order: Vec<&str> = definition.links().iter().map(|l| l.name.as_str()).collect();
    assert_eq!(order, ["d", "c", "b", "a"]);
}

#[test]
fn only_needed_links_are_kept() {
    let definition = Definition::parse(SAMPLE).unwrap();
    let of = |names: &[&str]| definition.clone().needed_for(names).links().len();
    assert_eq!((of(&["bond0.5"]), of(&["bond0"]), of(&["eth1"])), (4, 3, 1));
    assert_eq!(of(&["eth7"]), 0);
}

#[test]
fn each_error_has_its_line_and_the_expected_value() {
    for (text, told) in [
        ("[v]\nkind = vlan\nparent = e\n", "line 1: a vlan needs id"),
        (
            "[v]\nkind = vlan\nid = 4095\nparent = e\n",
            "line 3: expected a number from 1 to 4094, found \"4095\"",
        ),
        (
            "[b]\nkind = bond\nmode = fast\nmembers = e\n",
            "line 3: expected one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, \
             balance-tlb, balance-alb, found \"fast\"",
        ),
        (
            "[b]\nkind = bond\nmembers = e\nprimary = f\n",
            "line 4: expected one of the members, found \"f\"",
        ),
        ("[b]\nkind = bridge\n", "line 1: a bridge needs members"),
        (
            "[b]\nkind = tun\n",
            "line 2: expected one of device, vlan, bond, bridge, found \"tun\"",
        ),
        (
            "[e]\nid = 5\n",
            "line 2: id may not stand here: it is no key of a device, or it stands here already",
        ),
        (
            "[a/b]\n",
            "line 1: expected the name of a network interface (at most 15 bytes), found \"a/b\"",
        ),
        (
            "[e]\nmac = 52:54\n",
            "line 2: expected a hardware address such as 52:54:00:12:34:56, found \"52:54\"",
        ),
        (
            "[a]\nkind = bridge\nmembers = a\n",
            "line 1: a is made of itself, or of too many links one on another",
        ),
        (
            "[a]\nkind = bridge\nmembers = e\n[b]\nkind = bond\nmembers = e\n",
            "line 4: e is a member of both a and b; a link can be a member of one only",
        ),
        (
            "mtu = 1500\n",
            "line 1: expected [LINK], or KEY = VALUE below one, found \"mtu = 1500\"",
        ),
        (
            "[e]\nmtu = 68\nmtu = 68\n",
            "line 3: mtu may not stand here: it is no key of a device, or it stands here already",
        ),
        ("[e]\n[e]\n", "line 2: e is described twice"),
    ] {
        assert_eq!(wrong(text), told, "{text}");
    }
}

#[test]
fn a_link_with_an_error_does_not_affect_the_others() {
    let text = "[good]\nkind = vlan\nid = 5\nparent = e\n[bad]\nkind = vlan\n";
    let (definition, faults) = Definition::recover(text);
    assert_eq!(definition.links().len(), 1);
    assert_eq!(faults.len(), 1);
}

#[test]
fn keywords_are_parsed_from_the_kernels_numbers_too() {
    assert_eq!(BondMode::of("4"), Some(BondMode::Lacp));
    assert_eq!(BondMode::of("802.3ad"), Some(BondMode::Lacp));
    assert_eq!(BondMode::of("7"), None);
    assert_eq!(
        VlanProtocol::of("802.1ad").map(VlanProtocol::code),
        Some(0x88a8)
    );
}

#[test]
fn impossible_routes_are_refused() {
    for bad in [
        "default",
        "default via",
        "default via x",
        "192.0.2.0/33",
        "192.0.2.0/24 via 2001:db8::1",
        "192.0.2.0/24 onlink",
        "default via 192.0.2.1 onlink more",
        "",
    ] {
        assert!(bad.parse::<Route>().is_err(), "{bad}");
    }
    assert!(
        "default via fe80::1"
            .parse::<Route>()
            .is_ok_and(|r| !r.is_ipv4())
    );
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn cidr() -> impl Strategy<Value = Cidr> {
    prop_oneof![
        (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(ip, bits)| Cidr {
            ip: ip.into(),
            bits
        }),
        (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(ip, bits)| Cidr {
            ip: ip.into(),
            bits
        }),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    (
        option::of(cidr()),
        any::<[u8; 4]>(),
        any::<[u8; 16]>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(to, v4, v6, via, onlink, source)| {
            let v4_wanted = to.is_none_or(|to| to.ip.is_ipv4());
            let gateway = if v4_wanted { v4.into() } else { v6.into() };
            let via = (via || to.is_none()).then_some(gateway);
            Route {
                to,
                via,
                onlink: onlink && via.is_some(),
                source: source.then_some(gateway),
            }
        })
}

fn all<T: Keyword + std::fmt::Debug>() -> impl Strategy<Value = T> {
    select(T::ALL)
}

/// A link made of some of `parts`; the index keeps links from sharing members.
fn link(index: usize) -> impl Strategy<Value = Link> {
    let own = name(&format!("l{index}.[x]="));
    let parts = vec![name(&format!("#p{index}")), name(&format!("q{index};"))];
    let kind = prop_oneof![
        (
            option::of(mac()),
            option::of("[a-z][a-z_= ]{0,9}[a-z]"),
            option::of("pci-[0-9:.]{3,12}")
        )
            .prop_map(|(mac, driver, path)| LinkKind::Device(DeviceMatch {
                mac,
                driver,
                path
            })),
        (
            (1_u32..=4094).prop_map(|id| VlanId::new(id).unwrap()),
            select(parts.clone()),
            all::<VlanProtocol>()
        )
            .prop_map(|(id, parent, protocol)| {
                LinkKind::Vlan {
                    id,
                    parent,
                    protocol,
                }
            }),
        (
            all::<BondMode>(),
            (1_u32..=60_000).prop_map(|millis| Miimon::new(millis).unwrap()),
            option::of(all::<LacpRate>()),
            option::of(all::<HashPolicy>()),
            option::of(select(parts.clone()))
        )
            .prop_map({
                let members = parts.clone();
                move |(mode, miimon, lacp_rate, hash_policy, primary)| {
                    let members = members.clone();
                    LinkKind::Bond(Bond {
                        mode,
                        miimon,
                        lacp_rate,
                        hash_policy,
                        primary,
                        members,
                    })
                }
            }),
        (
            any::<bool>(),
            option::of((0_u32..=30).prop_map(|s| ForwardDelay::new(s).unwrap()))
        )
            .prop_map(move |(stp, forward_delay)| {
                let members = parts.clone();
                LinkKind::Bridge {
                    members,
                    stp,
                    forward_delay,
                }
            }),
    ];
    let rest = (
        option::of(mac()),
        option::of((68_u32..=65_535).prop_map(|bytes| Mtu::new(bytes).unwrap())),
        vec(cidr(), 0..3),
        vec(route(), 0..3),
        any::<bool>(),
        vec(select(vec![name("br0"), name("#s")]), 0..2),
    );
    (kind, rest).prop_map(
        move |(kind, (mac, mtu, addresses, routes, dhcp, stands_for))| Link {
            name: own.clone(),
            kind,
            mac,
            mtu,
            dhcp,
            addresses,
            routes,
            stands_for,
        },
    )
}

proptest! {
    #[test]
    fn a_printed_definition_parses_to_the_same(links in (link(0), link(1), link(2))) {
        let definition = Definition::new(vec![links.0, links.1, links.2]).unwrap();
        prop_assert_eq!(Definition::parse(&definition.to_string()), Ok(definition));
    }

    #[test]
    fn any_text_is_parsed_and_the_result_survives_printing(text in "\\PC{0,20}(\n\\PC{0,20}){0,6}") {
        let (definition, _) = Definition::recover(&text);
        prop_assert_eq!(Definition::parse(&definition.to_string()), Ok(definition));
    }

    #[test]
    fn similar_lines_are_parsed_and_survive_printing(lines in vec(
        (select(KEYS.map(|(key, _)| key).to_vec()), prop_oneof!["[a-e0-9. :/]{0,9}", "(vlan|bond|bridge|yes|a b)"]), 0..12),
        names in vec("[a-d]{1,2}", 1..4)) {
        let mut text = String::new();
        for (index, chunk) in lines.chunks(4).enumerate() {
            text += &format!("[{}]\n", names[index % names.len()]);
            for (key, value) in chunk {
                text += &format!("{key} = {value}\n");
            }
        }
        let (definition, _) = Definition::recover(&text);
        prop_assert_eq!(Definition::parse(&definition.to_string()), Ok(definition));
    }
}
