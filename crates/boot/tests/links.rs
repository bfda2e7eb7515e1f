//! Links that the client makes before it searches, on the kernel's own VLANs, bonds and bridges in
//! network namespaces. Needs root, and of each kind of link that the kernel has it; says what it left
//! out. The kernel of a Debian guest has all of them: tests/boot runs these tests there.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside test functions"
)]

#[path = "world/hosts.rs"]
mod hosts;
mod world;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use hosts::{Host, joined, log_lines, possible, served};
use world::{Machine, PASSWORD, log_of_success};

#[test]
fn the_server_in_a_namespace() {
    hosts::serve_here();
}

/// True when this kernel can make links of these kinds; prints a message otherwise.
fn kernel_has(kinds: &[&str]) -> bool {
    let host = Host::new();
    host.ip(&[
        "link", "add", "probe", "type", "veth", "peer", "name", "probed",
    ]);
    let missing = kinds.iter().find(|kind| {
        let link: &[&str] = match **kind {
            "vlan" => &["link", "probe", "name", "made", "type", "vlan", "id", "1"],
            other => &["name", "made", "type", other],
        };
        let add = [&["-n", &host.0, "link", "add"], link].concat();
        let made = Command::new("ip").args(add).stderr(Stdio::null()).status();
        if made.unwrap().success() {
            host.ip(&["link", "delete", "made"]);
            return false;
        }
        true
    });
    if let Some(kind) = missing {
        assert!(
            std::env::var_os("NIGHTLATCH_ALL_LINKS").is_none(),
            "this kernel cannot make a {kind}"
        );
        nightlatch_test_support::runs_elsewhere(format_args!(
            "this kernel cannot make a {kind}; scripts/links-guest boots one that can"
        ));
    }
    missing.is_none()
}

/// Everything about the links of a host that a program which leaves no trace must leave alone.
fn picture(host: &Host) -> String {
    let links = host.ip(&["-o", "link", "show"]);
    // The carrier and the queue may change by themselves, and a link that was never up has no queue.
    let volatile = ["LOWER_UP", "NO-CARRIER", "M-DOWN"];
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags: Vec<&str> = words[2]
            .trim_matches(['<', '>'])
            .split(',')
            .filter(|flag| !volatile.contains(flag))
            .collect();
        let after = |word: &str| {
            let at = words.iter().position(|it| *it == word);
            at.map_or("none", |at| words[at + 1])
        };
        format!(
            "{} {} {} mtu {} master {} {}\n",
            words[0],
            words[1],
            flags.join(","),
            after("mtu"),
            after("master"),
            after("link/ether")
        )
    };
    let links: String = links.lines().map(line).collect();
    links
        + &host.ip(&["-o", "addr", "show"])
        + &host.ip(&["-4", "route"])
        + &host.ip(&["-6", "route"])
}

/// Takes a link up and waits until it has its own address, which comes with its carrier.
fn take_up(host: &Host, link: &str) {
    host.ip(&["link", "set", link, "up"]);
    while !host
        .ip(&["-6", "addr", "show", "dev", link, "-tentative"])
        .contains("fe80:")
    {
        std::thread::yield_now();
    }
}

fn mac_of(host: &Host, link: &str) -> String {
    let shown = host.ip(&["-o", "link", "show", link]);
    let after = shown.split("link/ether ").nth(1).unwrap();
    after.split_whitespace().next().unwrap().to_owned()
}

fn config(machine: &Machine, text: &str) -> Vec<String> {
    let file = machine.file("network.conf");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    ["--debug", "--network", &file].map(str::to_owned).to_vec()
}

fn client(here: &Host, machine: &Machine, conf: &str, more: &[&str]) -> Command {
    let options = config(machine, conf);
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(more);
    here.client(machine, &options)
}

/// Runs a client to its end: it must print the password and leave everything as it was. What it said.
fn fetches(here: &Host, machine: &Machine, conf: &str, more: &[&str]) -> String {
    let before = picture(here);
    let said = log_of_success(&mut client(here, machine, conf, more));
    assert_eq!(picture(here), before, "{said}");
    said
}

