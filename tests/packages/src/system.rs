//! A throw-away Debian system: the root file system of `scripts/guest-root` under an overlay in memory, in namespaces of
//! its own. What is done in it is gone with it, whatever way the test ends.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nightlatch_sys::clock;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{debs, output, repository, text};

/// Only a hang ever takes this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// Interval of polling where no event reports a change.
const LOOK: Duration = Duration::from_millis(50);

/// A running system. Killed on drop.
#[derive(Debug)]
pub struct TestSystem {
    nspawn: Child,
    /// Its first process.
    leader: Pid,
    root: PathBuf,
    folder: TempDir,
}

/// The kind of the first process of a system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Init {
    Systemd,
    /// No service manager at all, as in the chroot of an installer.
    None,
}

impl TestSystem {
    /// A system that systemd has started; `None`, and said so, where this user may not make one.
    pub fn booted(suite: &str) -> Option<Self> {
        let system = Self::start(suite, Init::Systemd)?;
        system.until("systemd has started everything", |system| {
            let state = system.try_run(&["systemctl", "is-system-running", "--wait"]);
            ["running", "degraded"].contains(&String::from_utf8_lossy(&state.stdout).trim())
        });
        Some(system)
    }

    /// A system in which nothing runs.
    pub fn bare(suite: &str) -> Option<Self> {
        Self::start(suite, Init::None)
    }

    fn start(suite: &str, init: Init) -> Option<Self> {
        if !nightlatch_test_support::is_root() {
            return None;
        }
        let higher = debs::higher();
        let base = text(Command::new(repository().join("scripts/guest-root")).arg(suite));
        let folder = tempfile::tempdir().unwrap();
        let console = File::create(folder.path().join("console")).unwrap();
        let mut command = Command::new("systemd-nspawn");
        command
            .args([
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--private-network",
                // For the server, which locks secrets into memory.
                "--capability=CAP_IPC_LOCK",
            ])
            // Read-only is the base, which many use at once; the overlay is not.
            .args(["--volatile=overlay", "--read-only", "--console=pipe"])
            .arg(format!("--directory={}", base.trim()))
            .arg(format!("--bind-ro={}:/debs", canonical(&debs::folder())))
            .arg(format!("--bind-ro={}:/higher", canonical(&higher)));
        match init {
            Init::Systemd => command.arg("--boot"),
            Init::None => command.args(["--as-pid2", "sleep", "infinity"]),
        };
        let mut nspawn = command
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .expect("systemd-nspawn is not here: run `scripts/prepare deb-test` first");
        let leader = leader(&mut nspawn, folder.path());
        let system = Self {
            nspawn,
            leader,
            root: format!("/proc/{}/root", leader.as_raw_nonzero()).into(),
            folder,
        };
        // Before that its root is still the host's.
        system.until("its file system is there", |system| {
            system.file("/debs").is_dir()
        });
        Some(system)
    }

    /// The place in this machine's file system of `path` in the system's.
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a command in it.
    pub fn try_run(&self, command: &[&str]) -> Output {
        output(&mut self.command(command))
    }

    /// The output of a command in it, which must succeed.
    pub fn run(&self, command: &[&str]) -> String {
        text(&mut self.command(command))
    }

    /// The output of a shell script in it, which must succeed.
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-ec", script])
    }

    /// Runs apt-get with the network of this machine, which the system itself does not have. All that it and the
    /// packages say.
    pub fn apt(&self, arguments: &[&str]) -> String {
        let mut all = vec!["apt-get", "-qy", "-oDpkg::Use-Pty=0"];
        all.extend(arguments);
        all.insert(0, "exec \"$@\" 2>&1");
        all.insert(1, "sh");
        let mut words = vec!["sh", "-c"];
        words.extend(all);
        self.run(&words)
    }

    /// Installs packages of ours, and what Debian has: all that was said.
    pub fn install(&self, packages: &[&str]) -> String {
        self.install_from("/debs", packages)
    }

    /// The same with a higher version.
    pub fn upgrade(&self, packages: &[&str]) -> String {
        self.install_from("/higher", packages)
    }

    fn install_from(&self, folder: &str, packages: &[&str]) -> String {
        self.update();
        let names = packages.iter().map(|package| {
            if debs::PACKAGES.contains(package) {
                let name = format!("{package}_");
                let files = std::fs::read_dir(self.file(folder)).unwrap().flatten();
                let names = files.map(|file| file.file_name().into_string().unwrap());
                let deb = |file: &String| file.starts_with(&name) && file.ends_with(".deb");
                format!("{folder}/{}", names.into_iter().find(deb).unwrap())
            } else {
                (*package).to_owned()
            }
        });
        let names: Vec<String> = names.collect();
        let mut arguments = vec!["install", "--no-install-recommends"];
        arguments.extend(names.iter().map(String::as_str));
        self.apt(&arguments)
    }

    /// Gets the lists of what Debian has, once.
    fn update(&self) {
        let lists = self.file("/var/lib/apt/lists");
        let files = std::fs::read_dir(lists).into_iter().flatten().flatten();
        if files.map(|file| file.file_name()).all(|name| {
            !name.to_string_lossy().ends_with("Packages")
                && !name.to_string_lossy().ends_with("Packages.lz4")
        }) {
            self.apt(&["update"]);
        }
    }

    /// Waits until `holds`.
    ///
    /// # Panics
    /// When it does not in a long time; `what` was expected.
    #[allow(clippy::disallowed_methods, reason = "a test's own clock")]
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = clock::now().mono;
        while !holds(self) {
            assert!(
                clock::now().mono.since(start) < PATIENCE,
                "in vain: {what}. The console said:\n{}\nThe server said:\n{}",
                std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default(),
                String::from_utf8_lossy(
                    &self
                        .try_run(&[
                            "journalctl",
                            "--no-pager",
                            "--unit=nightlatchd",
                            "--lines=30"
                        ])
                        .stdout
                )
            );
            sleep(LOOK);
        }
    }

    fn command(&self, words: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.leader.as_raw_nonzero()))
            .args(["--mount", "--uts", "--ipc", "--pid", "--cgroup"]);
        let apt = words.iter().any(|word| word.as_ref() == "apt-get");
        if !apt {
            command.arg("--net");
        }
        command
            .args([
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C.UTF-8",
            ])
            .arg("DEBIAN_FRONTEND=noninteractive")
            .args(words)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for TestSystem {
    fn drop(&mut self) {
        // The system's first process takes all others with it, and systemd-nspawn then cleans up.
        let _ = kill_process(self.leader, Signal::KILL);
        let _ = self.nspawn.wait();
    }
}

fn canonical(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap();
    folder.into_os_string().into_string().unwrap()
}

/// The first process of the system that this systemd-nspawn makes.
#[allow(clippy::disallowed_methods, reason = "a test's own clock")]
fn leader(nspawn: &mut Child, folder: &Path) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
    let start = clock::now().mono;
    loop {
        let list = std::fs::read_to_string(&children).unwrap_or_default();
        // While it prepares, its child is a helper that ends.
        let leader = list.split_whitespace().find_map(|pid| {
            let pid: i32 = pid.parse().ok()?;
            Path::new(&format!("/proc/{pid}/root/debs"))
                .is_dir()
                .then(|| Pid::from_raw(pid))?
        });
        if let Some(leader) = leader {
            return leader;
        }
        assert!(
            clock::now().mono.since(start) < PATIENCE && nspawn.try_wait().unwrap().is_none(),
            "no system: {}",
            std::fs::read_to_string(folder.join("console")).unwrap_or_default()
        );
        sleep(LOOK);
    }
}
