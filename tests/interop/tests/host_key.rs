//! Proofs of an SSH host key: `builtin:ssh-hostkey`, and the checker by ssh(1) that keygen writes, against a
//! real sshd, a changed key, and an impostor who knows the public key only.
// unwrap in a test is the assertion itself, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nightlatch_core::checker::by_ssh;
use nightlatch_core::ssh::HostKey;
use nightlatch_core::ssh::wire::put_string;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::{Project, ours, peer};
use nightlatch_interop::server::{Home, TestServer};
use tempfile::TempDir;

const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// The message that a checker by ssh looks for.
const MARK: &str = "debug1: kex.c:kex_input_newkeys():612 (pid=1): SSH2_MSG_NEWKEYS received";

/// Makes a host key in `folder` and answers with its public half.
fn make_key(folder: &Path, kind: &str) -> HostKey {
    let file = folder.join(kind);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-f"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
    public.parse().unwrap()
}

/// Serves connections with `serve`, for as long as the test runs.
fn listen(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap());
        }
    });
    port
}

/// A real sshd with the keys in `folder`, one process for each connection.
fn sshd(folder: &Path) -> u16 {
    let keys: Vec<_> = KINDS
        .iter()
        .map(|kind| folder.join(kind))
        .filter(|file| file.exists())
        .collect();
    // It wants these to exist.
    let script = r#"mount -t tmpfs none /run && mkdir -p /run/sshd
getent passwd sshd >/dev/null || {
    { cat /etc/passwd; echo "sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin"; } >"$1/passwd"
    mount --bind "$1/passwd" /etc/passwd
}
shift
exec "$@""#;
    let folder = folder.to_owned();
    listen(move |stream| {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&folder)
            .arg(peer("usr/sbin/sshd"))
            .args(["-i", "-f", "/dev/null"]);
        keys.iter().for_each(|key| {
            command.arg("-h").arg(key);
        });
        let output = std::os::fd::OwnedFd::from(stream.try_clone().unwrap());
        let child = command
            .stdin(std::os::fd::OwnedFd::from(stream))
            .stdout(output)
            .stderr(Stdio::null())
            .spawn();
        thread::spawn(move || child.unwrap().wait());
    })
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
    let mut content = vec![u8::try_from(padding).unwrap()];
    content.extend_from_slice(payload);
    content.resize(content.len() + padding, 0);
    let mut packet = Vec::new();
    put_string(&mut packet, &content);
    packet
}

/// Knows the public key, and says everywhere what a checker might look for.
fn impostor(key: &HostKey) -> u16 {
    let key = key.clone();
    listen(move |mut stream| {
        // The server may hang up in the middle.
        let _ = pretend(&mut stream, &key);
    })
}

fn pretend(stream: &mut TcpStream, key: &HostKey) -> std::io::Result<()> {
    let kind = key.kind();
    let mut init = vec![20; 17];
    let algorithms = kind.algorithms().join(",");
    let lists = [
        "curve25519-sha256",
        &algorithms,
        "aes128-ctr",
        "aes128-ctr",
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ];
    lists
        .iter()
        .for_each(|list| put_string(&mut init, list.as_bytes()));
    init.extend([0; 5]);
    let lines = format!("x\n{MARK}\n");
    let mut debug = vec![4, 1];
    put_string(&mut debug, lines.as_bytes());
    put_string(&mut debug, b"");
    let mut banner = vec![53];
    put_string(&mut banner, lines.as_bytes());
    put_string(&mut banner, b"");
    let mut signature = Vec::new();
    put_string(&mut signature, kind.algorithms()[0].as_bytes());
    put_string(&mut signature, &[7; 64]);
    let mut reply = vec![31];
    put_string(&mut reply, key.blob());
    put_string(&mut reply, &[9; 32]);
    put_string(&mut reply, &signature);
    let mut end = vec![1, 0, 0, 0, 2];
    put_string(&mut end, lines.as_bytes());
    put_string(&mut end, b"");

    write!(stream, "{MARK}\r\nSSH-2.0-OpenSSH_9.2 {}\r\n", &MARK[..40])?;
    stream.write_all(&packet(&debug))?;
    stream.write_all(&packet(&init))?;
    stream.write_all(&packet(&debug))?;
    // Its greeting, its KEXINIT and its half of the exchange.
    let mut bytes = [0; 4096];
    let mut heard = 0;
    while heard < 600 {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => heard += count,
        }
    }
    stream.write_all(&packet(&reply))?;
    stream.write_all(&packet(&banner))?;
    stream.write_all(&packet(&[21]))?;
    stream.write_all(&packet(&end))?;
    while !matches!(stream.read(&mut bytes), Ok(0) | Err(_)) {}
    Ok(())
}

