//! A folder with a virtual card, the pcscd that has it, and the agent under test. Each is ended with the test.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nightlatch_test_support::{Deadline, is_root, skipped};
use tempfile::TempDir;

/// The name of the reader as pcscd tells it.
pub(crate) const READER: &str = "nightlatch-test 00 00";

/// The PIN of a new virtual card.
pub(crate) const PIN: &str = "123456";

/// pcscd in a mount namespace, for the file with its process id. Its socket is passed as systemd does it.
const PCSCD: &str = r#"mount -t tmpfs none /run && mkdir /run/pcscd && exec 3<&0 0</dev/null
LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" --foreground --config "$1""#;

/// Pause between two looks at a state.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Everything of one test.
pub(crate) struct World {
    folder: TempDir,
    listener: OwnedFd,
    pcscd: Option<Child>,
    agent: Option<Child>,
}

impl World {
    /// pcscd with a new card; `None` where the test cannot run, which was told then.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        for needed in [driver(), peer("usr/sbin/pcscd")] {
            if !needed.is_file() {
                skipped(format!("needs {} (scripts/prepare test)", needed.display()));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("pcscd")).unwrap();
        let conf = format!(
            "FRIENDLYNAME \"nightlatch-test\"\nDEVICENAME /dev/null\nLIBPATH {}\nCHANNELID 0x00\n",
            driver().display()
        );
        fs::write(folder.path().join("reader.conf"), conf).unwrap();
        let mut world = Self {
            folder,
            listener: listener.into(),
            pcscd: None,
            agent: None,
        };
        world.start_pcscd();
        Some(world)
    }

    /// With a card that has a key, and a running agent.
    pub(crate) fn with_agent(algorithm: &str) -> Option<Self> {
        let mut world = Self::new()?;
        world.generate(algorithm);
        world.start_agent("");
        Some(world)
    }

    /// The same, unlocked.
    pub(crate) fn unlocked(algorithm: &str) -> Option<Self> {
        let world = Self::with_agent(algorithm)?;
        world.unlock();
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pcscd_socket(&self) -> PathBuf {
        self.path("pcscd")
    }

    pub(crate) fn start_pcscd(&mut self) {
        let log = fs::File::create(self.path("pcscd.log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", PCSCD])
            .arg(peer("usr/sbin/pcscd"))
            .arg(self.path("reader.conf"))
            .env("JCECARD_STORAGE_DIR", self.path("card"))
            .stdin(Stdio::from(self.listener.try_clone().unwrap()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.pcscd = Some(child.unwrap());
    }

    pub(crate) fn kill_pcscd(&mut self) {
        kill(&mut self.pcscd);
    }

    /// Ends pcscd in order, as `systemctl restart pcscd` does, and starts it again.
    pub(crate) fn restart_pcscd(&mut self) {
        self.signal_pcscd("TERM");
        let ended = self.pcscd.as_mut().map(Child::wait);
        assert!(matches!(ended, Some(Ok(_))), "{ended:?}");
        self.start_pcscd();
    }

    /// Stops pcscd where it is (STOP), or lets it go on (CONT).
    pub(crate) fn signal_pcscd(&self, signal: &str) {
        let process = self.pcscd.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// `settings` are lines of card.conf.
    pub(crate) fn start_agent(&mut self, settings: &str) {
        let conf = format!("[card]\nnamespaces = file\n{settings}\n");
        fs::write(self.path("card.conf"), conf).unwrap();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"));
        let mut command = self.card(&["agent", "--config"]);
        command
            .arg(self.path("card.conf"))
            .arg("--socket")
            .arg(self.path("agent"));
        let state = self.path("state");
        fs::create_dir_all(&state).unwrap();
        command.env("STATE_DIRECTORY", state).env("TZ", "UTC0");
        let child = command.stdin(Stdio::null()).stderr(log.unwrap()).spawn();
        self.agent = Some(child.unwrap());
        self.wait("the agent answers", || {
            self.card(&["status"]).output().unwrap().status.success()
        });
    }

    /// Ends the agent without a chance to tidy up.
    pub(crate) fn kill_agent(&mut self) {
        kill(&mut self.agent);
    }

    pub(crate) fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// `nightlatch-card` with its control socket here.
    pub(crate) fn card(&self, words: &[&str]) -> Command {
        let (verb, rest) = words.split_first().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightlatch-card"));
        command
            .arg(verb)
            .arg("--control")
            .arg(self.path("control"))
            .args(rest);
        command.env("PCSCLITE_CSOCK_NAME", self.pcscd_socket());
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.card(words).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn status(&self, words: &[&str]) -> i32 {
        self.run(words).status.code().unwrap()
    }

    /// Unlocks with the PIN from a file.
    pub(crate) fn unlock(&self) {
        let output = self.try_unlock(PIN);
        assert!(output.status.success(), "{output:?}");
    }

    /// The card and its key as `unlock` takes them, of the card that the agent has.
    pub(crate) fn named(&self) -> [String; 4] {
        let status = String::from_utf8(self.run(&["status"]).stdout).unwrap();
        let value = |name: &str| {
            let value = status
                .lines()
                .find_map(|line| line.trim().strip_prefix(name));
            value.unwrap_or_default().trim().to_owned()
        };
        let options = ["--card", "--key"].map(str::to_owned);
        let [card, key] = options;
        [card, value("AID:"), key, value("fingerprint:")]
    }

    pub(crate) fn try_unlock(&self, pin: &str) -> Output {
        let file = self.path("pin");
        fs::write(&file, format!("{pin}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let named = self.named();
        let mut words = vec!["unlock", "--pin-file", file.to_str().unwrap()];
        words.extend(named.iter().map(String::as_str));
        let output = self.run(&words);
        fs::remove_file(file).unwrap();
        output
    }

    /// A program of OpenSSH that uses the agent.
    pub(crate) fn ssh(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", self.path("agent"));
        command.stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    /// Signs a file by `ssh-keygen -Y`.
    pub(crate) fn sign(&self, name: &str) -> Output {
        if !self.path("key.pub").exists() {
            fs::write(self.path("key.pub"), self.run(&["pubkey"]).stdout).unwrap();
        }
        fs::write(self.path(name), format!("the content of {name}")).unwrap();
        let mut command = self.ssh("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-f", "key.pub", "-n", "file", name]);
        command.output().unwrap()
    }

    /// Verifies what [`Self::sign`] has made.
    pub(crate) fn verify(&self, name: &str) {
        let key = fs::read_to_string(self.path("key.pub")).unwrap();
        fs::write(self.path("signers"), format!("me {key}")).unwrap();
        let signature = format!("{name}.sig");
        let mut command = self.ssh("ssh-keygen");
        command.args([
            "-Y", "verify", "-f", "signers", "-I", "me", "-n", "file", "-s", &signature,
        ]);
        command.stdin(fs::File::open(self.path(name)).unwrap());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits for a text in the log: the agent answers before it writes there.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait(text, || self.log().contains(text));
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until `check` is true.
    pub(crate) fn wait(&self, what: &str, check: impl Fn() -> bool) {
        let deadline = Deadline::start();
        while !check() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(!deadline.passed(), "not in time: {what}\n{log}");
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_agent();
        self.kill_pcscd();
        if thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.path("log")).unwrap_or_default()
            );
        }
    }
}

fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // One that has ended already is no error.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A stock program, as `scripts/prepare test` unpacks it.
pub(crate) fn peer(path: &str) -> PathBuf {
    let peers = std::env::var_os("NIGHTLATCH_PEERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
        PathBuf::from,
    );
    peers.join(path)
}

/// The driver of pcscd with the virtual card.
fn driver() -> PathBuf {
    peer("virtual-card/libifd_jcecard.so")
}
