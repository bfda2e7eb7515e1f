//! The network at boot compared with that of the running system: the check never approves what fails at boot.

use crate::UP;
use crate::machine::CheckedMachine;

/// The machine has an address by which it reaches its server, and knows it by this one.
pub(crate) const SERVER: &str = "192.0.2.1";

pub(crate) fn with_addresses() -> Option<CheckedMachine> {
    let fixture = CheckedMachine::new(UP)?;
    fixture.ip(true, "addr add 192.0.2.1/24 dev srv0");
    fixture.ip(false, "addr add 192.0.2.7/24 dev cli0");
    Some(fixture)
}

pub(crate) fn told(fixture: &CheckedMachine, status: i32, parts: &[&str]) {
    let (ended, said) = fixture.check(&["--wait", "3"]);
    assert_eq!(ended, Some(status), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}\n{said}");
    }
    if status == 1 {
        assert!(said.contains("would NOT come back"), "{said}");
    }
}

#[test]
fn what_was_learned_is_what_is_there_until_it_drifts() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    told(
        &fixture,
        0,
        &[
            "warn  network   nothing was learned",
            "-> nightlatch network --learn",
        ],
    );
    fixture.learn();
    told(
        &fixture,
        0,
        &["ok    network   network.conf is what the running kernel has"],
    );
    fixture.ip(false, "link set cli0 down");
    fixture.ip(false, "link set cli0 address 02:00:00:00:77:77");
    fixture.ip(false, "link set cli0 up");
    told(
        &fixture,
        1,
        &["FAIL  network   network.conf has drifted: cli0"],
    );
}

#[test]
fn an_image_without_what_was_learned_is_told() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.learn();
    let conf = "[cli0]\nmtu = 1400\n";
    std::fs::write(fixture.path("etc/nightlatch/network.conf"), conf).unwrap();
    told(
        &fixture,
        1,
        &[
            "FAIL  image     /boot/initrd.img-6.1 has another /conf/conf.d/nightlatch/network.conf than",
        ],
    );
}

#[test]
fn a_server_that_is_connected_to_is_reached_only_by_what_the_image_has() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    let settings = format!("[client]\nconnect = {SERVER}:{}\n", fixture.port());
    fixture.configure(&settings);
    // The running system reaches it; a boot has no address.
    told(
        &fixture,
        1,
        &[
            "FAIL  network   a boot does not reach 192.0.2.1: no link of network.conf has an IPv4 address",
            "warn  server    no server is asked: a boot would not get that far",
        ],
    );
    fixture.learn();
    told(
        &fixture,
        0,
        &[
            "ok    network   a boot reaches 192.0.2.1 over cli0 without a gateway, as the running system does",
            "ok    server    from here, by connecting to 192.0.2.1:",
        ],
    );
    for (wrong, said) in [
        (
            "addresses = 198.51.100.7/24\n",
            "no address and no route of network.conf leads to 192.0.2.1",
        ),
        (
            "addresses = 198.51.100.7/24\nroutes = default via 198.51.100.1\n",
            "now it is reached over cli0 without a gateway",
        ),
        (
            "addresses = 198.51.100.7/24\nroutes = default via 10.0.0.1\n",
            "expected \"onlink\" at the end of the route",
        ),
    ] {
        fixture.write("etc/nightlatch/network.conf", &format!("[cli0]\n{wrong}"));
        told(&fixture, 1, &["FAIL  network   ", said]);
    }
    // The scripts of initramfs-tools ask for a lease; elsewhere the running system's is nothing that a boot has.
    fixture.write("etc/nightlatch/network.conf", "[cli0]\naddresses = dhcp\n");
    let (_, said) = fixture.check(&["--wait", "3"]);
    let asks = "warn  network   a boot asks for an address by DHCP on cli0 to reach 192.0.2.1";
    assert!(said.contains(asks), "{said}");
    fixture.without_initramfs_tools();
    told(
        &fixture,
        1,
        &[
            "FAIL  network   a boot does not reach 192.0.2.1: the running system has the address of cli0 by DHCP",
        ],
    );
}

