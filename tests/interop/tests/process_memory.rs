//! Each program that handles secrets, seen from outside while it waits: its limit on core dumps, whether a
//! process of the same user may read its memory, and how much of that memory is locked.
//!
//! Each claim is first shown not to hold for a program that does nothing for it.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, boot_client, ours};
use nightlatch_interop::server::{Home, TestServer, open_to_ours, open_to_service};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

const UP: &str = "checker = true";

/// The protection of a process's memory, as other processes see it.
#[derive(Debug)]
struct MemoryProtection {
    /// The line of /proc/PID/limits, both limits and the unit.
    core_limit: String,
    /// A process of the same user may read its memory (ptrace(2), "Ptrace access mode checking").
    readable: bool,
    /// `VmLck` in kB.
    locked: u64,
}

fn look(pid: u32) -> MemoryProtection {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let limits = read("limits");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let status = read("status");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    MemoryProtection {
        core_limit: core
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        readable: is_readable(pid, field("Uid:")),
        locked: field("VmLck:"),
    }
}

/// proc(5): what must not be dumped belongs to root there. Of a process of root's, another of root's that
/// has its capabilities but not `CAP_SYS_PTRACE` asks for what needs the same right as its memory.
fn is_readable(pid: u32, user: u64) -> bool {
    if user != 0 {
        let file = format!("/proc/{pid}/environ");
        return u64::from(std::fs::metadata(file).unwrap().uid()) == user;
    }
    let reads = without_ptrace(Path::new("readlink"))
        .arg(format!("/proc/{pid}/exe"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    reads.unwrap().success()
}

/// Runs `program` with core dumps allowed as far as this process may allow them, for [`look`].
fn without_ptrace(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"])
        .arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Allows core dumps to what the test starts; shows that nothing is forbidden to it by itself.
fn allow_core_dumps() {
    let highest = getrlimit(Resource::Core).maximum;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: highest,
            maximum: highest,
        },
    )
    .unwrap();
    let mut shell = without_ptrace(Path::new("sh"));
    shell.args(["-c", "echo ready >&2; exec sleep 1000"]);
    let plain = RunningProgram::start("a plain program", &mut shell);
    plain.wait_for("that it runs", |line| (line == "ready").then_some(()));
    let seen = look(plain.pid());
    assert!(
        seen.readable && seen.locked == 0 && !seen.core_limit.starts_with("0 "),
        "the test could not fail here: {seen:?}"
    );
}

fn assert_closed(seen: &MemoryProtection) {
    assert_eq!(seen.core_limit, "0 0 bytes", "{seen:?}");
    assert!(!seen.readable, "{seen:?}");
}

fn assert_locked(seen: &MemoryProtection) {
    if may_lock_everything() {
        assert!(seen.locked > 0, "{seen:?}");
    } else {
        nightlatch_test_support::runs_elsewhere("locked memory needs CAP_SYS_RESOURCE");
    }
}

/// True when a limit on locked memory can be lifted here: in some containers not even by root.
fn may_lock_everything() -> bool {
    let resource = CapabilitySet::SYS_RESOURCE | CapabilitySet::IPC_LOCK;
    let effective = capabilities(None).unwrap().effective;
    effective.contains(resource) || getrlimit(Resource::Memlock).maximum.is_none()
}

fn machine() -> TestMachine {
    TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"password")
}

fn wait(running: &RunningProgram, text: &str) {
    running.wait_for(text, |line| line.contains(text).then_some(()));
}

#[test]
fn the_client_and_its_tries_are_closed_and_locked() {
    allow_core_dumps();
    let machine = machine();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = client::command(Project::Ours, &machine);
    let mut command = without_ptrace(Path::new(plain.get_program()));
    command.args(plain.get_args());
    command.args(["--debug", "--interface", "none", "--connect"]);
    command.arg(silent.local_addr().unwrap().to_string());
    let client = RunningProgram::start("client", &mut command);
    wait(&client, "connected to 127.0.0.1");
    let pid = client.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let tries: Vec<u32> = children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(tries.len(), 1, "{children}");
    for pid in [pid, tries[0]] {
        let seen = look(pid);
        assert_closed(&seen);
        assert_locked(&seen);
    }
}

