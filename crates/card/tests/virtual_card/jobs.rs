//! The lines of `pubkey --for`, at a real sshd: the program that is named works, and nothing else does.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nightlatch_test_support::skipped;

use super::apdus::ED25519;
use super::sshd::has_sshd;
use super::world::{PAUSE, World};

/// A host that can be reached at a port of 127.0.0.1: an sshd for each connection, as inetd starts it.
struct Host {
    world: World,
    port: u16,
    ends: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Host {
    /// With the card unlocked, if sshd and these programs are here.
    fn new(programs: &[&str]) -> Option<Self> {
        let world = World::unlocked(ED25519)?;
        for program in programs {
            if !Path::new(program).is_file() {
                skipped(format!("needs {program} (scripts/prepare test)"));
                return None;
            }
        }
        if !has_sshd() {
            return None;
        }
        let script = world.host("jobs", "ed25519", "").transport;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let ends = Arc::clone(&ends);
            move || accept(&listener, &script, &ends)
        });
        let config = format!(
            "Host host\nHostName 127.0.0.1\nPort {port}\nUser root\nIdentityAgent {}\nStrictHostKeyChecking no\n\
             UserKnownHostsFile /dev/null\nBatchMode yes\nLogLevel ERROR\n",
            world.path("agent").display()
        );
        fs::write(world.path("ssh_config"), config).unwrap();
        Some(Self {
            world,
            port,
            ends,
            acceptor: Some(acceptor),
        })
    }

    /// Admits the card's key by the line that the program prints.
    fn admit(&self, options: &[&str]) {
        let output = self.world.run(&[&["pubkey"], options].concat());
        assert!(output.status.success(), "{output:?}");
        let has_from = options.contains(&"--from");
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(notes.contains("has no from="), !has_from, "{notes}");
        fs::write(self.world.path("authorized_keys"), output.stdout).unwrap();
    }

    fn ssh_command(&self) -> String {
        format!("ssh -F {}", self.world.path("ssh_config").display())
    }

    fn ssh(&self, words: &[&str]) -> Output {
        // A forwarding that is not refused would wait for ever.
        let mut command = Command::new("timeout");
        command
            .args(["20", "ssh", "-F"])
            .arg(self.world.path("ssh_config"));
        command.args(words).stdin(Stdio::null()).output().unwrap()
    }

    fn rsync(&self, words: &[&str]) -> Output {
        let mut command = Command::new("rsync");
        command.args(["-a", "-e", &self.ssh_command()]).args(words);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// A folder on the host with a file in it.
    fn data(&self, name: &str) -> PathBuf {
        let folder = self.world.path(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "the content").unwrap();
        folder
    }

    /// Other commands, terminals and forwarded ports are refused.
    fn is_confined(&self) {
        let mark = self.world.path("mark");
        let touch = format!("touch {}", mark.display());
        for words in [&["host", touch.as_str()][..], &["-tt", "host", &touch]] {
            let output = self.ssh(words);
            // The program that is named may end well without having done anything.
            let said = String::from_utf8_lossy(&output.stderr);
            let is_refused = said.contains("PTY allocation request failed");
            assert_eq!(is_refused, words.contains(&"-tt"), "{output:?}");
        }
        assert!(!mark.exists());
        let target = format!("127.0.0.1:{}", self.port);
        let back = format!("0:{target}");
        for (words, refusal) in [
            (&["-W", &target, "host"][..], "refused local port forward"),
            (
                &["-o", "ExitOnForwardFailure=yes", "-N", "-R", &back, "host"],
                "remote port forwarding failed",
            ),
        ] {
            let output = self.ssh(words);
            assert_eq!(output.status.code(), Some(255), "{output:?}");
            let mut said = fs::read_to_string(self.world.path("sshd.log")).unwrap();
            said.push_str(&String::from_utf8_lossy(&output.stderr));
            assert!(said.contains(refusal), "{refusal}: {output:?}");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.world.path("sshd.log"));
            eprintln!("{}", log.unwrap_or_default());
        }
    }
}

fn accept(listener: &TcpListener, script: &Path, ends: &AtomicBool) {
    let mut children: Vec<Child> = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                let input = std::os::fd::OwnedFd::from(stream.try_clone().unwrap());
                let output = std::os::fd::OwnedFd::from(stream);
                let mut command = Command::new(script);
                command
                    .stdin(Stdio::from(input))
                    .stdout(Stdio::from(output));
                children.push(command.stderr(Stdio::null()).spawn().unwrap());
            }
            Err(_) => thread::sleep(PAUSE),
        }
        children.retain_mut(|child| child.try_wait().unwrap().is_none());
    }
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn rsync_pulls_from_the_named_folder_and_does_nothing_else() {
    let Some(host) = Host::new(&["/usr/bin/rsync", "/usr/bin/rrsync"]) else {
        return;
    };
    let data = host.data("my data");
    let shown = data.to_str().unwrap();
    host.admit(&["--for", "rsync", "--path", shown, "--from", "127.0.0.0/8"]);
    let pulled = host.world.path("pulled");
    let pulled = pulled.to_str().unwrap();
    let output = host.rsync(&["host:/", &format!("{pulled}/")]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(format!("{pulled}/file")).unwrap(), b"the content");
    // What is written to the host is refused, and what is removed there.
    fs::write(host.world.path("new"), "new").unwrap();
    let new = host.world.path("new");
    for words in [
        &[new.to_str().unwrap(), "host:/"][..],
        &["--remove-source-files", "host:/file", pulled],
        &["host:/../ssh_config", pulled],
    ] {
        let refused = host.rsync(words);
        assert!(!refused.status.success(), "{words:?}: {refused:?}");
    }
    assert_eq!(files(&data).len(), 1);
    assert!(!Path::new(pulled).join("ssh_config").exists());
    host.is_confined();
    // From elsewhere the key is worth nothing.
    host.admit(&["--for", "rsync", "--path", shown, "--from", "192.0.2.7"]);
    let elsewhere = host.rsync(&["host:/", &format!("{pulled}/")]);
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(said.contains("Permission denied"), "{elsewhere:?}");
    host.admit(&["--for", "rsync", "--path", shown]);
    let anywhere = host.rsync(&["host:/", &format!("{pulled}/")]);
    assert!(anywhere.status.success(), "{anywhere:?}");
}