#[test]
fn options_of_the_plugin_runner_and_the_kernel_are_those_of_the_boot() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    fixture.learn();
    let runner = |text: &str| fixture.write("etc/nightlatch/plugin-runner.conf", text);
    runner("--options-for=mandos-client:--connect=192.0.2.9:4711\n");
    told(
        &fixture,
        1,
        &["FAIL  network   a boot does not reach 192.0.2.9"],
    );
    runner("--options-for=mandos-client:--conect=192.0.2.9:4711\n");
    told(
        &fixture,
        1,
        &[
            "FAIL  options   the client does not take its options: ",
            "conect",
        ],
    );
    runner("--useird=5\n");
    told(
        &fixture,
        1,
        &["FAIL  options   plugin-runner.conf: ", "useird"],
    );
    runner("--disable=mandos-client\n");
    told(
        &fixture,
        1,
        &["FAIL  options   the client would not be started"],
    );
    runner("");
    let grub =
        "menuentry x {\n linux /vmlinuz-6.1 root=x nightlatch=connect:192.0.2.8:4711 quiet\n}\n";
    fixture.write("boot/grub/grub.cfg", grub);
    told(
        &fixture,
        1,
        &["FAIL  network   a boot does not reach 192.0.2.8"],
    );
    fixture.write("boot/grub/grub.cfg", &grub.replace("quiet", "ip=dhcp"));
    let (_, said) = fixture.check(&["--wait", "3"]);
    let part = "ip= in /boot/grub/grub.cfg gives addresses at boot: whether they lead to 192.0.2.8:4711 is not tried";
    assert!(said.contains(part), "{said}");
    fixture.write(
        "boot/grub/grub.cfg",
        &grub.replace("connect:192.0.2.8:4711", "off"),
    );
    told(
        &fixture,
        1,
        &[
            "would not be started",
            "nightlatch=off out of /boot/grub/grub.cfg",
        ],
    );
}

#[test]
fn a_name_is_nothing_that_every_boot_can_resolve() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    fixture.write("etc/hosts", &format!("{SERVER} home.example\n"));
    let port = fixture.port();
    fixture.configure(&format!("[client]\nconnect = home.example:{port}\n"));
    fixture.learn();
    // The scripts of initramfs-tools ask the network, which is another at boot.
    told(
        &fixture,
        0,
        &[
            "warn  network   home.example is a name: whether the network of a boot brings a resolver that knows it is not \
             tried",
        ],
    );
    fixture.without_initramfs_tools();
    told(
        &fixture,
        1,
        &[
            "FAIL  network   home.example is a name, and a boot has nothing that resolves names",
            "-> name the server by its address: 192.0.2.1",
        ],
    );
}

#[test]
fn an_interface_that_a_boot_does_not_have_is_told() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.learn();
    fixture.configure("[client]\ninterface = eth9\n");
    told(
        &fixture,
        1,
        &[
            "FAIL  network   there is no interface eth9: a boot waits for it",
            "-> expected one of cli0",
        ],
    );
    fixture.configure("[client]\ninterface = eth9, cli0\n");
    told(&fixture, 0, &["warn  network   there is no interface eth9"]);
    // One that the running system has, and a boot would have to make.
    fixture.ip(false, "link add br0 type bridge");
    fixture.ip(false, "link set br0 up");
    fixture.configure("[client]\ninterface = br0\n");
    told(
        &fixture,
        1,
        &["FAIL  network   br0 is not in network.conf: a boot does not make it"],
    );
}

#[test]
fn a_bridge_is_tried_in_the_place_of_its_port() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    fixture.ip(false, "link add br0 type bridge");
    fixture.ip(false, "link set cli0 master br0");
    fixture.ip(false, "link set br0 up");
    fixture.wait_for_link_local("br0");
    fixture.configure("[client]\ninterface = br0\n");
    fixture.learn();
    told(
        &fixture,
        0,
        &[
            "ok    options   a boot starts the client with --interface=cli0",
            "ok    server    from br0: ",
        ],
    );
}
