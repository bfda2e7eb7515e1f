//! A server's folders, its clients, and the ways to start it and to ask it.

use std::fs;
use std::io::Write;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nightlatch_core::boot_nonce::BootSeed;
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::ours;
use nightlatch_proto::priority::Priority;
use nightlatch_proto::tls::{BootTls, FetchError, RawKey, RawKeyKind};
use nightlatch_sys::privileges::{self, Account};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The secret of every client here, and its setting.
pub(crate) const SECRET: &[u8] = b"encrypted, as far as the server can tell: 0451";
pub(crate) const SECRET_BASE64: &str =
    "ZW5jcnlwdGVkLCBhcyBmYXIgYXMgdGhlIHNlcnZlciBjYW4gdGVsbDogMDQ1MQ==";

/// Only a hang ever takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A machine that wants its secret.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) key_id: String,
    tls: BootTls,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let key = RawKey::generate(RawKeyKind::Ed25519).unwrap();
        Self {
            name: name.to_owned(),
            key_id: key.key_id().to_string(),
            tls: BootTls::new(
                key,
                Vec::new(),
                &Priority::default(),
                BootSeed::from_bytes([7; 32]),
            )
            .unwrap(),
        }
    }

    /// Its section with `settings`, lines of `key = value`, added.
    pub(crate) fn section(&self, settings: &str) -> String {
        format!(
            "[{}]\nkey_id = {}\nsecret = {SECRET_BASE64}\nhost = localhost\n{settings}\n",
            self.name, self.key_id
        )
    }

    pub(crate) fn fetch(&self, port: u16) -> Result<(), FetchError> {
        let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let fetched = self.tls.fetch(&mut stream, 1 << 20)?;
        assert_eq!(fetched.payload.expose(), SECRET);
        Ok(())
    }

    pub(crate) fn is_served(&self, server: &Server) {
        let fetched = self.fetch(server.port);
        assert!(fetched.is_ok(), "{}: {fetched:?}", self.name);
    }

    pub(crate) fn is_refused(&self, server: &Server, reason: &str) {
        let fetched = self.fetch(server.port);
        assert!(
            matches!(fetched, Err(FetchError::Refused)),
            "{}: {fetched:?}",
            self.name
        );
        server.running.wait_for(reason, |line| {
            (line.contains("refused") && line.contains(&self.key_id) && line.contains(reason))
                .then_some(())
        });
    }
}

/// The folders of a server, which outlive it.
pub(crate) struct ServerFolders {
    folder: TempDir,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) running: RunningProgram,
    pub(crate) port: u16,
}

impl ServerFolders {
    pub(crate) fn new(clients: &str) -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in [
            fixture.folder.path().to_owned(),
            fixture.conf(),
            fixture.state(),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .create(&folder)
                .unwrap();
            give(&folder);
        }
        fixture.write_server("");
        fixture.write_clients(clients);
        fixture
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.folder.path().join("conf")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Another file beside the folders.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn clients_file(&self) -> PathBuf {
        self.conf().join("clients.conf")
    }

    /// Replaces `clients.conf` by a file that the service may read.
    pub(crate) fn write_clients(&self, text: &str) {
        write_private(&self.clients_file(), text.as_bytes());
        give(&self.clients_file());
    }

    pub(crate) fn write_server(&self, settings: &str) {
        let text = format!("[DEFAULT]\n{settings}\n");
        fs::write(self.conf().join("nightlatch.conf"), text).unwrap();
    }

    /// `nightlatchd` with these folders.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(ours("nightlatchd"));
        self.options(&mut command);
        command
    }

    pub(crate) fn options(&self, command: &mut Command) {
        command.arg("--configdir").arg(self.conf());
        command.arg("--statedir").arg(self.state());
        command.args(["--no-dbus", "--no-zeroconf", "--socket", "0"]);
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&self, options: &[&str]) -> Server {
        let mut command = self.command();
        command.args(options);
        let server = Server::spawn(&mut command);
        server.listens();
        server
    }

    /// Runs what is expected to end by itself, with a socket as its standard input.
    pub(crate) fn run(&self, options: &[&str]) -> Output {
        let mut command = self.command();
        command.args(options);
        let socket = TcpListener::bind("[::1]:0").unwrap();
        command.stdin(Stdio::from(OwnedFd::from(socket)));
        command.output().unwrap()
    }

    /// Runs it, and checks that it ends with `status` and says all of `expected`.
    pub(crate) fn fails(&self, status: i32, expected: &[&str]) {
        fails(&self.run(&[]), status, expected);
    }
}

/// Checks that a program ended with `status` and said all of `expected`.
pub(crate) fn fails(output: &Output, status: i32, expected: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

impl Server {
    /// Starts `command` with a listening socket as its standard input.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let socket = TcpListener::bind("[::1]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let socket = Stdio::from(OwnedFd::from(socket));
        let running = RunningProgram::start_with("nightlatchd", command, socket);
        Self { running, port }
    }

    pub(crate) fn listens(&self) {
        self.says("now listening on address");
    }

    /// Waits until it has said `what`.
    pub(crate) fn says(&self, what: &str) {
        let heard = |line: &str| line.contains(what).then_some(());
        self.running.wait_for(what, heard);
    }

    /// True when `what` is in its log so far.
    pub(crate) fn has_said(&self, what: &str) -> bool {
        self.running.log().iter().any(|line| line.contains(what))
    }

    pub(crate) fn reload(&self) {
        self.send(Signal::HUP);
    }

    /// Kills it on the spot: no other program is started to do it.
    pub(crate) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.running.pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

/// The account that a server started as root becomes.
pub(crate) fn service() -> Option<Account> {
    privileges::is_root().then(nightlatch_interop::server::our_account)
}

/// Gives a file to the account that the server becomes.
pub(crate) fn give(path: &Path) {
    if let Some(account) = service() {
        chown(path, Some(account.uid), Some(account.gid)).unwrap();
    }
}

/// Writes a file that was born private.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) {
    let unborn = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unborn)
        .unwrap();
    file.write_all(bytes).unwrap();
    give(&unborn);
    fs::rename(unborn, path).unwrap();
}
