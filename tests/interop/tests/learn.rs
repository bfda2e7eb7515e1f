//! `nightlatch network --learn` on real kernels' links, addresses and rules in network namespaces, and the boot client
//! with what was learned. VLANs, bonds and VRFs are tried where the kernel has them: scripts/links-guest runs these
//! tests on one that has.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside test functions"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::{NetnsHost, available, cable};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer};
use nightlatch_interop::site::SiteKind;
use nightlatch_test_support::transcript::{Transcript, file};
use tempfile::TempDir;

const PASSWORD: &[u8] = b"a password of the machine";

/// Lays `$0/conf` over /etc/nightlatch, and runs the rest.
const LAY: &str = r#"set -e
if [ ! -d /etc/nightlatch ]; then
    mount -t tmpfs none "$0/over"
    mkdir "$0/over/upper" "$0/over/work"
    mount -t overlay none -o "lowerdir=/etc,upperdir=$0/over/upper,workdir=$0/over/work" /etc
    mkdir /etc/nightlatch
fi
mount --bind "$0/conf" /etc/nightlatch
exec "$@""#;

/// The file, where the test has it.
const CONF: &str = "conf/network.conf";

/// A machine, and the host at the other end of its cable `lan0`, where a server is.
struct TwoHosts {
    folder: TempDir,
    here: NetnsHost,
    there: NetnsHost,
}

