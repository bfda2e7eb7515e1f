//! Host keys on a machine of its own: its /etc, /var/lib and /run are folders of the test, and `systemctl` is a script
//! that records what it is told.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_test_support::transcript::{Transcript, file};

/// Lays the folders of `$0` over this host's, and runs the rest there.
const LAY: &str = r#"set -e
mount --bind "$0/etc" /etc
mount --bind "$0/lib" /var/lib
mount --bind "$0/run" /run
export PATH="$0/bin:$PATH"
cd "$0"
exec "$@""#;

const KEYS: &str = "lib/nightlatch-agent/keys";
const SERVER: &str = "abababababababababababababababababababababababababababababababab";

struct Machine {
    folder: tempfile::TempDir,
    seen: Transcript,
}

impl Machine {
    /// In memory, which is no encrypted file system on any host.
    fn new() -> Option<Self> {
        if !nightlatch_test_support::is_root() {
            return None;
        }
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let machine = Self {
            folder,
            seen: Transcript::of(file(env!("CARGO_MANIFEST_DIR"), "host-keys.txt")),
        };
        for name in ["lib", "run/systemd/system", "bin"] {
            fs::create_dir_all(machine.at(name)).unwrap();
        }
        let copied = Command::new("cp")
            .args(["-a", "/etc"])
            .arg(machine.at("etc"))
            .status();
        assert!(copied.unwrap().success());
        let own = machine.at("etc/nightlatch");
        let _ = fs::remove_dir_all(&own);
        fs::create_dir(&own).unwrap();
        // So that nothing is learned.
        fs::write(own.join("network.conf"), "").unwrap();
        machine.answer_systemctl("exit 0");
        machine.container();
        Some(machine)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk that the passphrase in the file `old` opens.
    fn container(&self) {
        fs::write(self.at("old"), "old").unwrap();
        fs::File::create(self.at("disk"))
            .unwrap()
            .set_len(20 << 20)
            .unwrap();
        let made = Command::new("cryptsetup")
            .args([
                "luksFormat",
                "--batch-mode",
                "--type",
                "luks2",
                "--pbkdf",
                "pbkdf2",
            ])
            .args(["--pbkdf-force-iterations", "1000", "--key-file"])
            .args([self.at("old"), self.at("disk")])
            .status();
        assert!(made.unwrap().success());
    }

    /// From now on `systemctl` records its arguments and ends so.
    fn answer_systemctl(&self, how: &str) {
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}\n{how}\n",
            self.at("told").display()
        );
        let place = self.at("bin/systemctl");
        fs::write(&place, script).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The commands that systemctl got since the last time.
    fn told(&self) -> String {
        let told = fs::read_to_string(self.at("told")).unwrap_or_default();
        let _ = fs::remove_file(self.at("told"));
        told
    }