/// Starts a client and waits until it says `until`.
fn started(here: &Host, machine: &Machine, conf: &str, more: &[&str], until: &str) -> Child {
    let mut child = client(here, machine, conf, more).spawn().unwrap();
    let mut said = log_lines(&mut child);
    assert!(said.any(|line| line.contains(until)), "never said {until}");
    // A closed pipe would end the process that writes to it.
    std::thread::spawn(move || said.for_each(drop));
    child
}

const BRIDGE: &str = "[br0]\nkind = bridge\nmembers = port\n";

#[test]
fn a_server_behind_a_bridge_is_found_on_the_bridge() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let said = fetches(&here, &machine, BRIDGE, &[]);
    assert!(said.contains("searching for servers on br0"), "{said}");
    assert!(!said.contains("searching for servers on port"), "{said}");
}

#[test]
fn an_interface_is_known_by_the_name_of_the_running_system() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let conf = format!("[lan0]\nmatch-mac = {}\n", mac_of(&here, "port"));
    let said = fetches(&here, &machine, &conf, &["--interface", "lan0"]);
    assert!(said.contains("searching for servers on lan0"), "{said}");
}

#[test]
fn only_what_the_named_interface_needs_is_made() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let conf = format!("{BRIDGE}[other]\nkind = bridge\nmembers = other0\n");
    let said = fetches(&here, &machine, &conf, &["--interface", "port"]);
    assert!(!said.contains("making"), "{said}");
}