impl TwoHosts {
    /// `None`, and said so, without root.
    fn new() -> Option<Self> {
        if !available() {
            nightlatch_test_support::skipped("needs root and network namespaces");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["conf", "over"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let fixture = Self {
            folder,
            here: NetnsHost::new("here"),
            there: NetnsHost::new("there"),
        };
        fixture.cable("lan0", "wire0");
        Some(fixture)
    }

    /// The same where the kernel has these kinds of links.
    fn with(kinds: &[&str]) -> Option<Self> {
        let fixture = Self::new()?;
        for kind in kinds {
            let more: &[&str] = match *kind {
                "vlan" => &["link", "lan0", "name", "probe", "type", "vlan", "id", "1"],
                "vrf" => &["name", "probe", "type", "vrf", "table", "9"],
                kind => &["name", "probe", "type", kind],
            };
            let mut add = Command::new("ip");
            add.args(["-n", fixture.here.name(), "link", "add"])
                .args(more)
                .stderr(Stdio::null());
            if !add.status().unwrap().success() {
                let all = std::env::var_os("NIGHTLATCH_ALL_LINKS");
                assert!(all.is_none(), "this kernel cannot make a {kind}");
                nightlatch_test_support::runs_elsewhere(format_args!(
                    "this kernel cannot make a {kind}"
                ));
                return None;
            }
            fixture.here.ip(&["link", "delete", "probe"]);
        }
        Some(fixture)
    }

    /// A virtual cable whose ends are up.
    fn cable(&self, here: &str, there: &str) {
        cable((&self.here, here), (&self.there, there));
        self.here.ip(&["link", "set", here, "up"]);
        self.there.ip(&["link", "set", there, "up"]);
    }

    /// Runs `ip` here on lines of arguments.
    fn ip(&self, lines: &str) {
        run(&self.here, lines);
    }

    fn there(&self, lines: &str) {
        run(&self.there, lines);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs our program here: how it ended, and all that it said.
    fn nightlatch(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.here.run_laid(LAY, self.folder.path(), arguments)
    }

    fn configure(&self, settings: &str) {
        let text = format!("[client]\n{settings}\n");
        fs::write(self.path("conf/client.conf"), text).unwrap();
    }

    /// Learns, which must succeed: the sections of the file.
    fn learn(&self, options: &[&str]) -> String {
        let (status, said) = self.nightlatch(&[&["network", "--learn"], options].concat());
        assert_eq!(status, Some(0), "{said}");
        sections(&fs::read_to_string(self.path(CONF)).unwrap())
    }

    fn learn_connected(&self, to: &str) -> String {
        self.configure(&format!("connect = {to}"));
        self.learn(&[])
    }

    fn mac(&self, link: &str) -> String {
        let shown = self.here.ip(&["-o", "link", "show", link]);
        let after = shown.split("link/ether ").nth(1).unwrap();
        after.split_whitespace().next().unwrap().to_owned()
    }

    /// As the links are before anybody sets them up: none that is made, no addresses, no rules.
    fn reset(&self, made: &[&str], cards: &[&str]) {
        for name in made {
            self.ip(&format!("link delete {name}"));
        }
        for name in cards {
            self.ip(&format!("link set {name} down\naddr flush dev {name}"));
        }
    }

    /// The boot client fetches the password from a server at `address`, with what was learned and nothing else.
    fn boots(&self, address: &str) {
        let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, PASSWORD);
        let home = Home::new(&machine.section("checker = true"), None);
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let _server = TestServer::at_port(Project::Ours, home, &self.there, port);
        let network = self.path(CONF).display().to_string();
        let options = ["--network", &network, "--connect", address];
        let fetched = client::search(Project::Ours, &machine, &self.here, &options).finish();
        let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
        assert_eq!(fetched.stdout, PASSWORD, "{said}");
    }
}

fn run(host: &NetnsHost, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        host.ip(&line.split_whitespace().collect::<Vec<_>>());
    }
}

/// A file without its comments.
fn sections(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .skip_while(|line| line.is_empty())
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn a_server_that_is_announced_on_a_bridge_is_reached_by_its_port() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    fixture.ip("link add br0 type bridge
         link set lan0 master br0
         link set br0 up");
    let machine = TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, PASSWORD);
    let _site = SiteKind::OursAlone.serve(&fixture.there, &machine.section("checker = true"));
    fixture.here.wait_for_link_local("br0");
    let mac = fixture.mac("lan0");
    assert_eq!(
        fixture.learn(&["--wait", "60"]),
        format!("[lan0]\nmatch-mac = {mac}\nstands-for = br0\n")
    );
    let text = fs::read_to_string(fixture.path(CONF)).unwrap();
    assert!(text.contains("# A server is found on br0.\n"), "{text}");
    // In the initramfs there is no bridge, and the kernel has another name for the card.
    fixture.reset(&["br0"], &["lan0"]);
    fixture.ip("link set lan0 name eth7");
    let network = fixture.path(CONF).display().to_string();
    let options = ["--network", &network, "--interface", "lan0"];
    let fetched = client::search(Project::Ours, &machine, &fixture.here, &options).finish();
    assert_eq!(fetched.stdout, PASSWORD, "{fetched:?}");
}

#[test]
fn where_no_server_is_found_nothing_is_written_and_it_is_said_what_to_do() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    fixture.here.wait_for_link_local("lan0");
    // A bridge of containers, which would lead nowhere.
    fixture.ip("link add docker0 type bridge\nlink set docker0 up");
    for (settings, told) in [
        ("", "no server was found within 1 s on lan0"),
        (
            "interface = none9",
            "no interface is up on which a server could be",
        ),
        (
            "connect = 192.0.2.1:4711",
            "the kernel has no route to 192.0.2.1",
        ),
        ("connect = [fe80::1%none9]:4711", "is not there"),
        (
            "connect = server.invalid:4711",
            "cannot resolve server.invalid",
        ),
        (
            "connect = 127.0.0.1:4711",
            "127.0.0.1 is an address of this machine itself",
        ),
    ] {
        fixture.configure(settings);
        let (status, said) = fixture.nightlatch(&["network", "--learn", "--wait", "1"]);
        assert_eq!(status, Some(69), "{said}");
        assert!(said.contains(told), "{told}\n{said}");
        assert!(
            said.contains("nightlatch network --learn --interface NAME"),
            "{said}"
        );
        assert!(!fixture.path(CONF).exists());
    }
    let (status, said) = fixture.nightlatch(&["network", "--learn", "--interface", "lan9"]);
    assert_eq!(status, Some(64), "{said}");
    assert!(said.contains("expected one of lo, lan0, docker0"), "{said}");
    let (status, said) = fixture.nightlatch(&["network", "--learn", "--interface", "docker0"]);
    assert_eq!(status, Some(69), "{said}");
    assert!(
        said.contains("docker0 leads to no network interface of this machine"),
        "{said}"
    );
    assert!(!fixture.path(CONF).exists());
}

/// A host behind a router: `there` is both, and answers for 198.51.100.1 and 2001:db8:f::1.
fn far_server(fixture: &TwoHosts, addresses: &str) {
    fixture.there(
        "addr add 198.51.100.1/32 dev lo
         addr add 2001:db8:f::1/128 dev lo nodad",
    );
    fixture.there(addresses);
}

fn is_learned_and_boots(fixture: &TwoHosts, to: &str, expected: &str) {
    let mac = fixture.mac("lan0");
    let conf = fixture.learn_connected(to);
    assert_eq!(conf, format!("[lan0]\nmatch-mac = {mac}\n{expected}"));
    fixture.reset(&[], &["lan0"]);
    fixture.boots(to);
}

