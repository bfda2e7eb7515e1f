//! `nightlatch network` on the files of machines: the same network in four languages, and what is left out.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside test functions"
)]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A machine, by the files below its root.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

fn nightlatch(root: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightlatch"));
    command.arg("network").arg("--root").arg(root).args(options);
    command.output().unwrap()
}

fn said(root: &TempDir, options: &[&str]) -> String {
    let output = nightlatch(root.path(), options);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn remarks(root: &TempDir) -> Vec<(String, String)> {
    let document: serde_json::Value = serde_json::from_str(&said(root, &["--json"])).unwrap();
    let remarks = document["remarks"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    remarks
        .map(|remark| (text(&remark["what"]), text(&remark["weight"])))
        .collect()
}

/// A VLAN on a bond of two, in a bridge, with an address.
const CONF: &str = "\
[eth0]
mtu = 9000

[eth1]

[bond0]
kind = bond
mode = 802.3ad
miimon = 50
lacp-rate = fast
hash-policy = layer3+4
primary = eth0
members = eth0 eth1
mtu = 9000

[bond0.5]
kind = vlan
id = 5
parent = bond0

[br0]
kind = bridge
members = bond0.5
forward-delay = 2
addresses = 192.0.2.7/24 2001:db8::7/64
routes = default via 192.0.2.1
";

const NETPLAN: &[(&str, &str)] = &[
    (
        "etc/netplan/10-links.yaml",
        "network:
  version: 2
  ethernets:
    eth0: {mtu: 9000}
    eth1: {}
  bonds:
    bond0:
      interfaces: [eth0, eth1]
      mtu: 9000
      parameters:
        mode: active-backup
        lacp-rate: fast
        mii-monitor-interval: 50
        transmit-hash-policy: layer3+4
        primary: eth0
  vlans:
    bond0.5: {id: 5, link: bond0}
",
    ),
    (
        "etc/netplan/20-more.yaml",
        "network:
  bonds:
    bond0:
      parameters: {mode: 802.3ad}
  bridges:
    br0:
      interfaces: [bond0.5]
      parameters: {stp: false, forward-delay: 2}
      addresses: [192.0.2.7/24, '2001:db8::7/64']
      routes: [{to: default, via: 192.0.2.1}]
",
    ),
];

const NETWORKD: &[(&str, &str)] = &[
    (
        "etc/systemd/network/10-bond0.netdev",
        "[NetDev]\nName=bond0\nKind=bond\nMTUBytes=9000\n[Bond]\nMode=balance-rr\nLACPTransmitRate=fast\n\
         MIIMonitorSec=50ms\nTransmitHashPolicy=layer3+4\n",
    ),
    (
        "etc/systemd/network/10-bond0.netdev.d/mode.conf",
        "[Bond]\nMode=802.3ad\n",
    ),
    (
        "etc/systemd/network/10-vlan.netdev",
        "[NetDev]\nName=bond0.5\nKind=vlan\n[VLAN]\nId=5\n",
    ),
    (
        "usr/lib/systemd/network/10-br0.netdev",
        "[NetDev]\nName=br0\nKind=bridge\n[Bridge]\nForwardDelaySec=2\n",
    ),
    (
        "etc/systemd/network/20-eth0.network",
        "[Match]\nName=eth0\n[Link]\nMTUBytes=9000\n[Network]\nBond=bond0\nPrimarySlave=yes\n",
    ),
    (
        "etc/systemd/network/21-eth.network",
        "[Match]\nName=eth1\n[Network]\nBond=bond0\n",
    ),
    (
        "etc/systemd/network/30-bond.network",
        "[Match]\nName=bond0\n[Network]\nVLAN=bond0.5\n",
    ),
    (
        "run/systemd/network/30-vlan.network",
        "[Match]\nName=bond0.5\n[Network]\nBridge=br0\n",
    ),
    (
        "etc/systemd/network/40-br0.network",
        "[Match]\nName=br0\n[Network]\nAddress=192.0.2.7/24\nAddress=2001:db8::7/64\nGateway=192.0.2.1\n",
    ),
    ("run/systemd/network/21-eth.network", "[Match]\nName=eth1\n"),
];

const NETWORK_MANAGER: &[(&str, &str)] = &[
    (
        "etc/NetworkManager/system-connections/bond.nmconnection",
        "[connection]\nid=bond\nuuid=1-1\ntype=bond\ninterface-name=bond0\n[ethernet]\nmtu=9000\n\
         [bond]\nmode=802.3ad\nmiimon=50\nlacp_rate=fast\nxmit_hash_policy=layer3+4\nprimary=eth0\n",
    ),
    (
        "etc/NetworkManager/system-connections/p0.nmconnection",
        "[connection]\nid=p0\nuuid=2-2\ntype=ethernet\ninterface-name=eth0\nmaster=1-1\nslave-type=bond\n\
         [ethernet]\nmtu=9000\n",
    ),
    (
        "etc/NetworkManager/system-connections/p1.nmconnection",
        "[connection]\nid=p1\nuuid=3-3\ntype=ethernet\ninterface-name=eth1\ncontroller=bond0\nport-type=bond\n",
    ),
    (
        "etc/NetworkManager/system-connections/vlan.nmconnection",
        "[connection]\nid=vlan\nuuid=4-4\ntype=vlan\ncontroller=5-5\nport-type=bridge\n[vlan]\nid=5\nparent=1-1\n",
    ),
    (
        "etc/NetworkManager/system-connections/br0.nmconnection",
        "[connection]\nid=bridge\nuuid=5-5\ntype=bridge\ninterface-name=br0\n[bridge]\nstp=false\nforward-delay=2\n\
         [ipv4]\nmethod=manual\naddress1=192.0.2.7/24,192.0.2.1\n[ipv6]\naddress1=2001:db8::7/64\n",
    ),
];

const IFUPDOWN: &[(&str, &str)] = &[
    (
        "etc/network/interfaces",
        "# The loopback\nauto lo\niface lo inet loopback\nsource interfaces.d/*\n",
    ),
    (
        "etc/network/interfaces.d/bond",
        "auto eth0 eth1 bond0\niface eth0 inet manual\n  mtu 9000\n  bond-master bond0\n\
         iface eth1 inet manual\n  bond-master bond0\n\
         iface bond0 inet manual\n  bond-slaves none\n  bond-mode 4\n  bond-miimon 50\n  bond-lacp-rate 1\n\
         \x20 bond-xmit-hash-policy layer3+4\n  mtu 9000\n",
    ),
    (
        "etc/network/interfaces.d/bridge",
        "iface bond0.5 inet manual\n\nauto br0\niface br0 inet static\n  bridge_ports bond0.5\n  bridge_fd 2\n\
         \x20 address 192.0.2.7\n  netmask 255.255.255.0\n  gateway 192.0.2.1\n\
         iface br0 inet6 static\n  address 2001:db8::7/64\n",
    ),
];

#[test]
fn the_same_network_is_the_same_in_every_language() {
    for (language, files) in [
        ("netplan", NETPLAN),
        ("networkd", NETWORKD),
        ("NetworkManager", NETWORK_MANAGER),
    ] {
        let root = machine(files);
        assert_eq!(said(&root, &["--conf"]), CONF, "{language}");
        assert_eq!(remarks(&root), [], "{language}");
    }
    // It says who is primary on the member.
    let root = machine(IFUPDOWN);
    assert_eq!(
        said(&root, &["--conf"]),
        CONF.replace("primary = eth0\n", "")
    );
    assert_eq!(remarks(&root), []);
}

#[test]
fn what_netplan_made_of_its_files_is_not_read_again() {
    let mut files = NETPLAN.to_vec();
    files.extend([
        (
            "run/systemd/network/10-netplan-bond0.netdev",
            "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=broadcast\n",
        ),
        (
            "run/NetworkManager/system-connections/netplan-bond0.nmconnection",
            "[connection]\ntype=bond\ninterface-name=bond0\n",
        ),
    ]);
    let root = machine(&files);
    assert_eq!(said(&root, &["--conf"]), CONF);
    assert_eq!(remarks(&root), []);
}

#[test]
fn only_what_the_named_interface_needs_is_taken() {
    let root = machine(NETPLAN);
    let conf = said(&root, &["--conf", "--interface", "bond0"]);
    assert!(conf.contains("[bond0]") && !conf.contains("[bond0.5]") && !conf.contains("[br0]"));
    // As client.conf says.
    std::fs::create_dir_all(root.path().join("etc/nightlatch")).unwrap();
    let client = root.path().join("etc/nightlatch/client.conf");
    std::fs::write(&client, "[client]\ninterface = bond0\n").unwrap();
    assert_eq!(said(&root, &["--conf"]), conf);
}

#[test]
fn a_person_sees_links_their_files_and_what_is_left_out() {
    let mut files = NETPLAN.to_vec();
    files.push((
        "etc/netplan/90-wifi.yaml",
        "network:\n  wifis:\n    wlan0:\n      access-points: {home: {password: tr0ub4dor}}\n",
    ));
    let root = machine(&files);
    let shown = said(&root, &[]);
    for text in [
        "interfaces that are used at boot: all that suit",
        "bond0.5  vlan    5 on bond0",
        "/etc/netplan/10-links.yaml:",
        "kernel modules: 8021q bonding bridge",
        "wlan0: Wi-Fi needs the network hook `wireless`  matters",
        "/etc/netplan/90-wifi.yaml:3",
    ] {
        assert!(shown.contains(text), "{text:?} is not in\n{shown}");
    }
    assert!(!shown.contains("tr0ub4dor"));
}

#[test]
fn what_cannot_be_made_is_told_by_file_and_weight() {
    for (files, expected) in [
        (
            &[(
                "etc/systemd/network/a.netdev",
                "[NetDev]\nName=m0\nKind=macvlan\n",
            )][..],
            ("m0: a link of kind macvlan is not made at boot", "matters"),
        ),
        (
            &[("etc/systemd/network/a.network", "[Match]\nSSID=x\n")],
            (
                "[Match] SSID: not understood, the file is left out",
                "matters",
            ),
        ),
        (
            &[(
                "etc/network/interfaces",
                "iface br0 inet manual\n bridge_ports none\n",
            )],
            (
                "br0 is made of nothing and reaches nobody; it is left out",
                "harmless",
            ),
        ),
        (
            &[(
                "etc/network/interfaces",
                "iface e0 inet manual\n up ip link add x type vlan\n",
            )],
            ("up: a command, which is not run at boot", "unknown"),
        ),
        (
            &[("etc/network/interfaces", "source interfaces\n")],
            ("source: expected no file that includes itself", "matters"),
        ),
        (
            &[("etc/netplan/a.yaml", "network:\n\tx: y\n")],
            (
                "expected YAML: tabs disallowed within this context (block indentation)",
                "matters",
            ),
        ),
        (
            &[(
                "etc/netplan/a.yaml",
                "network:\n  ethernets:\n    e0:\n      colour: red\n",
            )],
            ("colour: not understood", "unknown"),
        ),
        (
            &[(
                "etc/NetworkManager/system-connections/w",
                "[connection]\nid=Home\ntype=wifi\n[wifi-security]\npsk=secret\n",
            )],
            ("Home: Wi-Fi needs the network hook `wireless`", "matters"),
        ),
    ] {
        let root = machine(files);
        let remarks = remarks(&root);
        let found = remarks
            .iter()
            .any(|(what, weight)| (what.as_str(), weight.as_str()) == expected);
        assert!(found, "{expected:?} is not among {remarks:#?}");
        assert_eq!(said(&root, &["--conf"]), "");
    }
}

#[test]
fn of_two_who_describe_one_link_the_first_is_taken_and_the_other_told() {
    let mut files = NETPLAN.to_vec();
    files.push((
        "etc/network/interfaces",
        "iface br0 inet manual\n bridge_ports eth9\n",
    ));
    let root = machine(&files);
    let told = remarks(&root);
    let expected = "br0 is described in /etc/netplan/20-more.yaml:6 already, which is taken";
    assert!(told.iter().any(|(what, _)| what == expected), "{told:#?}");
    assert_eq!(said(&root, &["--conf"]), CONF);
}

#[test]
fn this_very_machine_is_read_without_a_fault() {
    let output = nightlatch(Path::new("/"), &["--json"]);
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["links"].is_array());
}
