//! The real program, run as an administrator would: in a directory of its own, with what else it
//! needs on this machine.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) use nightlatch_test_support::programs::{run, succeed};

pub(crate) const NIGHTLATCH: &str = env!("CARGO_BIN_EXE_nightlatch");

/// The peer's program at `place` (as `usr/sbin/sshd`): unpacked by `scripts/prepare test`, or installed.
pub(crate) fn peer(place: &str) -> PathBuf {
    let unpacked = std::env::var_os("NIGHTLATCH_PEERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
        PathBuf::from,
    );
    let places = [unpacked, PathBuf::from("/")].map(|root| root.join(place));
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("{place} is not here: run `scripts/prepare test` first"))
}

/// A temporary directory under /tmp: the sockets of gpg's agent have room for 107 bytes of path only.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/tmp").unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn nightlatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(NIGHTLATCH);
    command.args(arguments);
    command
}

/// Makes keys for `foo` in `place`.
pub(crate) fn keygen(place: &Path, more: &[&str]) {
    let mut arguments = vec!["keygen", "--dir", path(place), "--name", "foo"];
    arguments.extend(more);
    succeed(&mut nightlatch(&arguments), b"");
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn mode(file: &Path) -> u32 {
    fs::symlink_metadata(file).unwrap().permissions().mode() & 0o7777
}

/// One value of a section as Python's configparser reads it, which Mandos's server uses.
pub(crate) fn value(section: &str, key: &str) -> String {
    let script = "import configparser, sys\n\
                  c = configparser.ConfigParser()\n\
                  c.read_file(sys.stdin)\n\
                  sys.stdout.write(c[c.sections()[0]].get(sys.argv[1], ''))";
    let mut python = Command::new("python3");
    let read = succeed(python.args(["-c", script, key]), section.as_bytes());
    String::from_utf8(read).unwrap()
}

/// A GnuPG home; its agent ends with it.
pub(crate) struct Gnupg(tempfile::TempDir);

impl Gnupg {
    pub(crate) fn with_keys(keys: &Path) -> Self {
        let home = Self(directory());
        home.run(&["--import", path(&keys.join("seckey.txt"))], b"");
        home
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.0.path());
        gpg.args(["--batch", "--no-tty", "--status-fd", "2"]);
        let output = run(gpg.args(arguments), input);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        output
    }

    /// Opens the secret of a section, which must be signed well.
    pub(crate) fn open(&self, section: &str) -> Vec<u8> {
        let base64: String = value(section, "secret").split_whitespace().collect();
        let message = succeed(Command::new("base64").arg("-d"), base64.as_bytes());
        let output = self.run(&["--decrypt"], &message);
        assert!(stderr(&output).contains("GOODSIG"), "{}", stderr(&output));
        output.stdout
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// Runs a program on a terminal of its own: whenever it shows the first of `dialogue`'s prompts, what
/// belongs to it is typed. What it printed to standard output (not the terminal), what the terminal
/// showed, whether the terminal echoes afterwards, and the exit status (negative: the signal).
pub(crate) fn on_terminal(command: &[&str], dialogue: &[(&str, &str)]) -> Session {
    let place = directory();
    let script = r#"
import fcntl, json, os, pty, select, sys, termios
out, command, dialogue = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
# The far side stays open here, so that its settings can be read when the program is gone.
terminal, far = pty.openpty()
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(far, termios.TIOCSCTTY, 0)
    os.dup2(far, 0)
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.dup2(far, 2)
    os.execv(command[0], command)
shown, seen = b"", 0
for prompt, answer in dialogue:
    while prompt.encode() not in shown[seen:]:
        if not select.select([terminal], [], [], 60)[0]:
            os.kill(pid, 9)
            sys.exit(f"waited for {prompt!r}, was shown {shown[seen:]!r}")
        shown += os.read(terminal, 1000)
    seen = shown.index(prompt.encode(), seen) + len(prompt)
    os.write(terminal, answer.encode())
_, status = os.waitpid(pid, 0)
echo = bool(termios.tcgetattr(far)[3] & termios.ECHO)
while select.select([terminal], [], [], 0)[0]:
    shown += os.read(terminal, 1000)
print(json.dumps([os.waitstatus_to_exitcode(status), echo, shown.decode()]))
"#;
    let out = place.path().join("out");
    let command = serde_json::to_string(command).unwrap();
    let dialogue = serde_json::to_string(dialogue).unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", script, path(&out), &command, &dialogue]);
    let (status, echo, shown): (i32, bool, String) =
        serde_json::from_slice(&succeed(&mut python, b"")).unwrap();
    Session {
        status,
        echo,
        shown,
        stdout: fs::read_to_string(out).unwrap(),
    }
}

pub(crate) struct Session {
    pub(crate) status: i32,
    pub(crate) echo: bool,
    pub(crate) shown: String,
    pub(crate) stdout: String,
}

/// A LUKS container file that `old` opens.
pub(crate) fn container(place: &Path, name: &str, version: &str) -> PathBuf {
    let file = place.join(name);
    let made = fs::File::create(&file).unwrap();
    made.set_len(20 * 1024 * 1024).unwrap();
    let mut cryptsetup = Command::new("cryptsetup");
    cryptsetup.args(["luksFormat", "--batch-mode", "--type", version]);
    cryptsetup.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
    succeed(cryptsetup.arg(&file).arg("-"), b"old");
    file
}

pub(crate) fn opens(file: &Path, password: &[u8]) -> bool {
    let mut cryptsetup = Command::new("cryptsetup");
    cryptsetup.args(["open", "--test-passphrase", "--key-file", "-"]);
    run(cryptsetup.arg(file), password).status.success()
}

/// Its key slots in use.
pub(crate) fn slots(file: &Path) -> Vec<String> {
    let mut cryptsetup = Command::new("cryptsetup");
    cryptsetup.args(["luksDump", "--dump-json-metadata"]);
    let json: serde_json::Value =
        serde_json::from_slice(&succeed(cryptsetup.arg(file), b"")).unwrap();
    json["keyslots"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}