#[test]
fn a_gateway_beside_the_network_is_on_the_link_in_each_way_to_say_it() {
    for routes in [
        "route add default via 172.31.1.1 dev lan0 onlink",
        "route add 172.31.1.1 dev lan0\nroute add default via 172.31.1.1 dev lan0",
    ] {
        let Some(fixture) = TwoHosts::new() else {
            return;
        };
        far_server(
            &fixture,
            "addr add 172.31.1.1/32 dev wire0\nroute add 203.0.113.7 dev wire0",
        );
        fixture.ip("addr add 203.0.113.7/32 dev lan0");
        fixture.ip(routes);
        let expected = "addresses = 203.0.113.7/32\nroutes = default via 172.31.1.1 onlink\n";
        is_learned_and_boots(&fixture, "198.51.100.1:4711", expected);
    }
}

#[test]
fn an_address_that_no_route_leads_to_any_more_is_a_difference() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    fixture.ip("addr add 192.0.2.7/24 dev lan0
         route add default via 192.0.2.1");
    fixture.learn_connected("198.51.100.1:4711");
    fixture.ip("route del default");
    let (status, said) = fixture.nightlatch(&["network"]);
    assert_eq!(status, Some(0), "{said}");
    for part in [
        "the kernel has no route to 198.51.100.1",
        "lan0: addresses in the file: 192.0.2.7/24; now: not set",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn the_other_end_of_a_line_is_the_gateway() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    far_server(&fixture, "addr add 10.9.9.9/32 peer 10.0.0.1 dev wire0");
    fixture.ip("addr add 10.0.0.1 peer 10.9.9.9/32 dev lan0
         route add default via 10.9.9.9");
    let expected = "addresses = 10.0.0.1/32\nroutes = default via 10.9.9.9 onlink\n";
    is_learned_and_boots(&fixture, "198.51.100.1:4711", expected);
}

#[test]
fn a_gateway_by_its_link_local_address_serves_ipv6() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    far_server(
        &fixture,
        "addr add fe80::1/64 dev wire0 nodad
         -6 route add 2001:db8:1::7 dev wire0",
    );
    fixture.ip("addr add 2001:db8:1::7/128 dev lan0 nodad
         -6 route add default via fe80::1 dev lan0");
    let expected = "addresses = 2001:db8:1::7/128\nroutes = default via fe80::1\n";
    is_learned_and_boots(&fixture, "[2001:db8:f::1]:4711", expected);
}

#[test]
fn other_tables_are_looked_at_as_the_kernel_looks_at_them() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    fixture.cable("lan1", "wire1");
    far_server(
        &fixture,
        "addr add 192.0.2.1/24 dev wire0
         addr add 203.0.113.1/24 dev wire1",
    );
    // The main table's way is taken by nobody: its source address has a table of its own.
    fixture.ip("addr add 192.0.2.7/24 dev lan0
         addr add 203.0.113.7/24 dev lan1
         route add default via 203.0.113.1 dev lan1 src 192.0.2.7
         rule add from 192.0.2.7 table 100
         route add default via 192.0.2.1 dev lan0 table 100");
    let expected = "addresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\n";
    is_learned_and_boots(&fixture, "198.51.100.1:4711", expected);
}

#[test]
fn a_rule_for_the_server_s_port_or_its_network_counts() {
    // By its number: a guest may have no /etc/protocols.
    for rule in ["to 198.51.100.0/24", "ipproto 6 dport 4711"] {
        let Some(fixture) = TwoHosts::new() else {
            return;
        };
        far_server(&fixture, "addr add 192.0.2.1/24 dev wire0");
        fixture.ip("addr add 192.0.2.7/24 dev lan0
             route add unreachable default
             route add 198.51.100.0/24 via 192.0.2.1 table 200");
        fixture.ip(&format!("rule add {rule} table 200"));
        let expected = "addresses = 192.0.2.7/24\nroutes = 198.51.100.0/24 via 192.0.2.1\n";
        is_learned_and_boots(&fixture, "198.51.100.1:4711", expected);
    }
}

#[test]
fn an_address_of_the_loopback_interface_is_given_to_the_card() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    far_server(
        &fixture,
        "addr add 10.1.1.1/30 dev wire0
         route add 10.255.0.7 via 10.1.1.2",
    );
    fixture.ip("addr add 10.255.0.7/32 dev lo
         addr add 10.1.1.2/30 dev lan0
         route add default via 10.1.1.1 src 10.255.0.7");
    let conf = fixture.learn_connected("198.51.100.1:4711");
    let end = "addresses = 10.255.0.7/32\nroutes = default via 10.1.1.1 onlink\n";
    assert!(conf.ends_with(end), "{conf}");
}

#[test]
fn a_lease_is_not_written_as_if_the_address_were_this_machine_s() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    fixture.ip(
        "addr add 192.0.2.7/24 dev lan0 valid_lft 3600 preferred_lft 3600
         route add default via 192.0.2.1 proto dhcp",
    );
    let conf = fixture.learn_connected("198.51.100.1:4711");
    assert!(conf.ends_with("addresses = dhcp\n"), "{conf}");
}

#[test]
fn a_file_that_was_edited_is_not_overwritten_without_being_asked() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    let conf = fixture.learn(&["--interface", "lan0"]);
    let path = fixture.path(CONF);
    let learned = fs::read_to_string(&path).unwrap();
    let again = |options: &[&str]| {
        let all = [&["network", "--learn", "--interface", "lan0"], options].concat();
        fixture.nightlatch(&all)
    };
    let (status, said) = again(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("says what the running system has"), "{said}");

    let edited = learned.replace("match-mac", "mtu = 9000\nmatch-mac");
    fs::write(&path, &edited).unwrap();
    let (status, said) = again(&[]);
    assert_eq!(status, Some(73), "{said}");
    for part in [
        "lan0: mtu in the file: 9000; now: not set",
        "was edited and differs: it was not overwritten",
        "--force",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let (status, said) = again(&["--dry-run"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(&conf), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);
    let (status, said) = again(&["--force"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), learned);
    // One that nobody edited follows the running system.
    fixture.ip("link set lan0 mtu 1400");
    let (status, said) = again(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("lan0: mtu in the file: not set; now: 1400"),
        "{said}"
    );
    assert!(fs::read_to_string(&path).unwrap().contains("mtu = 1400"));
}

/// A guest that has other kinds of links has no file to compare with: scripts/links-guest leaves this out.
#[test]
fn the_network_reads_as_in_its_transcript() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    let mut seen = Transcript::of(file(env!("CARGO_MANIFEST_DIR"), "network.txt"));
    seen.name(fixture.mac("lan0"), "MAC");
    let run = |seen: &mut Transcript, what: &str, arguments: &[&str]| {
        if !what.is_empty() {
            seen.explain(what);
        }
        let arguments = [&["network"], arguments].concat();
        let (status, said) = fixture.nightlatch(&arguments);
        let line = [&["nightlatch"], &arguments[..]].concat().join(" ");
        seen.add_text(&line, &said, status);
    };
    run(&mut seen, "Nothing was learned.", &[]);
    fixture.configure("connect = 198.51.100.1:4711");
    run(&mut seen, "No route leads to the server.", &["--learn"]);
    fixture.ip("addr add 192.0.2.5/24 dev lan0\nroute add default via 192.0.2.1");
    run(&mut seen, "By a gateway.", &["--learn", "--dry-run"]);
    run(&mut seen, "", &["--learn"]);
    run(&mut seen, "", &[]);
    run(&mut seen, "", &["--conf"]);
    fixture.ip("link set lan0 mtu 1400");
    run(&mut seen, "The running system changed.", &[]);
    let path = fixture.path(CONF);
    let edited = fs::read_to_string(&path)
        .unwrap()
        .replace("[lan0]", "[lan0]\nmtu = 9000");
    fs::write(&path, &edited).unwrap();
    run(&mut seen, "The file was edited.", &["--learn"]);
    fs::write(&path, edited.replace("mtu = 9000", "mtu = big")).unwrap();
    run(&mut seen, "A value that is no number.", &[]);
    seen.assert();
}

#[test]
fn an_image_gets_the_file_as_it_is_and_the_kernel_s_network_says_what_drifted() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    fixture.learn(&["--interface", "lan0"]);
    let path = fixture.path(CONF);
    let text = format!("{}# mine\n", fs::read_to_string(&path).unwrap());
    fs::write(&path, &text).unwrap();
    let (status, said) = fixture.nightlatch(&["network", "--conf"]);
    assert_eq!((status, said.as_str()), (Some(0), text.as_str()));
    let (_, said) = fixture.nightlatch(&["network"]);
    assert!(
        said.contains("the same") && said.contains("edited since"),
        "{said}"
    );
    fixture.ip("link set lan0 down\nlink set lan0 address 02:00:00:00:77:77");
    let (_, said) = fixture.nightlatch(&["network", "--json"]);
    for part in [
        "\"compared\": true",
        "\"decisive\": true",
        "\"edited\": true",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn nothing_is_learned_in_a_chroot() {
    let Some(fixture) = TwoHosts::new() else {
        return;
    };
    let root = fixture.path("root");
    let script = "mkdir -p $0/proc; for d in bin sbin lib lib64 usr nix; do [ ! -e /$d ] || { mkdir -p $0/$d; \
                  mount --rbind /$d $0/$d; }; done; mkdir -p $0/program; mount --bind \"$1\" $0/program; \
                  mount -t proc none $0/proc; exec chroot $0 /program/nightlatch network --learn --interface lan0";
    fs::create_dir(&root).unwrap();
    let program = ours("nightlatch");
    let mut command = fixture.here.command("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-euc", script])
        .arg(&root)
        .arg(program.parent().unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("this is a chroot"), "{said}");
}

/// The other end of two cables is a bond with a VLAN, in which the server is.
fn bonded(fixture: &TwoHosts) {
    fixture.cable("lan1", "wire1");
    fixture.there(
        "link add tie type bond mode active-backup miimon 100
         link set wire0 down
         link set wire1 down
         link set wire0 master tie
         link set wire1 master tie
         link set tie type bond primary wire0
         link set tie up
         link add link tie name tie.5 type vlan id 5
         link set tie.5 up",
    );
    fixture.ip("link add bond0 type bond mode active-backup miimon 100
         link set lan0 down
         link set lan1 down
         link set lan0 master bond0
         link set lan1 master bond0
         link set bond0 type bond primary lan0
         link set bond0 up
         link add link bond0 name bond0.5 type vlan id 5
         link set bond0.5 up");
}

#[test]
fn a_bridge_on_a_vlan_on_a_bond_leads_to_its_cards() {
    let Some(fixture) = TwoHosts::with(&["vlan", "bond", "bridge"]) else {
        return;
    };
    let macs = ["lan0"].map(|name| fixture.mac(name));
    bonded(&fixture);
    fixture.ip("link add br0 type bridge
         link set bond0.5 master br0
         link set br0 up
         addr add 192.0.2.7/24 dev br0");
    fixture.there("addr add 192.0.2.1/24 dev tie.5");
    let conf = fixture.learn_connected("192.0.2.1:4711");
    let [first] = macs;
    for part in [
        &format!("[lan0]\nmatch-mac = {first}\n\n[lan1]\nmatch-mac = ")[..],
        "[bond0]\nkind = bond\nmode = active-backup\nprimary = lan0\nmembers = lan0 lan1\n",
        "[bond0.5]\nkind = vlan\nid = 5\nparent = bond0\naddresses = 192.0.2.7/24\nstands-for = br0\n",
    ] {
        assert!(conf.contains(part), "{part}\n{conf}");
    }
    // All of them have one address now, and are distinguished nevertheless.
    assert_eq!(fixture.mac("br0"), fixture.mac("lan1"));
    fixture.reset(&["br0", "bond0.5", "bond0"], &["lan0", "lan1"]);
    fixture.boots("192.0.2.1:4711");
}

#[test]
fn a_vlan_on_a_bridge_is_made_on_the_port() {
    let Some(fixture) = TwoHosts::with(&["vlan", "bridge"]) else {
        return;
    };
    fixture.ip("link add br0 type bridge
         link set lan0 master br0
         link set br0 up
         link add link br0 name br0.7 type vlan id 7
         link set br0.7 up
         addr add 192.0.2.7/24 dev br0.7");
    fixture.there(
        "link add link wire0 name wire0.7 type vlan id 7
         link set wire0.7 up
         addr add 192.0.2.1/24 dev wire0.7",
    );
    let conf = fixture.learn_connected("192.0.2.1:4711");
    let end = "[br0.7]\nkind = vlan\nid = 7\nparent = lan0\naddresses = 192.0.2.7/24\n";
    assert!(conf.ends_with(end), "{conf}");
    fixture.reset(&["br0.7", "br0"], &["lan0"]);
    fixture.boots("192.0.2.1:4711");
}

#[test]
fn the_table_of_a_vrf_is_looked_at_and_the_vrf_left_out() {
    let Some(fixture) = TwoHosts::with(&["vrf"]) else {
        return;
    };
    far_server(&fixture, "addr add 192.0.2.1/24 dev wire0");
    fixture.ip("link add blue type vrf table 10
         link set lan0 master blue
         link set blue up
         addr add 192.0.2.7/24 dev lan0
         route add default via 192.0.2.1 table 10");
    let conf = fixture.learn_connected("198.51.100.1:4711");
    let end = "addresses = 192.0.2.7/24\nroutes = default via 192.0.2.1\n";
    assert!(conf.ends_with(end) && !conf.contains("blue"), "{conf}");
    fixture.reset(&["blue"], &["lan0"]);
    fixture.boots("198.51.100.1:4711");
}