#[test]
fn a_member_that_comes_late_is_taken_in() {
    if !possible() {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    let machine = Machine::new();
    let (options, until) = (["--interface", "br0"], "waiting for a network interface");
    let client = started(&here, &machine, BRIDGE, &options, until);
    here.cable("port", &there, "wire");
    there.ip(&["link", "set", "wire", "up"]);
    let before = picture(&here);
    let _server = there.serve(&machine);
    assert_eq!(client.wait_with_output().unwrap().stdout, PASSWORD);
    // It was down when it came, and is down again; whether `before` saw it so is a matter of luck.
    let after = picture(&here);
    assert!(
        !after.contains("br0") && !after.contains("BROADCAST,MULTICAST,UP"),
        "{before}{after}"
    );
}

#[test]
fn a_signal_midway_puts_everything_back() {
    let Some((here, _there)) = joined("port") else {
        return;
    };
    let machine = Machine::new();
    let before = picture(&here);
    let mut client = started(&here, &machine, BRIDGE, &[], "searching for servers on br0");
    assert_ne!(picture(&here), before);
    world::terminate(&client);
    assert_eq!(client.wait().unwrap().signal(), Some(15));
    assert_eq!(picture(&here), before);
}

// Interfaces on top of it are removed with it, so no removal fails.
#[test]
fn addresses_and_routes_are_taken_back_before_the_link_and_nothing_fails() {
    let Some((here, _there)) = joined("port") else {
        return;
    };
    let machine = Machine::new();
    let before = picture(&here);
    let conf = "[port]\naddresses = 192.0.2.7/24\nroutes = 198.51.100.0/24 via 192.0.2.1, default via 192.0.2.1\n";
    let mut command = client(&here, &machine, conf, &["--connect", "198.51.100.9:9"]);
    let mut client = command.spawn().unwrap();
    let mut lines = log_lines(&mut client);
    let adding = lines
        .by_ref()
        .filter(|line| line.contains("adding a route"));
    assert_eq!(adding.take(2).count(), 2);
    world::terminate(&client);
    let said: String = lines.collect();
    assert_eq!(client.wait().unwrap().signal(), Some(15));
    assert!(
        said.contains("removing 192.0.2.7/24") && !said.contains("failed"),
        "{said}"
    );
    assert_eq!(picture(&here), before);
}

/// As dropbear-initramfs or dracut-sshd do, whose boot system gives the interface its address.
#[test]
fn an_interface_that_others_use_by_now_is_left_to_them() {
    let Some((here, _there)) = joined("port") else {
        return;
    };
    let machine = Machine::new();
    let mut client = started(&here, &machine, "", &[], "searching for servers on port");
    here.ip(&["addr", "add", "192.0.2.2/24", "dev", "port"]);
    world::terminate(&client);
    assert_eq!(client.wait().unwrap().signal(), Some(15));
    let after = picture(&here);
    assert!(after.contains("192.0.2.2/24"), "{after}");
    assert!(
        here.ip(&["-o", "link", "show", "port"]).contains(",UP"),
        "{after}"
    );
}

#[test]
fn a_bridge_that_others_use_by_now_is_left_to_them_and_to_no_later_client() {
    let Some((here, there)) = joined("port") else {
        return;
    };
    let machine = Machine::new();
    let mut first = started(&here, &machine, BRIDGE, &[], "searching for servers on br0");
    here.ip(&["addr", "add", "192.0.2.2/24", "dev", "br0"]);
    world::terminate(&first);
    assert_eq!(first.wait().unwrap().signal(), Some(15));
    let left = picture(&here);
    assert!(
        left.contains("master br0") && left.contains("192.0.2.2/24"),
        "{left}"
    );
    let _server = there.serve(&machine);
    fetches(&here, &machine, BRIDGE, &[]);
}

#[test]
fn what_a_killed_one_left_is_removed_by_the_next() {
    let Some((here, there)) = joined("port") else {
        return;
    };
    let machine = Machine::new();
    // Up before, so that even the killed one changes nothing about it that cannot be known.
    take_up(&here, "port");
    let before = picture(&here);
    let mut killed = started(&here, &machine, BRIDGE, &[], "searching for servers on br0");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(picture(&here).contains("br0"));
    let _server = there.serve(&machine);
    let said = log_of_success(&mut client(&here, &machine, BRIDGE, &[]));
    assert!(said.contains("removing br0"), "{said}");
    assert_eq!(picture(&here), before);
}

#[test]
fn a_bridge_that_others_made_is_used_and_left_alone() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    here.ip(&["link", "add", "br0", "type", "bridge"]);
    take_up(&here, "port");
    here.ip(&["link", "set", "port", "master", "br0"]);
    let said = fetches(&here, &machine, BRIDGE, &["--interface", "br0"]);
    assert!(!said.contains("making"), "{said}");
}

#[test]
fn a_member_that_somebody_uses_is_left_alone() {
    let Some((here, there)) = joined("port") else {
        return;
    };
    here.cable("spare", &there, "unused");
    here.ip(&["addr", "add", "192.0.2.9/24", "dev", "spare"]);
    there.ip(&["link", "set", "unused", "up"]);
    take_up(&here, "spare");
    let machine = Machine::new();
    let _server = there.serve(&machine);
    let conf = "[br0]\nkind = bridge\nmembers = spare port\n";
    let said = fetches(&here, &machine, conf, &["--interface", "br0"]);
    assert!(said.contains("interface spare is in use"), "{said}");
}

/// Its address is from the boot loader, say: it cannot be made a member, and is all there is.
#[test]
fn a_member_that_stays_out_of_its_bridge_is_searched_itself() {
    let Some((here, there)) = joined("port") else {
        return;
    };
    here.ip(&["addr", "add", "192.0.2.9/24", "dev", "port"]);
    take_up(&here, "port");
    let machine = Machine::new();
    let _server = there.serve(&machine);
    let said = fetches(&here, &machine, BRIDGE, &[]);
    assert!(said.contains("searching for servers on port"), "{said}");
}

/// The server is found on the bond of a kernel that has bonds.
#[test]
fn a_member_of_a_bond_that_cannot_be_made_is_searched_itself() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let conf = "[bond0]\nkind = bond\nmode = active-backup\nmembers = port\n";
    let said = fetches(&here, &machine, conf, &[]);
    let failed = said.contains("making bond0: it failed: ");
    let searched = said.contains("searching for servers on port");
    assert_eq!(searched, failed, "{said}");
}