/// All of them pass through one place; these three are easy to keep waiting.
#[test]
fn the_other_applets_are_closed_and_locked() {
    allow_core_dumps();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let plugins = folder.path().join("plugins.d");
    std::fs::create_dir(&plugins).unwrap();
    for (arguments, waits) in [
        (
            vec![
                "askpass-fifo".to_owned(),
                "--debug".to_owned(),
                "--fifo".to_owned(),
                path("fifo"),
            ],
            "waiting for a password",
        ),
        (
            vec![
                "key-socket".to_owned(),
                "--debug".to_owned(),
                "--socket".to_owned(),
                path("key"),
                "--".to_owned(),
                "sleep".to_owned(),
                "1000".to_owned(),
            ],
            "waiting for volumes",
        ),
        (
            vec![
                "cryptroot".to_owned(),
                "--debug".to_owned(),
                "--fifo".to_owned(),
                path("passfifo"),
                "--".to_owned(),
                "sh".to_owned(),
                "-c".to_owned(),
                "echo waiting >&2; exec sleep 1000".to_owned(),
            ],
            "waiting",
        ),
    ] {
        let mut command = without_ptrace(&boot_client());
        command.args(&arguments);
        let applet = RunningProgram::start(&arguments[0], &mut command);
        wait(&applet, waits);
        let seen = look(applet.pid());
        assert_closed(&seen);
        assert_locked(&seen);
    }
}

#[test]
fn the_server_is_closed_and_its_secrets_are_locked_also_after_a_reload() {
    allow_core_dumps();
    let machine = machine();
    let server = TestServer::start(Project::Ours, Home::new(&machine.section(UP), None));
    let seen = look(server.running().pid());
    assert_closed(&seen);
    // A few kilobytes are allowed to everybody.
    assert!(seen.locked > 0, "{seen:?}");
    drop(server);

    let home = Home::new("", None);
    let clients = home.conf().join("clients.conf");
    // A reload reads it as the user that the server has become.
    open_to_ours(&clients);
    let server = TestServer::start(Project::Ours, home);
    assert_eq!(
        look(server.running().pid()).locked,
        0,
        "there is no secret yet"
    );
    std::fs::write(clients, machine.section(UP)).unwrap();
    server.running().signal("HUP");
    wait(server.running(), "configuration reloaded");
    let seen = look(server.running().pid());
    assert!(seen.locked > 0, "{seen:?}");
}

#[test]
fn the_import_of_a_state_is_closed() {
    allow_core_dumps();
    let folder = tempfile::tempdir().unwrap();
    for name in ["conf", "state"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    open_to_service(folder.path());
    open_to_service(&folder.path().join("state"));
    let mut command = without_ptrace(&ours("nightlatchd"));
    command
        .args(["--import-state", "-", "--configdir"])
        .arg(folder.path().join("conf"))
        .arg("--statedir")
        .arg(folder.path().join("state"))
        .stdin(Stdio::piped())
        .stderr(Stdio::null());
    let mut import = command.spawn().unwrap();
    // More than a pipe holds: once it is written, some of it has been read.
    let document = vec![b' '; 256 * 1024];
    import.stdin.as_mut().unwrap().write_all(&document).unwrap();
    let seen = look(import.id());
    import.kill().unwrap();
    import.wait().unwrap();
    assert_closed(&seen);
}

#[test]
fn the_administrators_command_is_closed() {
    allow_core_dumps();
    let machine = machine();
    let fifo = machine.key_file("password-fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let mut command = without_ptrace(&ours("nightlatch"));
    command
        .args(["keygen", "--no-ssh", "--name", "tower", "--dir"])
        .arg(machine.key_dir())
        .arg("--passfile")
        .arg(&fifo);
    let keygen = RunningProgram::start("keygen", &mut command);
    // Opening waits for the reader.
    let mut password = OpenOptions::new().write(true).open(&fifo).unwrap();
    assert_closed(&look(keygen.pid()));
    password.write_all(b"password").unwrap();
    drop(password);
    assert!(keygen.finish().status.success());
}
