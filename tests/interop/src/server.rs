//! A server under test, ours or stock: on loopback without a network announcement, or announced on a
//! host of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nightlatch_sys::privileges::{self, Account};
use nightlatch_test_support::Deadline;
use tempfile::TempDir;

use crate::netns::NetnsHost;
use crate::process::RunningProgram;
use crate::programs::{Project, ours, peer};

/// A running server with its configuration and state.
#[derive(Debug)]
pub struct TestServer {
    project: Project,
    port: u16,
    running: RunningProgram,
    home: Home,
}

/// A server's folders, which survive a restart of it.
#[derive(Debug)]
pub struct Home {
    /// Goes away with all that is in it.
    _folder: TempDir,
    conf: PathBuf,
    state: PathBuf,
    bus: Option<String>,
    on_bus: bool,
    quiet: bool,
}

impl Home {
    /// New folders with `clients` as `clients.conf`. `bus` is the address of a system bus, which the
    /// stock server cannot do without.
    pub fn new(clients: &str, bus: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["conf", "state"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        // Servers give up being root before they write their state.
        open_to_service(folder.path());
        open_to_service(&folder.path().join("state"));
        let home = Self::of(folder, "conf", "state", bus);
        std::fs::write(home.conf().join("mandos.conf"), "[DEFAULT]\n").unwrap();
        home.configure(clients);
        home
    }

    /// The folders at these places in `folder`, as they are.
    pub fn of(folder: TempDir, conf: &str, state: &str, bus: Option<String>) -> Self {
        Self {
            conf: folder.path().join(conf),
            state: folder.path().join(state),
            _folder: folder,
            bus,
            on_bus: false,
            quiet: false,
        }
    }

    pub fn configure(&self, clients: &str) {
        write_private(&self.conf().join("clients.conf"), clients);
    }

    /// Adds a setting of the server to `mandos.conf`. The stock server passes over what it does not know.
    pub fn set(&self, key: &str, value: &str) {
        let file = self.conf().join("mandos.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{key} = {value}\n")).unwrap();
    }

    /// Lets the server offer its interface on the bus.
    pub fn on_bus(&mut self) {
        self.on_bus = true;
    }

    /// Lets the server log as by default, and not everything: what a benchmark measures.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// The configuration directory.
    pub fn conf(&self) -> PathBuf {
        self.conf.clone()
    }
}

impl TestServer {
    /// Starts it on loopback and waits until it listens.
    pub fn start(project: Project, home: Home) -> Self {
        Self::start_on(project, home, TcpListener::bind("[::1]:0").unwrap())
    }

    /// Starts it on `socket` and waits until it listens.
    pub fn start_on(project: Project, home: Home, socket: TcpListener) -> Self {
        let mut command = command(project, &home);
        // The stock server wants a fixed port or a socket where it does not announce itself; a
        // socket can neither be taken by another test in between nor refuse an early client.
        if socket.local_addr().unwrap().is_ipv4() {
            command.arg("--no-ipv6");
        }
        let port = socket.local_addr().unwrap().port();
        command.args(["--no-zeroconf", "--socket", "0"]);
        let socket = Stdio::from(OwnedFd::from(socket));
        let running = started(project, &mut command, socket);
        if home.quiet && project == Project::Stock {
            // It says nothing then.
            wait_until_accepted(port, &running);
        } else {
            running.wait_for("that it listens", listening);
        }
        Self {
            project,
            port,
            running,
            home,
        }
    }

    /// Starts it on `host` at `port`, not announced, and waits until it listens.
    pub fn at_port(project: Project, home: Home, host: &NetnsHost, port: u16) -> Self {
        let mut command = host.inside(&command(project, &home));
        command.args(["--no-zeroconf", "--port", &port.to_string()]);
        let running = started(project, &mut command, Stdio::null());
        running.wait_for("that it listens", listening);
        Self {
            project,
            port,
            running,
            home,
        }
    }

    /// Starts it on `host`, on a port that it chooses, and waits until it is announced there: by
    /// the Avahi on its home's bus, or without such a bus, if it can, by itself.
    pub fn announced(project: Project, home: Home, host: &NetnsHost) -> Self {
        let mut command = host.inside(&command(project, &home));
        let running = started(project, &mut command, Stdio::null());
        let port = running.wait_for("that it listens", listening);
        let sentence = match project {
            Project::Ours => "announcing the service",
            Project::Stock => "Zeroconf service established",
        };
        running.wait_for(sentence, |line| line.contains(sentence).then_some(()));
        Self {
            project,
            port,
            running,
            home,
        }
    }

    /// `::1:PORT`, as clients take it.
    pub fn address(&self) -> String {
        format!("::1:{}", self.port)
    }

    /// The port it listens on, on `::1`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folders.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The server's process.
    pub fn running(&self) -> &RunningProgram {
        &self.running
    }