    fn install_agent(&self) {
        let units = self.at("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::write(units.join("nightlatch-agent.service"), "").unwrap();
    }

    /// The public half of a new admin key, in the file `alice.asc`.
    fn make_admin_key(&self) {
        let made = Command::new(ours("nightlatch"))
            .args([
                "admin-key",
                "new",
                "--no-passphrase",
                "--name",
                "alice",
                "--file",
            ])
            .arg(self.at("admin-key"))
            .output()
            .unwrap();
        assert!(made.status.success());
        fs::write(self.at("alice.asc"), made.stdout).unwrap();
    }

    /// Runs `nightlatch` with the words of `line`, and adds it to the transcript.
    fn run(&mut self, line: &str) -> Output {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", LAY])
            .arg(self.folder.path())
            .arg(ours("nightlatch"))
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The name of what is mounted at /dev/shm is this host's.
        if let Some((_, rest)) = said.split_once("not encrypted (")
            && let Some((found, _)) = rest.split_once(')')
        {
            self.seen.name(found, "FILE-SYSTEM");
        }
        self.seen.add(&format!("nightlatch {line}"), &output);
        output
    }
}

fn text(place: &Path) -> String {
    fs::read_to_string(place).unwrap()
}

#[test]
fn host_keys_and_their_agent_read_as_in_the_transcript() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let enroll = "enroll --no-ssh --name web1 --key-file old";
    machine.seen.explain("The root is not encrypted.");
    machine.run(&format!("{enroll} --server-key-id {SERVER} disk"));
    machine.run("enroll --host-key --name web1");
    assert!(!machine.at(KEYS).exists());
    machine
        .seen
        .explain("It is encrypted in another way. The agent is not installed.");
    machine.run("enroll --host-key --force --name web1 --dry-run");
    assert!(!machine.at(KEYS).exists());
    machine.run("enroll --host-key --force --name web1");
    assert_eq!(machine.told(), "");
    let list = machine.at("etc/nightlatch/agent-trusted-servers");
    assert!(text(&list).lines().any(|line| line == SERVER));
    machine.seen.explain("The agent is installed.");
    machine.install_agent();
    machine.run("enroll --host-key --name web1");
    let started = "enable nightlatch-agent.service\nrestart nightlatch-agent.service\n";
    assert_eq!(machine.told(), started);
    machine.run("rotate --host-key --force --name web1");
    assert_eq!(machine.told(), "", "it still proves the old ones");
    machine.run(&format!("{enroll} --dry-run disk"));
    machine.run(&format!("{enroll} disk"));
    assert_eq!(machine.told(), started);
    machine
        .seen
        .explain("An administrator whose named secrets it is to believe.");
    machine.make_admin_key();
    let pinned = machine.at("etc/nightlatch/admin-keys");
    let believe = "enroll --host-key --name web1 --admin-key alice.asc";
    machine.run(&format!("{believe} --dry-run"));
    assert!(!pinned.exists());
    machine.run(believe);
    let keys = text(&pinned);
    let mode = fs::metadata(&pinned).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    machine.run(&format!("{enroll} --admin-key alice.asc --dry-run disk"));
    machine.run(believe);
    assert_eq!(text(&pinned), keys, "each key stands there once");
    machine.run("enroll --host-key --name web1 --admin-key old");
    machine.told();
    machine.seen.explain("The agent cannot be started.");
    machine.answer_systemctl("echo 'Job for nightlatch-agent.service failed.' >&2; exit 1");
    machine.run("enroll --host-key --name web1");
    machine
        .seen
        .explain("A line of the boot client's list is wrong.");
    let trusted = machine.at("etc/nightlatch/keys/trusted-servers");
    let right = text(&trusted);
    fs::write(&trusted, format!("{right}abab\n")).unwrap();
    machine.run("enroll --host-key --name web1");
    machine.run(&format!("{enroll} disk"));
    fs::write(&trusted, right).unwrap();
    machine.seen.explain("The machine is given up.");
    machine.answer_systemctl("exit 0");
    machine.told();
    machine.run("unenroll --dry-run disk");
    assert_eq!(machine.told(), "");
    machine.run("unenroll disk");
    let stopped = "stop nightlatch-agent.service\ndisable nightlatch-agent.service\n";
    assert_eq!(machine.told(), stopped);
    assert_eq!(
        fs::read_dir(machine.at(KEYS)).unwrap().count(),
        2,
        "public keys of before"
    );
    machine.seen.assert();
}

/// A section of `enroll` must not keep a server from starting that knows no host keys.
#[test]
fn a_server_that_knows_no_host_keys_takes_the_section() {
    for project in [Project::Ours, Project::Stock] {
        let more = format!("host_key_id = {SERVER}\ntimeout = P1D\ninterval = PT12H\n");
        let site = Administered::start(project, &section("web1", &more));
        let listed = site.nightlatch(&["list"]);
        let said = String::from_utf8_lossy(&listed.stdout);
        assert!(said.contains("web1"), "{project:?}: {listed:?}");
    }
}
