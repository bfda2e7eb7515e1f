use super::*;

#[test]
fn lengths_of_time_and_sizes_are_read_as_systemd_does() {
    for (text, expected) in [
        ("1", Some(1000)),
        ("100ms", Some(100)),
        ("0.1", Some(100)),
        ("2 s", Some(2000)),
        ("1min", Some(60_000)),
        ("soon", None),
    ] {
        assert_eq!(millis(text), expected, "{text}");
    }
    assert_eq!(
        (bytes("9K"), bytes("1500"), bytes("x")),
        (Some(9216), Some(1500), None)
    );
}

#[test]
fn routes_of_a_section_each_are_read() {
    let text = "[Match]\nName=e\n[Route]\nGateway=192.0.2.1\nGatewayOnLink=yes\n[Route]\nDestination=198.51.100.0/24\n\
                Gateway=192.0.2.2\n[Route]\nGateway=_dhcp4\n";
    let found = read(&[("f".into(), "f.network", text)]);
    let routes = found.attachments[0].routes.iter();
    let routes: Vec<String> = routes.map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "default via 192.0.2.1 onlink",
            "198.51.100.0/24 via 192.0.2.2"
        ]
    );
}

#[test]
fn what_is_not_understood_is_told() {
    let text = "[Match]\nName=e\n[Network]\nMACVLAN=m\nColour=red\n[Colours]\nRed=yes\nstray\n";
    let found = read(&[("f".into(), "f.network", text)]);
    let remarks = found.remarks.iter();
    let remarks: Vec<String> = remarks
        .map(|it| format!("{} {} {}", it.place, it.weight, it.what))
        .collect();
    assert_eq!(
        remarks,
        [
            "f:8 unknown a line without a meaning",
            "f:5 unknown [Network] Colour: not understood",
            "f:7 unknown [Colours] Red: not understood",
            "f:4 matters MACVLAN=m: such a link is not made at boot",
        ]
    );
}

#[test]
fn files_that_mean_no_wired_interface_are_left_out_without_a_word() {
    for condition in [
        "Type=wlan\nWLANInterfaceType=ap",
        "Type=sit",
        "Kind=tun",
        "Virtualization=container",
    ] {
        let text = format!("[Match]\nName=x*\n{condition}\n[Network]\nColour=red\n");
        let found = read(&[("f".into(), "f.network", &text)]);
        assert!(found.attachments.is_empty(), "{condition}");
        assert_eq!(found.remarks, [], "{condition}");
    }
    for condition in [
        "Type=wlan",
        "SSID=home",
        "Type=ether",
        "Type=!wlan",
        "Kind=bond",
        "Kind=!vlan",
    ] {
        let text = format!("[Match]\nName=x*\n{condition}\n[Network]\nColour=red\n");
        let found = read(&[("f".into(), "f.network", &text)]);
        assert_ne!(found.remarks, [], "{condition}");
    }
}

/// Each machine with systemd has these: they are no news to anybody.
#[test]
fn the_files_that_come_with_systemd_raise_no_doubts() {
    let Ok(folder) = std::fs::read_dir("/usr/lib/systemd/network") else {
        nightlatch_test_support::skipped("needs the files of systemd-networkd");
        return;
    };
    let mut texts = Vec::new();
    for entry in folder {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        texts.push((name, std::fs::read_to_string(path).unwrap()));
    }
    assert!(!texts.is_empty());
    for (name, text) in &texts {
        let found = read(&[(name.as_str().into(), name, text)]);
        assert_eq!(found.remarks, [], "{name}");
    }
}
