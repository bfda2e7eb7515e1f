use super::*;

fn remarks(text: &str) -> Vec<String> {
    let found = read(&[("f".into(), text)]);
    let remarks = found.remarks.iter();
    remarks
        .map(|it| format!("{} {} {}", it.place, it.weight, it.what))
        .collect()
}

#[test]
fn times_are_milliseconds_unless_they_say_otherwise() {
    for (text, expected) in [
        ("100", Some(100)),
        ("100ms", Some(100)),
        ("2s", Some(2000)),
        ("x", None),
    ] {
        assert_eq!(millis(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_told_with_its_line_and_never_with_a_secret() {
    let text = "network:
  tunnels:
    wg0: {mode: wireguard, key: c2VjcmV0}
  ethernets:
    eth0:
      dhcp4: true
      auth: {password: secret}
      mtu: many
  vlans:
    v: {id: 5}
";
    assert_eq!(
        remarks(text),
        [
            "f:3 matters wg0: tunnels and WireGuard need a network hook",
            "f:7 unknown auth: not understood",
            "f:8 matters mtu: expected a number from 68 to 65535, found \"many\"",
            "f:10 matters v: expected id and link",
        ]
    );
}

#[test]
fn routes_are_read_in_every_form() {
    let text = "network:
  ethernets:
    e:
      gateway4: 192.0.2.1
      routes:
        - {to: 0.0.0.0/0, via: 192.0.2.2}
        - {to: 198.51.100.7, via: 192.0.2.3, on-link: true}
        - {to: '2001:db8::/32', via: 'fe80::1'}
";
    let found = read(&[("f".into(), text)]);
    let routes = found.attachments[0].routes.iter();
    let routes: Vec<String> = routes.map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "default via 192.0.2.1",
            "default via 192.0.2.2",
            "198.51.100.7/32 via 192.0.2.3 onlink",
            "2001:db8::/32 via fe80::1",
        ]
    );
}
