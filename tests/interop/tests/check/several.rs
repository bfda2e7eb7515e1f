//! Several servers to connect to: each is compared and rehearsed separately, and reported with its name.

use crate::UP;
use crate::boot_network::{SERVER, told, with_addresses};
use crate::machine::CheckedMachine;

fn connect(fixture: &CheckedMachine, list: &str) {
    fixture.configure(&format!("[client]\nconnect = {list}\n"));
}

#[test]
fn each_server_is_rehearsed_and_one_that_answers_is_enough() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    let port = fixture.port();
    // Nobody listens at the second one.
    connect(&fixture, &format!("{SERVER}:{port}, {SERVER}:9"));
    fixture.learn();
    told(
        &fixture,
        0,
        &[
            &format!("--connect={SERVER}:{port} --connect={SERVER}:9"),
            &format!("ok    server    from here, by connecting to {SERVER}:{port}: "),
            &format!("warn  server    from here, by connecting to {SERVER}:9: "),
        ],
    );
    connect(&fixture, &format!("{SERVER}:9, {SERVER}:10"));
    told(
        &fixture,
        1,
        &[
            &format!("FAIL  server    from here, by connecting to {SERVER}:9: "),
            &format!("FAIL  server    from here, by connecting to {SERVER}:10: "),
        ],
    );
}

#[test]
fn the_routes_and_gateways_of_all_servers_are_learned() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    for address in [
        "192.0.2.2/24 dev srv0",
        "198.51.100.1/32 dev lo",
        "203.0.113.1/32 dev lo",
    ] {
        fixture.ip(true, &format!("addr add {address}"));
    }
    fixture.ip(false, "route add 198.51.100.0/24 via 192.0.2.1");
    fixture.ip(false, "route add 203.0.113.0/24 via 192.0.2.2");
    let port = fixture.port();
    connect(
        &fixture,
        &format!("198.51.100.1:{port}, 203.0.113.1:{port}"),
    );
    fixture.learn();
    let conf = std::fs::read_to_string(fixture.path("etc/nightlatch/network.conf")).unwrap();
    for part in [
        "198.51.100.0/24 via 192.0.2.1",
        "203.0.113.0/24 via 192.0.2.2",
        "# 198.51.100.1 is reached over cli0, by the gateway 192.0.2.1.\n",
        "# 203.0.113.1 is reached over cli0, by the gateway 192.0.2.2.\n",
    ] {
        assert!(conf.contains(part), "{part}\n{conf}");
    }
    told(
        &fixture,
        0,
        &[
            "ok    network   a boot reaches 198.51.100.1 over cli0 by the gateway 192.0.2.1",
            "ok    network   a boot reaches 203.0.113.1 over cli0 by the gateway 192.0.2.2",
            &format!("ok    server    from here, by connecting to 198.51.100.1:{port}: "),
            &format!("ok    server    from here, by connecting to 203.0.113.1:{port}: "),
        ],
    );
}

#[test]
fn a_server_that_a_boot_does_not_reach_is_not_asked_and_keeps_no_other_from_it() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    let port = fixture.port();
    connect(&fixture, &format!("198.51.100.9:{port}, {SERVER}:{port}"));
    fixture.learn();
    told(
        &fixture,
        0,
        &[
            "warn  network   the kernel has no route to 198.51.100.9",
            &format!("warn  server    198.51.100.9:{port} is not asked"),
            &format!("ok    server    from here, by connecting to {SERVER}:{port}: "),
        ],
    );
}

#[test]
fn a_misspelt_server_and_a_name_are_faults_though_another_server_answers() {
    let Some(fixture) = with_addresses() else {
        return;
    };
    fixture.write("etc/hosts", &format!("{SERVER} home.example\n"));
    let port = fixture.port();
    connect(&fixture, &format!("{SERVER}:{port}, home.example:{port}"));
    fixture.learn();
    fixture.without_initramfs_tools();
    told(
        &fixture,
        1,
        &[
            "FAIL  network   home.example is a name, and a boot has nothing that resolves names",
            &format!("ok    server    from here, by connecting to {SERVER}:{port}: "),
        ],
    );
    fixture.configure("");
    let options = format!("--connect={SERVER}:{port},--connect={SERVER}:0");
    fixture.write(
        "etc/nightlatch/plugin-runner.conf",
        &format!("--options-for=mandos-client:{options}\n"),
    );
    told(
        &fixture,
        1,
        &[
            &format!(
                "FAIL  options   \"{SERVER}:0\" names no server: expected a port from 1 to 65535, found \"0\""
            ),
            &format!("ok    server    from here, by connecting to {SERVER}:{port}: "),
        ],
    );
}

/// Servers of the command line replace those of client.conf.
#[test]
fn the_servers_of_a_boot_are_those_that_were_named_last() {
    let Some(fixture) = CheckedMachine::new(UP) else {
        return;
    };
    connect(&fixture, "192.0.2.8:1");
    fixture.write(
        "etc/nightlatch/plugin-runner.conf",
        "--options-for=mandos-client:--connect=192.0.2.9:1\n",
    );
    let (status, said) = fixture.check(&["--wait", "1"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("the kernel has no route to 192.0.2.9"),
        "{said}"
    );
    assert!(!said.contains("route to 192.0.2.8"), "{said}");
}
