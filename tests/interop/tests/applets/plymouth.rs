//! plymouth(8mandos) with the real daemon of Plymouth, which has a terminal of the test's instead of a
//! screen, on a host of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{ours, peer};
use nightlatch_interop::pty::Terminal;

use crate::fixture::{applet, is_root, plymouth_runs};

/// Our programs reach each other there and nothing outside: the daemon's socket is of the network's
/// namespace. The daemon takes the serial console, which is the terminal.
const HOST_SETUP: &str = "
mount -t tmpfs none /run
mount -t overlay none -o lowerdir=\"$1\":/usr /usr
echo ttyS0 > /run/active
mount --bind /run/active /sys/class/tty/console/active
[ -e /dev/ttyS0 ] || { mount -t tmpfs none /mnt; : > /dev/ttyS0; }
mount --bind \"$2\" /dev/ttyS0
plymouthd --mode=boot --kernel-command-line=nosplash --pid-file=/run/pid
plymouth --wait show-splash
echo ready >&2
exec sleep infinity
";

struct Splash {
    running: RunningProgram,
    terminal: Terminal,
}

impl Splash {
    fn start() -> Self {
        let terminal = Terminal::new();
        let usr = peer("usr/sbin/plymouthd");
        let usr = usr
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .canonicalize()
            .unwrap();
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-euc", HOST_SETUP, "sh"])
            .arg(usr)
            .arg(terminal.name());
        let running = RunningProgram::start("plymouthd", &mut command);
        running.wait_for("that Plymouth is ready", |line| {
            (line == "ready").then_some(())
        });
        Self { running, terminal }
    }

    fn inside(&self, command: &Command) -> Command {
        let unshare = self.running.pid();
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        let shell = std::fs::read_to_string(children).unwrap();
        let mut inside = Command::new("nsenter");
        inside
            .args(["--target", shell.trim(), "--mount", "--net", "--pid", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        inside
    }

    /// Starts our applet and waits until its question is on the screen.
    fn ask(&self, question: &str) -> RunningProgram {
        let mut ask = applet("plymouth");
        ask.args(["--prompt", question]);
        let running = RunningProgram::start("plymouth", &mut self.inside(&ask));
        self.terminal.wait_for(question);
        running
    }

    fn pid(&self) -> String {
        let output = self
            .inside(Command::new("cat").arg("/run/pid"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_person_at_plymouths_screen_is_asked() {
    if !is_root() {
        return;
    }
    let _alone = plymouth_runs();
    let fixture = Splash::start();
    let running = fixture.ask("Say the word");
    fixture.terminal.type_in(b"the word\r");
    let output = running.finish();
    assert_eq!(output.stdout, b"the word", "{output:?}");
    assert!(output.status.success());

    // "If this program is killed ... it cannot tell plymouth(8) to abort": the next question goes to a new daemon, and
    // is answered.
    let before = fixture.pid();
    let running = fixture.ask("Never mind");
    let inner = running.pid();
    let child = std::fs::read_to_string(format!("/proc/{inner}/task/{inner}/children")).unwrap();
    let target = if child.trim().is_empty() {
        inner.to_string()
    } else {
        child.trim().to_owned()
    };
    let killed = Command::new("kill").arg(&target).status().unwrap();
    assert!(killed.success());
    let output = running.finish();
    assert_eq!(output.stdout, b"");
    assert!(!output.status.success() || output.status.signal().is_some());
    assert_ne!(fixture.pid(), before, "{output:?}");
    let running = fixture.ask("Once more");
    fixture.terminal.type_in(b"again\r");
    assert_eq!(running.finish().stdout, b"again");

    // password-prompt(8mandos): "If it is detected, this process will immediately exit".
    let mut prompt = fixture.inside(&applet("password-prompt"));
    assert_eq!(prompt.output().unwrap().status.code(), Some(69));
    fixture.running.kill();
}

/// Runs `story` in a host where `$impostor` is a program called plymouthd, and `as_other` runs one as another
/// user. `"$@"` is our applet.
fn play(name: &str, story: &str) -> std::process::Output {
    let program = applet(name);
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let impostor = folder.path().join("plymouthd");
    std::fs::copy(ours("impostor"), &impostor).unwrap();
    let before = "
        mount -t tmpfs none /run
        impostor=$1; shift
        as_other() { setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"; }
    ";
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-euc", &format!("{before}{story}"), "sh"])
        .arg(&impostor)
        .arg(program.get_program())
        .args(program.get_args());
    RunningProgram::start(name, &mut command).finish()
}

// The daemon's name is abstract, so that every process can take it.
#[test]
fn nobody_but_root_is_taken_for_plymouth() {
    if !is_root() {
        return;
    }
    let _alone = plymouth_runs();
    let story = "
        as_other $impostor /run/owned 2>/run/said & until grep -q ready /run/said; do sleep 0.01; done
        \"$@\" --prompt word || echo status $?
        [ ! -e /run/owned ]; ! grep told /run/said
    ";
    let output = play("plymouth", story);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.stdout, b"status 69\n", "{said}");
    assert!(output.status.success(), "it was asked, or run: {said}");
    assert!(said.contains("the user 65534 (process "), "{said}");
}

/// A daemon of root's answers; but a program that another user can change is not started again as root.
#[test]
fn a_program_that_others_can_change_is_not_started_as_root() {
    if !is_root() {
        return;
    }
    let _alone = plymouth_runs();
    let story = "
        mkdir /run/open; cp $impostor /run/open/; chmod 777 /run/open
        /run/open/plymouthd /run/first silent 2>/run/said & until grep -q ready /run/said; do sleep 0.01; done
        rm /run/first
        \"$@\" --prompt word & asker=$!
        until grep -q 'told \\*' /run/said; do sleep 0.01; done
        kill $asker; wait $asker || echo status $?
        [ ! -e /run/first ]
    ";
    let output = play("plymouth", story);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.stdout, b"status 143\n", "{said}");
    assert!(output.status.success(), "it was started again: {said}");
    assert!(said.contains("others can write to /run/open"), "{said}");
}

// password-prompt(8mandos): "If it is detected, this process will immediately exit": so nobody may pretend it.
#[test]
fn a_process_of_another_user_does_not_keep_a_person_from_being_asked() {
    if !is_root() {
        return;
    }
    let _alone = plymouth_runs();
    let story = "
        as_other $impostor /run/owned 2>/run/said & until grep -q ready /run/said; do sleep 0.01; done
        \"$@\" < /dev/null 2>&1 || true
        mkdir /run/roots; cp /bin/sleep /run/roots/plymouthd; /run/roots/plymouthd 1000 &
        until [ $(cat /proc/$!/comm) = plymouthd ]; do sleep 0.01; done
        \"$@\" < /dev/null 2>&1 || true
    ";
    let output = play("password-prompt", story);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let [first, second] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert!(first.contains("expected a terminal"), "{first}");
    assert!(second.contains("Plymouth has the screen"), "{second}");
}

#[test]
fn without_plymouth_nobody_is_asked() {
    if !is_root() {
        return;
    }
    let mut command = Command::new("unshare");
    let ask = applet("plymouth");
    command
        .arg("--net")
        .arg(ask.get_program())
        .args(ask.get_args());
    let output = RunningProgram::start("plymouth", &mut command).finish();
    assert_eq!(output.status.code(), Some(69));
    for (arguments, status) in [
        (&["--nope"][..], 64),
        (&["word"], 64),
        (&["--help"], 0),
        (&["-V"], 0),
    ] {
        let output = applet("plymouth").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}
