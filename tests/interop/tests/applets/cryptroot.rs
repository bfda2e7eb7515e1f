//! The feed of Debian's cryptroot, with the real askpass of its package cryptsetup.

use std::process::Command;
use std::time::Duration;

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::peer;
use nightlatch_interop::pty::Terminal;
use nightlatch_sys::clock;

use crate::fixture::{applet, inside, is_root};

/// A host with askpass where an initramfs has it, and without systemd, which askpass would prefer. `ask VOLUME` asks as
/// cryptroot does, at a console without input, and prints the answer.
const HOST_SETUP: &str = "
mount -t tmpfs none /run
mkdir -p /run/upper/lib/cryptsetup /run/work
cp \"$1\" /run/upper/lib/cryptsetup/
mount -t overlay none -o lowerdir=/usr,upperdir=/run/upper,workdir=/run/work /usr
rm /usr/bin/systemd-ask-password
console=$2
ask() {
    CRYPTTAB_NAME=$1 CRYPTTAB_TRIED=0 /lib/cryptsetup/askpass \"Unlock $1: \" <$console >/run/answer 2>$console
    echo \"$1 got $(cat /run/answer)\" >&2
}
shift 2
\"$@\" & feeder=$!
until [ -e /run/waits ]; do sleep 0.01; done
echo ready >&2
";

/// Runs `story` in such a host, beside a feed that has its password from `fetch`.
fn play(console: &Terminal, fetch: &str, story: &str) -> RunningProgram {
    let feed = applet("cryptroot");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-euc", &format!("{HOST_SETUP}{story}"), "sh"])
        .arg(peer("lib/cryptsetup/askpass"))
        .arg(console.name())
        .arg(feed.get_program())
        .args(feed.get_args())
        .args(["--debug", "sh", "-c", &format!("> /run/waits; {fetch}")]);
    RunningProgram::start("cryptroot", &mut command)
}

fn said<'a>(text: &'a str) -> impl FnMut(&str) -> Option<()> + 'a {
    move |line| line.contains(text).then_some(())
}

#[test]
fn every_volume_gets_the_password_once_and_a_person_keeps_the_other_tries() {
    if !is_root() {
        return;
    }
    let story = "
        ask root; ask data
        ask root & asked=$!
        until [ -e /run/typed ]; do sleep 0.01; done
        printf typed > /lib/cryptsetup/passfifo
        wait $asked; kill $feeder; wait $feeder || echo feeder $? >&2
    ";
    let console = Terminal::new();
    let running = play(&console, "printf 'secret word'", story);
    running.wait_for("the first answer", said("root got secret word"));
    running.wait_for("the second answer", said("data got secret word"));
    running.wait_for(
        "the refusal",
        said("the password was refused for the volume \"root\""),
    );
    std::fs::write(inside(&running, "run/typed"), "").unwrap();
    running.wait_for("what was typed", said("root got typed"));
    running.wait_for("its end by the signal", said("feeder 143"));
    running.kill();
}

#[test]
fn who_asks_before_there_is_a_password_is_answered_at_once_when_it_comes() {
    if !is_root() {
        return;
    }
    let console = Terminal::new();
    let running = play(
        &console,
        "until [ -e /run/answer ]; do sleep 0.01; done; sleep 0.3; echo fetched >&2; printf 'secret word'",
        "ask root",
    );
    running.wait_for("that it is fetched", said("fetched"));
    let began = clock::now().mono;
    running.wait_for("the answer", said("root got secret word"));
    assert!(
        clock::now().mono.since(began) < Duration::from_secs(2),
        "{:?}",
        clock::now().mono.since(began)
    );
    running.kill();
}

#[test]
fn a_search_that_fails_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let feed = || {
        let mut feed = applet("cryptroot");
        feed.arg("--fifo").arg(folder.path().join("fifo"));
        feed
    };
    let failed = feed().arg("false").output().unwrap();
    assert_eq!(failed.status.code(), Some(69));
    // A lock that others can hold says nothing of who feeds the FIFO.
    let lock = folder.path().join("fifo.nightlatch");
    std::fs::set_permissions(&lock, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    for end in [&["--end"][..], &["true"]] {
        let refused = feed().args(end).output().unwrap();
        assert_ne!(refused.status.code(), Some(0), "{end:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("of nobody else's use"), "{said}");
    }
    let mut nowhere = applet("cryptroot");
    nowhere.args(["--fifo", "/nonexistent/fifo", "true"]);
    assert_eq!(nowhere.output().unwrap().status.code(), Some(72));
    for (arguments, status) in [(&["--nope"][..], 64), (&["--help"], 0), (&["-V"], 0)] {
        let output = applet("cryptroot").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}
