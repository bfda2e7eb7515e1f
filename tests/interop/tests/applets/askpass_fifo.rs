//! The applet askpass-fifo, compared with askpass-fifo(8mandos).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;

use crate::fixture::{BOTH, applet, is_root, plugin};

const NAME: &str = "askpass-fifo";

fn start(fifo: &Path) -> RunningProgram {
    let mut command = applet(NAME);
    command.arg("--debug").arg("--fifo").arg(fifo);
    let running = RunningProgram::start(NAME, &mut command);
    wait_until_it_waits(&running);
    running
}

fn wait_until_it_waits(running: &RunningProgram) {
    running.wait_for("that it waits", |line| {
        line.contains("waiting for a password").then_some(())
    });
}

/// Opening waits for the reader.
fn put(fifo: &Path, bytes: &[u8]) {
    let mut writer = OpenOptions::new().write(true).open(fifo).unwrap();
    writer.write_all(bytes).unwrap();
}

// "This program reads a password from a FIFO and outputs it to standard output"; "If it does not
// exist, it will be created."
#[test]
fn what_comes_by_the_fifo_is_printed_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let running = start(&fifo);
    let made = fs::symlink_metadata(&fifo).unwrap();
    assert!(made.file_type().is_fifo());
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    put(&fifo, b"pass\0word\n");
    let output = running.finish();
    assert_eq!(output.stdout, b"pass\0word\n");
    assert!(output.status.success());
}

/// The path is fixed in theirs: both in a file system of their own.
#[test]
fn both_make_the_fifo_of_cryptsetup() {
    if !is_root() {
        return;
    }
    for project in BOTH {
        let program = plugin(project, NAME);
        let mut words: Vec<_> = vec![program.get_program()];
        words.extend(program.get_args());
        let script = "mount -t tmpfs none /run && mkdir -p /run/upper/lib/cryptsetup /run/work || exit
            mount -t overlay none -o lowerdir=/usr,upperdir=/run/upper,workdir=/run/work /usr || exit
            \"$@\" & until [ -p /lib/cryptsetup/passfifo ]; do sleep 0.02; done
            stat -c %a /lib/cryptsetup/passfifo >&2
            printf 'by fifo\\n' > /lib/cryptsetup/passfifo; wait $!";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(words);
        let output = RunningProgram::start(NAME, &mut command).finish();
        assert_eq!(output.stdout, b"by fifo\n", "{project:?} {output:?}");
        assert!(
            output.status.success() && output.stderr.ends_with(b"600"),
            "{output:?}"
        );
    }
}

#[test]
fn a_writer_without_a_password_is_not_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let running = start(&fifo);
    put(&fifo, b"");
    running.wait_from(1, "that it waits again", |line| {
        line.contains("waiting for a password").then_some(())
    });
    put(&fifo, b"x");
    assert_eq!(running.finish().stdout, b"x");
}

#[test]
fn what_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let file = folder.path().join("file");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o622)).unwrap();
    fs::write(&file, "secret").unwrap();
    for (path, status) in [(fifo, 69), (file, 69), ("/nonexistent/fifo".into(), 72)] {
        let mut command = applet(NAME);
        command.arg("--fifo").arg(path).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(status), &b""[..])
        );
    }
}

#[test]
fn statuses_are_those_of_sysexits() {
    for (arguments, status) in [
        (&["--nope"][..], 64),
        (&["word"], 64),
        (&["--help"], 0),
        (&["-V"], 0),
    ] {
        let output = plugin(Project::Ours, NAME)
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}
