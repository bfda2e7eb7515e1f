//! The client beside others who use the network before the root is open: an SSH server, a DHCP client.

use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_interop::netns::NetnsHost;
use nightlatch_interop::programs::Project;

use crate::dhcp::{self, Dhcp};
use crate::guest::{Guest, PATIENCE, Plan};
use crate::images::{BootSystem, Machine, TYPED, Who};
use crate::lan::{Lan, assert_same_network};
use crate::scenario::{Scenario, Stage};
use crate::server::{PORT, Place};

/// Between two tries to log in.
const PAUSE: Duration = Duration::from_millis(500);

/// The address that the boot system gives the card.
const IP: &str = "ip=192.0.2.10::192.0.2.1:255.255.255.0:::off";

pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |name: &str, shows: &str, play: fn(&Stage<'_>)| {
        Scenario::new(name, shows, play).with(&[Who::Reachable], 1)
    };
    vec![
        scenario(
            "initramfs-tools-beside-ssh",
            "a server opens the disk of a machine that is reached by SSH all the while",
            beside_ssh,
        ),
        scenario(
            "initramfs-tools-opened-by-ssh",
            "a person opens the disk by SSH while the client goes on searching",
            opened_by_ssh,
        ),
        scenario(
            "initramfs-tools-dhcp-beside-ssh",
            "a server is found by its name, with an address by DHCP, on a machine that is reached by SSH too",
            dhcp_beside_ssh,
        ),
        scenario(
            "dracut-dhcp",
            "a server is reached with an address by DHCP from dracut's network module",
            dracut_dhcp,
        ),
    ]
}

fn beside_ssh(stage: &Stage<'_>) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Reachable);
    let host = server(&lan);
    let plan = || Plan::new(machine, BootSystem::InitramfsTools, lan.tap()).with(IP);

    let without = stage.start("without", plan().with("nightlatch=off"));
    let session = Session::open(&host, machine, &without);
    without.type_line(TYPED);
    without.wait_for_root();
    let expected = without.network();
    drop((session, without));

    let guest = stage.start("guest", plan());
    let mut session = Session::open(&host, machine, &guest);
    guest.wait_for(BootSystem::InitramfsTools.asks());
    guest.assert_locked();
    session.assert_open();
    let place = Place::announced(Project::Ours, host, &machine.section(""));
    guest.wait_for_root();
    assert_eq!(place.releases(), 1);
    assert_same_network(&guest.network(), &expected);
}

fn opened_by_ssh(stage: &Stage<'_>) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Reachable);
    let host = server(&lan);
    let plan = Plan::new(machine, BootSystem::InitramfsTools, lan.tap()).with(IP);
    let guest = stage.start("guest", plan);
    let _session = Session::open(&host, machine, &guest);
    guest.wait_for(BootSystem::InitramfsTools.asks());
    let typed = std::fs::File::open(machine.file("typed")).unwrap();
    let mut unlock = ssh(&host, machine, "cryptroot-unlock");
    let mut unlock = unlock.stdin(typed).spawn().unwrap();
    guest.wait_for_root();
    // Its connection ends with the initramfs.
    let _ = unlock.kill();
    let _ = unlock.wait();
}

fn dhcp_beside_ssh(stage: &Stage<'_>) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Reachable);
    let host = server(&lan);
    let tap = lan.tap();
    let _dhcp = Dhcp::start(&host, &tap);
    let plan = Plan::new(machine, BootSystem::InitramfsTools, tap);
    let connect = format!("mandos=connect:{}:{PORT}", dhcp::NAME);
    let guest = stage.start("guest", plan.with(&connect).with("ip=dhcp"));
    let mut session = Session::open(&host, machine, &guest);
    guest.assert_locked();
    session.assert_open();
    let _place = Place::unannounced(Project::Ours, host, &machine.section(""));
    guest.wait_for_root();
}

fn dracut_dhcp(stage: &Stage<'_>) {
    let lan = Lan::new();
    let machine = stage.machine(Who::Reachable);
    let host = server(&lan);
    let tap = lan.tap();
    let _dhcp = Dhcp::start(&host, &tap);
    let _place = Place::unannounced(Project::Ours, host, &machine.section(""));
    let plan = Plan::new(machine, BootSystem::Dracut, tap);
    let connect = format!("mandos=connect:{}:{PORT}", dhcp::SERVER);
    let guest = stage.start("guest", plan.with(&connect));
    guest.wait_for_root();
}

/// The host that the guest's card is configured for.
fn server(lan: &Lan) -> NetnsHost {
    let host = lan.host("server");
    dhcp::address(&host);
    host
}

/// Somebody who is logged in to the initramfs.
#[derive(Debug)]
struct Session(std::process::Child);

impl Session {
    /// Logs in as soon as that is possible.
    fn open(host: &NetnsHost, machine: &Machine, guest: &Guest) -> Self {
        loop {
            let probe = ssh(host, machine, "true").stdin(Stdio::null()).output();
            if probe.unwrap().status.success() {
                break;
            }
            assert!(guest.now() < PATIENCE, "nobody could log in by SSH");
            std::thread::sleep(PAUSE);
        }
        let mut session = ssh(host, machine, "sleep 1000");
        Self(session.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Fails when the connection was lost, and when no second one can be made.
    fn assert_open(&mut self) {
        assert_eq!(
            self.0.try_wait().unwrap(),
            None,
            "the connection by SSH was lost"
        );
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command in the initramfs.
fn ssh(host: &NetnsHost, machine: &Machine, line: &str) -> Command {
    let mut command = host.command("ssh");
    command.arg("-i").arg(machine.file("ssh-key"));
    for option in [
        "BatchMode=yes",
        "ConnectTimeout=5",
        "IdentitiesOnly=yes",
        "ServerAliveInterval=5",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ] {
        command.args(["-o", option]);
    }
    command.arg(format!("root@{}", dhcp::GUEST)).arg(line);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}
