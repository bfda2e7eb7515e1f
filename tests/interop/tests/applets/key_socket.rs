//! The socket that crypttab(5) takes for a key file. A volume is played by a client that names itself
//! as systemd-cryptsetup does, since this needs no device mapper.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use nightlatch_interop::process::RunningProgram;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};

use crate::fixture::applet;

const NAME: &str = "key-socket";

/// crypttab(5): "the source socket address is set to ... NUL RANDOM /cryptsetup/ VOLUME".
fn ask(path: &Path, volume: &str) -> JoinHandle<Vec<u8>> {
    let stream = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let random = std::process::id();
    let name = format!(
        "{random:x}{:?}/cryptsetup/{volume}",
        std::thread::current().id()
    );
    bind(
        &stream,
        &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap(),
    )
    .unwrap();
    connect(&stream, &SocketAddrUnix::new(path).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut key = Vec::new();
        UnixStream::from(stream).read_to_end(&mut key).unwrap();
        key
    })
}

fn start(options: &[&str], path: &Path, client: &str) -> RunningProgram {
    let mut command = applet(NAME);
    command
        .args(["--debug", "--socket"])
        .arg(path)
        .args(options);
    command.args(["--", "sh", "-c", client]);
    let running = RunningProgram::start(NAME, &mut command);
    wait_for(&running, "waiting for volumes");
    running
}

fn wait_for(running: &RunningProgram, text: &str) {
    running.wait_for(text, |line| line.contains(text).then_some(()));
}

#[test]
fn one_fetch_serves_all_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, go) = (folder.path().join("new/key"), folder.path().join("go"));
    let client = format!(
        "echo fetching >&2; until [ -e {} ]; do sleep 0.01; done; printf 'secret\\0word\\n'",
        go.display()
    );
    let running = start(&["--keep=1"], &path, &client);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    let early = [ask(&path, "root"), ask(&path, "data")];
    wait_for(&running, "the volume \"root\" asks");
    wait_for(&running, "the volume \"data\" asks");
    std::fs::write(go, "").unwrap();
    for key in early {
        assert_eq!(key.join().unwrap(), b"secret\0word\n");
    }
    assert_eq!(ask(&path, "late").join().unwrap(), b"secret\0word\n");
    let output = running.finish();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("fetching").count(), 1);
    assert!(!said.contains("secret") && !path.exists());
}

#[test]
fn a_volume_that_is_not_named_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let running = start(
        &["--keep=0", "--volume=data", "--volume", "more"],
        &path,
        "printf x",
    );
    assert_eq!(ask(&path, "root").join().unwrap(), b"");
    assert_eq!(ask(&path, "more").join().unwrap(), b"x");
    assert!(running.finish().status.success());
}

#[test]
fn a_socket_of_systemd_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    if Command::new("systemd-socket-activate")
        .arg("--version")
        .output()
        .is_err()
    {
        nightlatch_test_support::skipped("needs systemd-socket-activate");
        return;
    }
    let program = applet(NAME);
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg("--listen")
        .arg(&path)
        .arg(program.get_program())
        .args(program.get_args());
    command.args([
        "--debug",
        "--keep=0",
        "--socket=/nonexistent/key",
        "--",
        "printf",
        "secret",
    ]);
    let running = RunningProgram::start(NAME, &mut command);
    wait_for(&running, "Listening on");
    assert_eq!(ask(&path, "data").join().unwrap(), b"secret");
    assert!(running.finish().status.success());
}

#[test]
fn failures_have_their_statuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let running = start(&[], &path, "exit 1");
    assert_eq!(running.finish().status.code(), Some(69));
    for (arguments, status) in [
        (&["--socket", "/nonexistent/a/b", "true"][..], 72),
        (&["--keep", "x"], 64),
        (&["--nope"], 64),
        (&["--help"], 0),
        (&["-V"], 0),
    ] {
        let output = applet(NAME).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    for mode in [0o777, 0o1777, 0o775] {
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut shared = applet(NAME);
        shared.arg("--socket").arg(open.join("key")).arg("true");
        assert_eq!(shared.output().unwrap().status.code(), Some(72), "{mode:o}");
    }
    let running = start(&[], &path, "exec sleep 1000");
    let output = running.terminate();
    assert!(!path.exists() && output.status.code().is_none());
}

/// Without the device mapper it ends after it has the key, which is as far as this test goes.
#[test]
fn systemd_cryptsetup_names_its_volume_and_reads_the_key() {
    let attach = Path::new("/lib/systemd/systemd-cryptsetup");
    if !attach.exists() {
        nightlatch_test_support::skipped("needs systemd-cryptsetup");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, image) = (folder.path().join("key"), folder.path().join("image"));
    let password = folder.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(20 << 20).unwrap();
    let quick = [
        "luksFormat",
        "-q",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
    ];
    let made = Command::new("cryptsetup")
        .args(quick)
        .args([&image, &password])
        .status();
    assert!(made.unwrap().success());
    let running = start(
        &["--keep=0", "--volume=nightlatch-test"],
        &path,
        "printf secret",
    );
    let mut command = Command::new(attach);
    command
        .args(["attach", "nightlatch-test"])
        .args([&image, &path]);
    let attached =
        RunningProgram::start("systemd-cryptsetup", command.arg("luks,headless=1,tries=1"));
    let output = running.finish();
    attached.finish();
    // With a device mapper the volume is open now.
    let detach = ["detach", "nightlatch-test"];
    let _ = Command::new(attach).args(detach).output();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("gave the password to the volume \"nightlatch-test\""),
        "{said}"
    );
}
