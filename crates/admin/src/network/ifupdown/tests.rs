use super::super::found::Remark;
use super::*;

fn links(text: &str) -> Vec<String> {
    let found = read(&[("f".into(), text)]);
    assert_eq!(found.remarks, []);
    found
        .links
        .iter()
        .map(|it| format!("{:?}", it.link.kind))
        .collect()
}

#[test]
fn vlans_are_known_by_name_or_by_their_raw_device() {
    for (text, id) in [
        ("iface eth0.5 inet manual\n", 5),
        ("iface vlan7 inet manual\n vlan-raw-device eth0\n", 7),
        (
            "iface lan inet manual\n vlan_raw_device eth0\n vlan-id 9\n",
            9,
        ),
    ] {
        let found = links(text);
        assert!(
            found[0].starts_with(&format!("Vlan {{ id: VlanId({id}),")),
            "{found:?}"
        );
    }
}

#[test]
fn a_label_is_no_link_of_its_own_and_lines_go_on() {
    let text = "iface eth0 inet static\n address \\\n 192.0.2.7/24\niface eth0:1 inet static\n address 192.0.2.8\n";
    let found = read(&[("f".into(), text)]);
    assert_eq!(found.attachments.len(), 1);
    let addresses = found.attachments[0].addresses.iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.7/24", "192.0.2.8/32"]);
}

#[test]
fn what_runs_programs_and_what_is_unknown_is_told() {
    let text = "iface br0 inet manual\n bridge_ports all\n pre-up x\n colour red\nmapping eth0\n";
    let found = read(&[("f".into(), text)]);
    let remarks = found.remarks.iter();
    let remarks: Vec<String> = remarks
        .map(|it| format!("{} {}", it.place, it.what))
        .collect();
    assert_eq!(
        remarks,
        [
            "f:5 mapping: not understood",
            "f:3 pre-up: a command, which is not run at boot",
            "f:4 colour: not understood",
            "f:2 bridge_ports: all is not understood, name the interfaces",
        ]
    );
}

#[test]
fn a_number_that_no_vlan_can_have_is_told() {
    for text in [
        "iface eth0.4095 inet manual\n",
        "iface eth0.0 inet manual\n",
    ] {
        let found = read(&[("f".into(), text)]);
        assert!(found.links.is_empty(), "{text}");
        let told = |remark: &Remark| remark.what.contains("from 1 to 4094");
        assert!(found.remarks.iter().any(told), "{:?}", found.remarks);
    }
}