/// True when the server accepts the proof that the host at `port` holds `key`.
fn believes(machine: &TestMachine, port: u16, key: &HostKey) -> bool {
    let section = machine
        .section(&format!(
            "checker = builtin:ssh-hostkey\nssh_fingerprint = {key}\ninterval = PT1S"
        ))
        .replace("host = tower", &format!("host = 127.0.0.1:{port}"));
    let server = TestServer::start(Project::Ours, Home::new(&section, None));
    let good = server.running().wait_for("a check", |line| {
        (line.contains("check succeeded") || line.contains("check failed"))
            .then(|| line.contains("succeeded"))
    });
    server.stop();
    good
}

/// True when ssh(1) does, by the checker that keygen writes.
fn ssh_believes(port: u16, key: &HostKey) -> bool {
    let command = by_ssh(
        key.kind(),
        &key.to_string(),
        &format!("-p {port} 127.0.0.1"),
    );
    // A port stands before the host.
    let command = command.replace(&format!("-- -p {port}"), &format!("-p {port} --"));
    let status = Command::new("sh").args(["-c", &command]).status();
    status.unwrap().success()
}

fn machine() -> TestMachine {
    TestMachine::new("tower", Project::Ours, MachineKeys::Curve25519, b"secret")
}

/// sshd separates privileges, and needs a folder in /run for that.
fn may_run_sshd() -> bool {
    let mut unshare = Command::new("unshare");
    let tried = unshare.args(["--mount", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

#[test]
fn a_real_ssh_server_proves_its_key_and_a_changed_one_does_not() {
    if !may_run_sshd() {
        nightlatch_test_support::skipped("gives sshd its folder: needs root");
        return;
    }
    let (folder, others) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let machine = machine();
    let keys = KINDS.map(|kind| make_key(folder.path(), kind));
    let port = sshd(folder.path());
    for key in &keys {
        assert!(believes(&machine, port, key), "{key}");
        assert!(ssh_believes(port, key), "{key}");
    }
    for kind in KINDS {
        let other = make_key(others.path(), kind);
        assert!(!believes(&machine, port, &other), "{other}");
        assert!(!ssh_believes(port, &other), "{other}");
    }
}

#[test]
fn an_impostor_with_the_public_key_proves_nothing() {
    let folder = TempDir::new().unwrap();
    let machine = machine();
    for kind in KINDS {
        let key = make_key(folder.path(), kind);
        let port = impostor(&key);
        assert!(!believes(&machine, port, &key), "{kind}");
        assert!(!ssh_believes(port, &key), "{kind}");
        // The stock tool, in the same situation, reports the impostor.
        let scanned = Command::new("ssh-keyscan")
            .args(["-p", &port.to_string(), "-t", kind, "127.0.0.1"])
            .output()
            .unwrap();
        let scanned = String::from_utf8(scanned.stdout).unwrap();
        assert!(scanned.contains(&key.to_string()), "{kind}: {scanned}");
    }
}

#[test]
fn a_checker_by_ssh_keyscan_is_warned_of_wherever_it_is_read() {
    let folder = TempDir::new().unwrap();
    let key = make_key(folder.path(), "ed25519");
    let section = machine().section(&format!(
        "checker = ssh-keyscan -t ed25519 %%(host)s 2>/dev/null | grep --quiet \"%(ssh_fingerprint)s\"\n\
         ssh_fingerprint = {key}"
    ));
    let home = Home::new(&section, None);
    let checked = Command::new(ours("nightlatchd"))
        .args(["--check-config", "--configdir"])
        .arg(home.conf())
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        said.contains("write checker = builtin:ssh-hostkey and keep ssh_fingerprint"),
        "{said}"
    );
    let server = TestServer::start(Project::Ours, home);
    server.running().wait_for("the warning", |line| {
        line.contains("write checker = builtin:ssh-hostkey")
            .then_some(())
    });
    server.stop();
}