#[test]
fn static_addresses_and_routes_serve_a_server_that_is_known() {
    let Some((here, there)) = joined("port") else {
        return;
    };
    there.ip(&["addr", "add", "192.0.2.1/24", "dev", "wire"]);
    there.ip(&["addr", "add", "198.51.100.1/32", "dev", "lo"]);
    there.ip(&["addr", "add", "2001:db8:1::1/128", "dev", "lo"]);
    there.ip(&["addr", "add", "2001:db8::1/64", "dev", "wire"]);
    let conf = format!(
        "{BRIDGE}addresses = 192.0.2.7/24 2001:db8::7/64\n\
         routes = default via 192.0.2.1, 2001:db8:1::/64 via 2001:db8::1\n"
    );
    for host in ["198.51.100.1", "[2001:db8:1::1]"] {
        let machine = Machine::new();
        let (_server, port) = there.serve(&machine);
        let target = format!("{host}:{port}");
        let said = fetches(
            &here,
            &machine,
            &conf,
            &["--connect", &target, "--interface", "br0"],
        );
        assert!(said.contains("adding a route to"), "{said}");
    }
}

#[test]
fn addresses_are_not_given_when_servers_are_searched_for() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let said = fetches(
        &here,
        &machine,
        &format!("{BRIDGE}addresses = 192.0.2.7/24\n"),
        &[],
    );
    assert!(!said.contains("192.0.2.7"), "{said}");
}

#[test]
fn a_faulty_link_is_told_and_the_others_are_made() {
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let conf = format!("[bad]\nkind = vlan\nid = 5000\n{BRIDGE}");
    let said = fetches(&here, &machine, &conf, &[]);
    let told = "network.conf: line 3: expected a number from 1 to 4094, found \"5000\"";
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_file_that_is_named_and_missing_is_a_fault() {
    let machine = Machine::new();
    let output = machine
        .client("127.0.0.1:9")
        .args(["--network", "/nonexistent/network.conf"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(72));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cannot read --network \"/nonexistent/network.conf\""),
        "{said}"
    );
}

const VLAN: &str = "[tie.5]\nkind = vlan\nid = 5\nparent = tie\n";

fn bond(mode: &str) -> String {
    let primary = match mode {
        "active-backup" => "primary = one\n",
        _ => "",
    };
    format!("[tie]\nkind = bond\nmode = {mode}\nmembers = one two\n{primary}")
}

/// A host with `one` and `two`, whose cables end in a bond of another host, in a VLAN of which is a server.
fn bonded(mode: &str) -> (Host, Host) {
    let (here, there) = (Host::new(), Host::new());
    there.ip(&[
        "link", "add", "tie", "type", "bond", "mode", mode, "miimon", "100",
    ]);
    for end in ["one", "two"] {
        here.cable(end, &there, end);
        there.ip(&["link", "set", end, "master", "tie"]);
    }
    there.ip(&[
        "link", "add", "link", "tie", "name", "wire", "type", "vlan", "id", "5",
    ]);
    // Between two bonds there is no switch, so both have to use the same cable.
    if mode == "active-backup" {
        there.ip(&["link", "set", "tie", "type", "bond", "primary", "one"]);
    }
    there.ip(&["link", "set", "tie", "up"]);
    there.ip(&["link", "set", "wire", "up"]);
    (here, there)
}

fn a_server_in_a_vlan_on_a_bond_is_found(mode: &str) {
    if !possible() || !kernel_has(&["bond", "vlan"]) {
        return;
    }
    let (here, there) = bonded(mode);
    // One of them up: it has to go down for the bond, and up again afterwards.
    take_up(&here, "two");
    let machine = Machine::new();
    let _server = there.serve(&machine);
    let conf = bond(mode) + VLAN;
    let said = fetches(&here, &machine, &conf, &["--interface", "tie.5"]);
    assert!(said.contains("searching for servers on tie.5"), "{said}");
}

