//! A named secret on its whole way: sealed by the administrator, kept by the server, opened by the agent, printed to a
//! program of the machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::machine::host_openpgp;
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, ours};
use nightlatch_proto::tls::{RawKey, RawKeyKind};
use nightlatch_test_support::programs::{self, agent_places};
use tempfile::TempDir;

/// `nobody` of Debian.
const NOBODY: u32 = 65534;

/// A server, an administrator, and a booted machine whose agent is up.
struct Site {
    site: Administered,
    folder: TempDir,
    agent: RunningProgram,
}

impl Site {
    fn new(agent_conf: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users reach the socket of the agent.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let host = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        let (openpgp, public) = host_openpgp();
        let keys = folder.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("tls-privkey.pem"), host.private_pem().expose()).unwrap();
        fs::write(keys.join("seckey.txt"), openpgp.secret_armored.expose()).unwrap();
        let settings = format!(
            "checker = false\ninterval = PT12H\ntimeout = P1D\nhost_key_id = {}\nhost_openpgp = {}",
            host.key_id(),
            public
        );
        let site = Administered::start(Project::Ours, &section("web1", &settings));
        let config = format!(
            "[agent]\nsearch = no\nconnect = {}\n{agent_conf}",
            site.server.address()
        );
        fs::write(folder.path().join("agent.conf"), config).unwrap();
        fs::write(folder.path().join("trusted"), site.server.key_id()).unwrap();
        let mut command = Command::new(ours("nightlatch-agent"));
        agent_places(&mut command, folder.path()).arg("--debug");
        let agent = RunningProgram::start("nightlatch-agent", &mut command);
        let site = Self {
            site,
            folder,
            agent,
        };
        wait(&site.agent, "knows that this machine is up");
        site.pin_new_admin_key("admin-key");
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `nightlatch` as the administrator.
    fn administer(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(ours("nightlatch"));
        command.args(arguments).env("HOME", self.folder.path());
        command.env_remove("XDG_CONFIG_HOME");
        let output = programs::run(self.site.on_bus(&mut command), input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// Makes an admin key in this file, and lets the machine believe it alone.
    fn pin_new_admin_key(&self, file: &str) {
        let key = self.at(file);
        let arguments = [
            "admin-key",
            "new",
            "--no-passphrase",
            "--file",
            key.to_str().unwrap(),
        ];
        let public = self.administer(&arguments, b"").stdout;
        fs::write(self.at("admin-keys"), public).unwrap();
        fs::set_permissions(self.at("admin-keys"), Permissions::from_mode(0o644)).unwrap();
    }

    fn put(&self, name: &str, more: &[&str]) {
        let key = self.at("admin-key");
        let mut arguments = vec![
            "secret",
            "put",
            "--yes",
            "--admin-key",
            key.to_str().unwrap(),
        ];
        arguments.extend(more);
        arguments.extend([name, "web1"]);
        self.administer(&arguments, b"hunter2\n");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ours("nightlatch"));
        command.args(["get", "--socket"]).arg(self.at("get/socket"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn get(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// It fails with this exit status, and says so.
    fn fails(&self, arguments: &[&str], code: i32, says: &str) {
        let output = self.get(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
        assert!(output.stdout.is_empty());
    }
}

fn wait(program: &RunningProgram, text: &str) {
    program.wait_for(text, |line| line.contains(text).then_some(()));
}

#[test]
fn a_secret_reaches_a_program_of_its_machine_and_nobody_else() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let site = Site::new("allow.tls.key = nobody\n");
    site.put("db", &[]);
    site.put("tls.key", &[]);
    let output = site.get(&["db"]);
    assert_eq!(output.stdout, b"hunter2\n", "{output:?}");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    site.fails(
        &["other"],
        66,
        "the server has no such secret for this machine",
    );
    // Another user gets what is his.
    let as_nobody = |name: &str| {
        site.command(&[name])
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap()
    };
    assert_eq!(as_nobody("tls.key").stdout, b"hunter2\n");
    let refused = as_nobody("db");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("allow.db of agent.conf"), "{said}");
    // No line of any log has the value.
    let logs = [site.agent.log(), site.site.server.running().log()].concat();
    assert!(!logs.iter().any(|line| line.contains("hunter2")));
}

#[test]
fn a_person_approves_a_request_while_the_program_waits() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let site = Site::new("");
    let (waits, request) = waiting(&site);
    site.administer(&["approve", "web1", "--request", &request], b"");
    let output = waits.finish();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"hunter2\n");
}

/// A program that waits for a person, and the number of its request.
fn waiting(site: &Site) -> (RunningProgram, String) {
    site.put("pin", &["--approval"]);
    let waits = RunningProgram::start("nightlatch", &mut site.command(&["pin"]));
    let request = waits.wait_for("its number", |line| {
        let (_, request) = line.split_once("nightlatch approve CLIENT --request ")?;
        Some(request.trim().to_owned())
    });
    assert!(waits.is_running());
    (waits, request)
}

#[test]
fn only_a_request_that_waited_for_the_person_who_denied_it_has_the_status_for_that() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let site = Site::new("");
    let (waits, request) = waiting(&site);
    site.administer(&["deny", "web1", "--request", &request], b"");
    let output = waits.finish();
    assert_eq!(output.status.code(), Some(80), "{output:?}");
    // Without a number the denial counts for later requests too, and nobody is asked.
    site.administer(&["set", "web1", "approval_duration=10m"], b"");
    site.administer(&["deny", "web1"], b"");
    site.fails(&["pin"], 66, "denied an earlier request of this machine");
}

#[test]
fn what_another_administrator_has_sealed_is_an_alarm_on_the_server() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let site = Site::new("");
    site.put("db", &[]);
    site.pin_new_admin_key("other-admin-key");
    site.fails(&["db"], 65, "forged");
    wait(&site.agent, "ALARM");
    let server = site.site.server.running();
    server.wait_for("an alarm about it", |line| {
        (line.contains("its agent refused a named secret") && line.contains("forged")).then_some(())
    });
}

#[test]
fn without_a_server_it_fails_in_time_and_goes_on_when_one_is_back() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let Site {
        site,
        folder,
        agent,
    } = Site::new("");
    let Administered { server, bus } = site;
    let get = |wait: &str| {
        let mut command = Command::new(ours("nightlatch"));
        command.args(["get", "db", "--wait", wait, "--socket"]);
        command.arg(folder.path().join("get/socket"));
        command
    };
    let port = server.port();
    let home = server.stop();
    let output = get("0").output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let waits = RunningProgram::start("nightlatch", &mut get("forever"));
    wait(&waits, "trying again");
    let socket = std::net::TcpListener::bind(("::1", port)).unwrap();
    let _server = nightlatch_interop::server::TestServer::start_on(Project::Ours, home, socket);
    // It has no such secret, and says so: it was asked.
    let output = waits.finish();
    assert_eq!(output.status.code(), Some(66), "{output:?}");
    drop((bus, agent));
}