#[test]
fn rsnapshot_makes_its_snapshots() {
    let Some(host) = Host::new(&["/usr/bin/rsnapshot", "/usr/bin/rrsync"]) else {
        return;
    };
    let data = host.data("data");
    host.admit(&["--for", "rsnapshot", "--path", "/", "--from", "127.0.0.1"]);
    let root = host.world.path("snapshots");
    let conf = host.world.path("rsnapshot.conf");
    let lines = [
        "config_version\t1.2".to_owned(),
        format!("snapshot_root\t{}/", root.display()),
        "cmd_rsync\t/usr/bin/rsync".to_owned(),
        "cmd_ssh\t/usr/bin/ssh".to_owned(),
        format!("ssh_args\t-F {}", host.world.path("ssh_config").display()),
        "retain\tdaily\t2".to_owned(),
        format!("lockfile\t{}", host.world.path("rsnapshot.pid").display()),
        format!("backup\troot@host:{}/\thost/", data.display()),
    ];
    fs::write(&conf, lines.join("\n") + "\n").unwrap();
    for _ in 0..2 {
        let mut command = Command::new("rsnapshot");
        command.arg("-c").arg(&conf).arg("daily");
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    for snapshot in ["daily.0", "daily.1"] {
        let copy = root.join(snapshot).join("host");
        let copy = copy.join(data.strip_prefix("/").unwrap()).join("file");
        assert_eq!(
            fs::read(&copy).unwrap(),
            b"the content",
            "{}",
            copy.display()
        );
    }
    host.is_confined();
}

#[test]
fn borg_adds_and_what_it_deletes_is_still_there() {
    let Some(host) = Host::new(&["/usr/bin/borg"]) else {
        return;
    };
    let repositories = host.world.path("repositories");
    fs::create_dir(&repositories).unwrap();
    let path = repositories.to_str().unwrap();
    host.admit(&["--for", "borg", "--path", path, "--from", "127.0.0.1"]);
    let data = host.data("data");
    let rsh = host.ssh_command();
    let base = host.world.path("borg");
    let borg = |words: &[&str]| {
        let mut command = Command::new("borg");
        command.args(words).stdin(Stdio::null());
        command.env("BORG_RSH", &rsh).env("BORG_BASE_DIR", &base);
        for name in [
            "BORG_RELOCATED_REPO_ACCESS_IS_OK",
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",
        ] {
            command.env(name, "yes");
        }
        command.output().unwrap()
    };
    let well = |words: &[&str]| {
        let output = borg(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let repository = format!("ssh://host{path}/web1");
    well(&["init", "--encryption", "none", &repository]);
    well(&[
        "create",
        &format!("{repository}::monday"),
        data.to_str().unwrap(),
    ]);
    let segments = repositories.join("web1/data");
    let before = files(&segments);
    well(&[
        "create",
        &format!("{repository}::tuesday"),
        data.to_str().unwrap(),
    ]);
    well(&["delete", &format!("{repository}::monday")]);
    well(&["prune", "--keep-last", "1", &repository]);
    well(&["compact", &repository]);
    assert!(!well(&["list", "--short", &repository]).contains("monday"));
    let after = files(&segments);
    for (file, bytes) in &before {
        assert_eq!(after.get(file), Some(bytes), "{}", file.display());
    }
    // On the host itself the state before the deletion comes back (borg's manual, append-only mode).
    for file in after.keys().filter(|file| !before.contains_key(*file)) {
        fs::remove_file(file).unwrap();
    }
    for entry in fs::read_dir(repositories.join("web1")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if ["index.", "hints.", "integrity."]
            .iter()
            .any(|start| name.starts_with(start))
        {
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_dir_all(&base).unwrap();
    let local = repositories.join("web1");
    assert_eq!(
        well(&["list", "--short", local.to_str().unwrap()]),
        "monday\n"
    );
    // No repository elsewhere, and no other command.
    let elsewhere = format!("ssh://host{}/elsewhere", host.world.path("").display());
    let refused = borg(&["init", "--encryption", "none", &elsewhere]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(!host.world.path("elsewhere").exists());
    let mode = fs::metadata(&repositories).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    host.is_confined();
}