    /// Waits until it said that it refuses for `reason`.
    pub fn wait_for_refusal(&self, refusal: ExpectedRefusal) {
        let sentence = refusal.sentence(self.project);
        self.running
            .wait_for(sentence, |line| line.contains(sentence).then_some(()));
    }

    /// Ends it with SIGTERM, and gives its folders back.
    ///
    /// Ours must end well. How the stock one ends is its own affair: its exit handler can fail with
    /// a `KeyError: 'secret'`, and the next start serves all the same.
    pub fn stop(self) -> Home {
        let output = self.running.terminate();
        assert!(
            self.project == Project::Stock || output.status.success(),
            "{:?}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        self.home
    }

    /// Kills it with SIGKILL, and gives its folders back.
    pub fn kill(self) -> Home {
        self.running.kill();
        self.home
    }

    /// The id of its own TLS key, which only ours has and says.
    pub fn key_id(&self) -> String {
        self.running.wait_for("its own key", |line| {
            let (_, id) = line.split_once("own key key_id=")?;
            Some(id.trim().to_owned())
        })
    }

    /// Ends it with SIGTERM and starts it again with the same folders, on loopback.
    pub fn restart(self) -> Self {
        let project = self.project;
        Self::start(project, self.stop())
    }
}

fn started(project: Project, command: &mut Command, input: Stdio) -> RunningProgram {
    let running = RunningProgram::start_with(&format!("{project:?} server"), command, input);
    match project {
        Project::Ours => running,
        Project::Stock => running.of_a_peer(),
    }
}

fn command(project: Project, home: &Home) -> Command {
    let mut command = Command::new(match project {
        Project::Ours => ours("nightlatchd"),
        Project::Stock => peer("usr/sbin/mandos"),
    });
    command.arg("--foreground");
    if !home.on_bus {
        command.arg("--no-dbus");
    }
    if !home.quiet {
        command.arg("--debug");
    }
    command
        .arg("--configdir")
        .arg(home.conf())
        .arg("--statedir")
        .arg(home.state());
    if let Some(bus) = &home.bus {
        command.env("DBUS_SYSTEM_BUS_ADDRESS", bus);
    }
    command
}

/// Connects until the port accepts on loopback.
fn wait_until_accepted(port: u16, server: &RunningProgram) {
    let deadline = Deadline::start();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let why = format!("the server never listened; its log: {:?}", server.log());
        assert!(server.is_running() && !deadline.passed(), "{why}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The port, from the line in which a server says where it listens.
fn listening(line: &str) -> Option<u16> {
    let line = line.to_lowercase();
    let (_, place) = line.split_once("now listening on address")?;
    let (_, port) = place.split_once("port ")?;
    let end = port.find(|c: char| !c.is_ascii_digit());
    port[..end.unwrap_or(port.len())].parse().ok()
}

/// A reason for a refusal, with the log line of each server.
#[derive(Clone, Copy, Debug)]
pub enum ExpectedRefusal {
    /// No client has this key.
    UnknownKey,
    /// The client is disabled.
    Disabled,
    /// Nobody approved it in time.
    NotApproved,
}

impl ExpectedRefusal {
    fn sentence(self, project: Project) -> &'static str {
        match (self, project) {
            (Self::UnknownKey, Project::Stock) => "Client not found for key ID",
            (Self::Disabled, Project::Stock) => "is disabled",
            (Self::NotApproved, Project::Stock) => "timed out while waiting for approval",
            (Self::UnknownKey, Project::Ours) => "unknown key",
            (Self::Disabled, Project::Ours) => "client is disabled",
            (Self::NotApproved, Project::Ours) => "approval timed out",
        }
    }
}

/// Gives a folder to the user that servers become when they give up being root.
pub fn open_to_service(folder: &Path) {
    if let Some((user, group)) = service_user() {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
    }
}

/// Gives a folder to the user that our server becomes when it gives up being root.
pub fn open_to_ours(folder: &Path) {
    if privileges::is_root() {
        let account = our_account();
        std::os::unix::fs::chown(folder, Some(account.uid), Some(account.gid)).unwrap();
    }
}

/// The user that our server becomes when it is started as root.
pub fn our_account() -> Account {
    let unnamed = Account {
        name: "65533".to_owned(),
        uid: 65533,
        gid: 65533,
        groups: Vec::new(),
        home: "/nonexistent".to_owned(),
    };
    ["_nightlatch", "_mandos"]
        .into_iter()
        .find_map(|name| privileges::account(name).unwrap())
        .unwrap_or(unnamed)
}

/// The user and group that both servers become when they are started as root: the first of these
/// that exists. `None` when the test is not root, and nothing changes hands.
fn service_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let known = ["_mandos", "mandos", "nobody"];
    known
        .iter()
        .find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}

/// Born private: our server refuses a file of secrets that others can read.
fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
