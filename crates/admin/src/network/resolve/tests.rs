use super::*;
use crate::network::{netplan, networkd, networkmanager};

fn physical(index: u32, name: &str, mac: &str, driver: &str) -> Present {
    Present {
        index,
        name: name.to_owned(),
        permanent_mac: mac.parse().ok(),
        mac: mac.parse().ok(),
        driver: Some(driver.to_owned()),
        bus_address: Some(format!("0000:0{index}:00.0")),
        ..Present::default()
    }
}

fn host() -> Vec<Present> {
    vec![
        physical(1, "enp1s0", "52:54:00:00:00:01", "igb"),
        physical(2, "enp2s0", "52:54:00:00:00:02", "igb"),
        // One that has no address of its own, as some on small boards.
        Present {
            permanent_mac: None,
            ..physical(3, "lan0", "02:00:00:00:00:03", "virtio_net")
        },
        Present {
            name: "bond0".to_owned(),
            kind: Some("bond".to_owned()),
            mac: "52:54:00:00:00:01".parse().ok(),
            ..Present::default()
        },
    ]
}

fn conf(found: Found, wanted: &[&str]) -> String {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let resolved = resolve(vec![found], &host(), &wanted);
    assert_eq!(resolved.remarks, []);
    resolved.definition.to_string()
}

#[test]
fn interfaces_that_are_meant_by_a_pattern_are_found_and_recognised_by_their_address() {
    let netplan = netplan::read(&[(
        "f".into(),
        "network:\n  ethernets:\n    fast: {match: {driver: igb}}\n  bonds:\n    bond0: {interfaces: [fast]}\n",
    )]);
    let expected = "[enp1s0]\nmatch-mac = 52:54:00:00:00:01\n\n[enp2s0]\nmatch-mac = 52:54:00:00:00:02\n\n\
                    [bond0]\nkind = bond\nmode = balance-rr\nmembers = enp1s0 enp2s0\n";
    assert_eq!(conf(netplan, &[]), expected);
}

#[test]
fn the_first_network_file_that_means_an_interface_counts() {
    let networkd = networkd::read(&[
        ("b".into(), "b.netdev", "[NetDev]\nName=br0\nKind=bridge\n"),
        (
            "1".into(),
            "1.network",
            "[Match]\nName=enp1s0\n[Network]\nDHCP=yes\n",
        ),
        (
            "2".into(),
            "2.network",
            "[Match]\nName=enp* !enp3*\n[Network]\nBridge=br0\n",
        ),
    ]);
    let expected =
        "[enp2s0]\nmatch-mac = 52:54:00:00:00:02\n\n[br0]\nkind = bridge\nmembers = enp2s0\n";
    assert_eq!(conf(networkd, &["br0"]), expected);
}

#[test]
fn one_without_an_address_of_its_own_is_recognised_by_its_place() {
    let profile = "[connection]\ntype=vlan\n[vlan]\nid=7\nparent=lan0\n";
    let manager = networkmanager::read(&[("f".into(), profile)]);
    let expected =
        "[lan0]\nmatch-path = pci-0000:03:00.0\n\n[lan0.7]\nkind = vlan\nid = 7\nparent = lan0\n";
    assert_eq!(conf(manager, &[]), expected);
}

#[test]
fn an_interface_that_is_asked_for_is_recognised_though_no_file_names_it() {
    let expected = "[enp2s0]\nmatch-mac = 52:54:00:00:00:02\n";
    assert_eq!(conf(Found::default(), &["enp2s0"]), expected);
    assert_eq!(conf(Found::default(), &[]), "");
}

#[test]
fn what_nobody_has_is_told() {
    let text = "[Match]\nMACAddress=52:54:00:00:00:99\n[Network]\nBridge=br0\n";
    let found = networkd::read(&[("f".into(), "f.network", text)]);
    let resolved = resolve(vec![found], &host(), &[]);
    assert_eq!(
        resolved.remarks[0].what,
        "no interface of this machine is meant by it"
    );
    assert_eq!(resolved.remarks[0].weight, Weight::Matters);
}

#[test]
fn links_that_do_not_fit_are_left_out_and_the_others_made() {
    let text =
        "network:\n  bridges:\n    a: {interfaces: [enp1s0]}\n    b: {interfaces: [enp1s0]}\n";
    let resolved = resolve(vec![netplan::read(&[("f".into(), text)])], &host(), &[]);
    assert!(resolved.definition.link("a").is_some() && resolved.definition.link("b").is_none());
    let told =
        "enp1s0 is a member of both a and b; a link can be a member of one only; b is left out";
    assert_eq!(resolved.remarks[0].what, told);
}

proptest::proptest! {
    #[test]
    fn whatever_the_files_say_the_image_reads_what_is_meant(text in "([a-z0-9_\\[\\]=:.,{} -]{0,20}\n?){0,12}") {
        let file = || std::sync::Arc::<str>::from("f");
        let all = vec![
            netplan::read(&[(file(), &text)]),
            networkd::read(&[(file(), "a.netdev", &text), (file(), "b.network", &text)]),
            networkmanager::read(&[(file(), &text)]),
            crate::network::ifupdown::read(&[(file(), &text)]),
        ];
        let definition = resolve(all, &host(), &[]).definition;
        proptest::prop_assert_eq!(Definition::parse(&definition.to_string()), Ok(definition));
    }
}

#[test]
fn what_is_made_of_nothing_is_neither_a_member_nor_preferred() {
    let netplan = netplan::read(&[(
        "f".into(),
        "network:\n  bridges:\n    empty: {interfaces: []}\n  bonds:\n    bond0:\n      \
         interfaces: [empty, enp1s0]\n      parameters: {primary: empty}\n",
    )]);
    let resolved = resolve(vec![netplan], &host(), &[]);
    let expected = "[enp1s0]\nmatch-mac = 52:54:00:00:00:01\n\n\
                    [bond0]\nkind = bond\nmode = balance-rr\nmembers = enp1s0\n";
    assert_eq!(resolved.definition.to_string(), expected);
    let remarks: Vec<&str> = resolved.remarks.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        remarks,
        ["empty is made of nothing and reaches nobody; it is left out"]
    );
}
