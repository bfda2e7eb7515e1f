//! A full disk: a small file system of its own, in a mount namespace that ends with the server.
#![allow(
    clippy::disallowed_methods,
    reason = "how long the end takes is measured"
)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::ours;

use crate::fixture::{Machine, Server, ServerFolders, fails, service};

const FAILURE: &str = "cannot write the state";

/// `nightlatchd` with a file system of `size` for its state, after `prepare` was done in there.
fn command(fixture: &ServerFolders, size: &str, prepare: &str) -> Option<Command> {
    let Some(account) = service() else {
        nightlatch_test_support::skipped("mounts a file system: needs root");
        return None;
    };
    let mut command = Command::new("unshare");
    let mount = format!(
        "mount -t tmpfs -o size={size},mode=0700,uid={},gid={} none \"$0\" && {prepare} && exec \"$@\"",
        account.uid, account.gid
    );
    command.args(["-m", "sh", "-c", &mount]);
    command.arg(fixture.state()).arg(ours("nightlatchd"));
    fixture.options(&mut command);
    Some(command)
}

/// Takes all space that is left for the server's state.
fn fill(fixture: &ServerFolders, server: &Server) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", server.running.pid()));
    let inside = fixture.state().join("filler");
    let path = root.join(inside.strip_prefix("/").unwrap());
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

/// Many new clients: more than fits into what is left of pages already taken.
fn crowd() -> String {
    let client = |number| {
        format!("[crowd{number}]\nkey_id = {number:064x}\nsecret = AAAA\nchecker = true\n")
    };
    (1..=300).map(client).collect()
}

#[test]
fn a_full_disk_holds_up_what_changes_and_nothing_else() {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let fixture = ServerFolders::new(&(a.section("") + &b.section("")));
    let Some(mut command) = command(&fixture, "4m", "true") else {
        return;
    };
    let server = Server::spawn(&mut command);
    server.listens();
    a.is_served(&server);
    server.says("secret delivered client=\"a\"");
    let filler = fill(&fixture, &server);
    fixture.write_clients(&(a.section("enabled = no") + &b.section("") + &crowd()));
    server.reload();
    server.says(FAILURE);
    let log = server.running.log();
    let line = log.iter().find(|line| line.contains(FAILURE)).unwrap();
    assert!(
        line.contains("no space is left") && line.contains("make room"),
        "{line}"
    );
    b.is_served(&server);
    // The log is not held up. What is acknowledged is.
    server.says("disabled client=\"a\"");
    a.is_refused(&server, "client is disabled");
    assert!(!server.has_said("configuration reloaded"));
    fs::remove_file(filler).unwrap();
    server.says("the state can be written again");
    server.says("configuration reloaded");
    a.is_refused(&server, "client is disabled");
    assert!(server.running.terminate().status.success());
}

#[test]
fn a_server_on_a_full_disk_can_be_ended() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new(&a.section(""));
    let Some(mut command) = command(&fixture, "4m", "true") else {
        return;
    };
    let server = Server::spawn(&mut command);
    server.listens();
    fill(&fixture, &server);
    fixture.write_clients(&(a.section("enabled = no") + &crowd()));
    server.reload();
    server.says(FAILURE);
    let told = Instant::now();
    let output = server.running.terminate();
    let took = told.elapsed();
    eprintln!("ended {took:?} after SIGTERM on a full disk");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!log.contains("configuration reloaded"), "{log}");
}

#[test]
fn no_server_starts_on_a_full_disk() {
    let fixture = ServerFolders::new("");
    let prepare = "{ head -c 1000000 /dev/zero >\"$0/filler\" 2>/dev/null || true; }";
    let Some(mut command) = command(&fixture, "64k", prepare) else {
        return;
    };
    let socket = std::net::TcpListener::bind("[::1]:0").unwrap();
    let socket = std::os::fd::OwnedFd::from(socket);
    let output = command.stdin(socket).output().unwrap();
    fails(&output, 74, &["no space is left", "hint: make room"]);
}

/// A small file system for the state that outlives the servers on it.
struct SmallDisk(RunningProgram);

impl SmallDisk {
    fn new(fixture: &ServerFolders) -> Option<Self> {
        let whole = command(fixture, "4m", "echo mounted >&2")?;
        // In place of the server something that holds the mount namespace.
        let mut command = Command::new("unshare");
        command.args(whole.get_args().take(5));
        let holder = RunningProgram::start("small disk", command.args(["sleep", "600"]));
        holder.wait_for("mounted", |line| line.contains("mounted").then_some(()));
        Some(Self(holder))
    }

    fn start(&self, fixture: &ServerFolders) -> Server {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.0.pid()));
        command.arg("--").arg(ours("nightlatchd"));
        fixture.options(&mut command);
        let server = Server::spawn(command.arg("--debug"));
        server.listens();
        server
    }
}

#[test]
fn an_expiry_that_a_full_disk_did_not_take_is_no_renewal() {
    let a = Machine::new("a");
    let fixture = ServerFolders::new("");
    let flag = fixture.file("up");
    fs::write(&flag, "").unwrap();
    let checker = format!(
        "timeout = PT4S\nextended_timeout = PT4S\ninterval = PT1S\nchecker = test -e {}",
        flag.display()
    );
    fixture.write_clients(&a.section(&checker));
    let Some(disk) = SmallDisk::new(&fixture) else {
        return;
    };
    let server = disk.start(&fixture);
    server.says("check succeeded");
    a.is_served(&server);
    let filler = fill(&fixture, &server);
    fixture.write_clients(&(a.section(&checker) + &crowd()));
    server.reload();
    server.says(FAILURE);
    fs::remove_file(&flag).unwrap();
    server.says("disabled client=\"a\"");
    a.is_refused(&server, "client is disabled");
    server.kill();
    drop(server);
    let inside = filler.strip_prefix("/proc").unwrap();
    let inside: PathBuf = inside.iter().skip(1).collect();
    fs::remove_file(PathBuf::from(format!("/proc/{}", disk.0.pid())).join(inside)).unwrap();
    for _ in 0..2 {
        let server = disk.start(&fixture);
        a.is_refused(&server, "client is disabled");
        server.kill();
    }
}