#[test]
fn a_server_in_a_vlan_on_a_bond_with_lacp_is_found() {
    a_server_in_a_vlan_on_a_bond_is_found("802.3ad");
}

#[test]
fn a_server_in_a_vlan_on_a_bond_with_a_spare_is_found() {
    a_server_in_a_vlan_on_a_bond_is_found("active-backup");
}

#[test]
fn a_bond_has_the_properties_it_was_given() {
    if !possible() || !kernel_has(&["bond"]) {
        return;
    }
    let (here, _there) = bonded("802.3ad");
    let machine = Machine::new();
    let before = picture(&here);
    for (conf, expected) in [
        (
            "mode = 802.3ad\nlacp-rate = fast\nhash-policy = layer3+4\nmiimon = 50\nmtu = 9000\n",
            &[
                "mode 802.3ad miimon 50",
                " lacp_rate fast",
                "xmit_hash_policy layer3+4",
                "mtu 9000",
            ][..],
        ),
        (
            "mode = active-backup\nprimary = two\nmac = 02:00:00:00:00:05\n",
            &["mode active-backup", "primary two", "02:00:00:00:00:05"],
        ),
    ] {
        let conf = format!("[tie]\nkind = bond\nmembers = one two\n{conf}");
        let mut client = started(&here, &machine, &conf, &[], "searching for servers on tie");
        let shown = here.ip(&["-d", "-o", "link", "show", "tie"]);
        for word in expected {
            assert!(shown.contains(word), "{word} is not in {shown}");
        }
        for member in ["one", "two"] {
            assert!(
                here.ip(&["-o", "link", "show", member])
                    .contains("master tie")
            );
        }
        world::terminate(&client);
        client.wait().unwrap();
        assert_eq!(picture(&here), before);
    }
}

#[test]
fn a_bond_is_left_by_a_killed_one_and_made_anew() {
    if !possible() || !kernel_has(&["bond", "vlan"]) {
        return;
    }
    let (here, there) = bonded("active-backup");
    let before = picture(&here);
    let machine = Machine::new();
    let conf = bond("active-backup") + VLAN;
    let arguments = ["--interface", "tie.5"];
    let until = "searching for servers on tie.5";
    let mut killed = started(&here, &machine, &conf, &arguments, until);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(picture(&here).contains("tie.5"));
    let _server = there.serve(&machine);
    let said = log_of_success(&mut client(&here, &machine, &conf, &arguments));
    assert_eq!(picture(&here), before, "{said}");
}

#[test]
fn a_bridge_on_a_vlan_is_found_too() {
    if !possible() || !kernel_has(&["vlan"]) {
        return;
    }
    let (here, there) = (Host::new(), Host::new());
    here.cable("port", &there, "cable");
    there.ip(&[
        "link", "add", "link", "cable", "name", "wire", "type", "vlan", "id", "7",
    ]);
    there.ip(&["link", "set", "cable", "up"]);
    there.ip(&["link", "set", "wire", "up"]);
    let machine = Machine::new();
    let _server = there.serve(&machine);
    let conf =
        "[br0]\nkind = bridge\nmembers = port.7\n[port.7]\nkind = vlan\nid = 7\nparent = port\n";
    fetches(&here, &machine, conf, &[]);
}

#[test]
fn what_the_kernel_cannot_make_is_told_with_what_is_missing() {
    if !possible() || kernel_has(&["vlan"]) {
        return;
    }
    let Some((here, machine, _server)) = served("port") else {
        return;
    };
    let said = fetches(
        &here,
        &machine,
        "[v]\nkind = vlan\nid = 5\nparent = port\n",
        &[],
    );
    assert!(said.contains("making v: it failed: "), "{said}");
    assert!(
        said.contains("hint: the kernel's module for it (8021q, bonding or bridge)"),
        "{said}"
    );
}
