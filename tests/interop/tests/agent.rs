//! The agent, the server and the boot client as whole programs: the attack that the original manual calls its only weak
//! point, and what honest machines do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use nightlatch_interop::administered::Administered;
use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::netns::Lan;
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::server::{Home, TestServer};
use nightlatch_proto::tls::{RawKey, RawKeyKind};
use nightlatch_test_support::programs::agent_places;
use tempfile::TempDir;

/// Long, so that nothing changes by itself; the checker fails, so that only the agent proves anything.
const SETTINGS: &str = "checker = false\ninterval = PT12H\ntimeout = P1D\nextended_timeout = P1D";

/// A machine that is booted, as far as an agent knows: its files, in a folder of their own.
struct Booted {
    folder: TempDir,
    key: RawKey,
}

impl Booted {
    fn new() -> Self {
        let booted = Self {
            folder: tempfile::tempdir().unwrap(),
            key: RawKey::generate(RawKeyKind::Ed25519).unwrap(),
        };
        fs::create_dir(booted.folder.path().join("keys")).unwrap();
        let key = booted.key.private_pem();
        booted.write("keys/tls-privkey.pem", key.expose(), 0o600);
        booted
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) {
        let file = self.folder.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The agent that trusts the server with this key id and has this configuration.
    fn command(&self, mut program: Command, server: &str, config: &str) -> Command {
        self.write("trusted", server.as_bytes(), 0o644);
        self.write("agent.conf", config.as_bytes(), 0o644);
        agent_places(&mut program, self.folder.path());
        program
    }

    fn section(&self, machine: &TestMachine) -> String {
        machine.section(&format!("{SETTINGS}\nhost_key_id = {}", self.key.key_id()))
    }

    /// Starts the agent beside the server of `site`.
    fn agent(&self, site: &Administered) -> RunningProgram {
        let config = format!(
            "[agent]\nsearch = no\nconnect = {}\n",
            site.server.address()
        );
        let program = Command::new(ours("nightlatch-agent"));
        let mut command = self.command(program, &site.server.key_id(), &config);
        let agent = RunningProgram::start("nightlatch-agent", command.arg("--debug"));
        wait(&agent, "knows that this machine is up");
        agent
    }

    fn says_goodbye(&self) -> Output {
        let mut command = Command::new(ours("nightlatch-agent"));
        agent_places(&mut command, self.folder.path());
        command.args(["goodbye", "reboot"]).output().unwrap()
    }
}

fn machine() -> TestMachine {
    let kind = MachineKeys::Curve25519;
    TestMachine::new("web1", Project::Ours, kind, b"a password")
}

fn wait(program: &RunningProgram, text: &str) {
    program.wait_for(text, |line| line.contains(text).then_some(()));
}

/// Waits for a line with all of `parts`, after line `first`; returns the number of the line after it.
fn next(site: &Administered, first: usize, parts: &[&str]) -> usize {
    let found = |line: &str| parts.iter().all(|part| line.contains(part)).then_some(());
    site.server
        .running()
        .wait_from(first, &parts.join(" "), found)
        .0
}

fn trust(site: &Administered) {
    let trusted = site.nightlatch(&["trust", "web1", "--yes"]);
    assert!(trusted.status.success(), "{trusted:?}");
}

#[test]
fn an_agent_finds_the_server_and_says_nothing_to_one_that_it_does_not_trust() {
    let Some(lan) = Lan::new("agent") else { return };
    let machine = machine();
    let booted = Booted::new();
    let home = Home::new(&booted.section(&machine), None);
    let server = TestServer::announced(Project::Ours, home, &lan.server);
    lan.client.wait_for_link_local("cli0");
    let run = |trusted: &str, said: &str| {
        let program = lan.client.command(ours("nightlatch-agent"));
        let mut command = booted.command(program, trusted, "[agent]\nsearch = yes\n");
        let agent = RunningProgram::start("nightlatch-agent", command.arg("--debug"));
        wait(&agent, said);
        agent.terminate();
    };
    run(&"1".repeat(64), "is not among the trusted ones");
    run(&server.key_id(), "knows that this machine is up");
    lan.assert_no_ipv4();
}

/// An unknown host key is told so, and a server that does not know it is no reason to stop.
#[test]
fn an_agent_that_the_server_does_not_know_says_why_it_is_not_heard() {
    let machine = machine();
    let booted = Booted::new();
    let site = Administered::start(Project::Ours, &machine.section(SETTINGS));
    let config = format!(
        "[agent]\nsearch = no\nconnect = {}\n",
        site.server.address()
    );
    let program = Command::new(ours("nightlatch-agent"));
    let mut command = booted.command(program, &site.server.key_id(), &config);
    let agent = RunningProgram::start("nightlatch-agent", &mut command);
    wait(&agent, "unknown-host-key");
    agent.terminate();
}

#[test]
fn a_copied_boot_key_gets_nothing_while_the_agent_is_heard_and_is_found_out_when_it_was_cut_off() {
    let machine = machine();
    let booted = Booted::new();
    let site = Administered::start(Project::Ours, &booted.section(&machine));
    let address = site.server.address();
    let agent = booted.agent(&site);
    // The server tries the pokes.
    wait(&agent, "a server asks for a heartbeat");
    // At once: the agent is poked and answers, long before its next heartbeat is due.
    let thief = client::start(Project::Ours, &machine, &address);
    let seen = next(&site, 0, &["held while its agent is asked"]);
    let seen = next(&site, seen, &["alarm: refused", "it was up"]);
    thief.terminate();
    trust(&site);
    // With the network of the agent cut: released, and found out with certainty.
    agent.kill();
    let thief = client::fetch(Project::Ours, &machine, &address);
    assert_eq!(thief.stdout, machine.password, "{thief:?}");
    let agent = booted.agent(&site);
    let seen = next(&site, seen, &["alarm", "released to somebody else"]);
    // From now on a person decides, also on an announced reboot.
    let told = booted.says_goodbye();
    assert!(told.status.success(), "{told:?}");
    let thief = client::start(Project::Ours, &machine, &address);
    next(&site, seen, &["waits for approval"]);
    thief.terminate();
    agent.terminate();
}

#[test]
fn an_announced_reboot_waits_for_nothing() {
    let machine = machine();
    let booted = Booted::new();
    // Whoever is held must wait for longer than the test.
    let section = booted.section(&machine) + "guard_wait = PT10M\n";
    let site = Administered::start(Project::Ours, &section);
    let agent = booted.agent(&site);
    let told = booted.says_goodbye();
    assert!(told.status.success(), "{told:?}");
    let next_boot = client::fetch(Project::Ours, &machine, &site.server.address());
    assert_eq!(next_boot.stdout, machine.password, "{next_boot:?}");
    let log = site.nightlatch(&["log", "--json"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("announced"), "{log}");
    agent.terminate();
}

/// A stop of the service alone says nothing, so that no window opens.
#[test]
fn an_agent_that_is_stopped_says_no_goodbye() {
    let machine = machine();
    let booted = Booted::new();
    let site = Administered::start(Project::Ours, &booted.section(&machine));
    booted.agent(&site).terminate();
    let list = site.nightlatch(&["list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["guard_state"], "up");
    let log = site.nightlatch(&["log"]);
    assert!(!String::from_utf8_lossy(&log.stdout).contains("goodbye"));
}
