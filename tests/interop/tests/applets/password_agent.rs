//! password-agent(8mandos), with the real systemd-ask-password as the one who asks.

use std::process::Command;

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::{Project, peer};

use crate::fixture::{BOTH, applet, inside, is_root};

const NAME: &str = "password-agent";

/// A host with questions of its own. `ask ID` asks and prints the answer.
const HOST_SETUP: &str = "
mount -t tmpfs none /run
mkdir -p /run/systemd/ask-password
ask() { echo \"$1 got $(systemd-ask-password --no-tty --timeout=60 --id=$1 Password)\" >&2; }
asked() { until [ $(ls /run/systemd/ask-password | grep -c ^ask) -ge ${1-1} ]; do sleep 0.01; done; }
agent=$1; shift
";

/// Runs `story` in such a host; `$agent "$@"` in it is the agent whose client is `sh -c client`.
fn play(project: Project, options: &[&str], client: &str, story: &str) -> RunningProgram {
    let program = match project {
        Project::Ours => applet(NAME),
        Project::Stock => Command::new(peer("usr/lib/dracut/modules.d/90mandos/password-agent")),
    };
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-euc", &format!("{HOST_SETUP}{story}"), "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .args(options)
        .args(["--", "/bin/sh", "-c", client]);
    RunningProgram::start(NAME, &mut command)
}

fn said<'a>(text: &'a str) -> impl FnMut(&str) -> Option<()> + 'a {
    move |line| line.contains(text).then_some(())
}

fn has_systemd() -> bool {
    let here = Command::new("systemd-ask-password")
        .arg("--version")
        .output()
        .is_ok();
    if !here {
        nightlatch_test_support::skipped("needs systemd-ask-password");
    }
    here && is_root()
}

// "as soon as a password is acquired from the MANDOS_CLIENT program, sends that password ... to all
// currently unanswered password questions"; the client's real user is nobody. (A shell becomes
// its real user at once.)
#[test]
fn all_who_ask_are_answered() {
    if !has_systemd() {
        return;
    }
    for project in BOTH {
        // The stock agent, once it has the password, leaves out who began to ask while it was starting.
        let (options, begun): (&[&str], _) = match project {
            Project::Ours => (&["--linger=0"], 1),
            Project::Stock => (&[], 3),
        };
        let client = "grep -E ^Uid /proc/self/status >&2; echo helpers $MANDOSPLUGINHELPERDIR >&2
            until [ $(ls /run/systemd/ask-password/ask.* | wc -l) = 3 ]; do sleep 0.02; done; printf 'secret word'";
        let story = format!(
            "ask a & ask b & ask c & asked {begun}; \"$agent\" \"$@\" || exit; echo agent $? >&2; wait"
        );
        let running = play(project, options, client, &story);
        running.wait_for("its client's user", said("Uid:\t65534\t"));
        running.wait_for("its helpers", said("helpers /lib/mandos/plugin-helpers"));
        for who in ["a", "b", "c"] {
            running.wait_for("an answer", said(&format!("{who} got secret word")));
        }
        if project == Project::Ours {
            running.wait_for("its good end", said("agent 0"));
        }
        running.kill();
    }
}

#[test]
fn what_is_asked_again_is_left_to_a_person() {
    if !has_systemd() {
        return;
    }
    let story = "
        ask a & first=$!; asked; \"$agent\" \"$@\" & agent=$!; wait $first
        ask b; ask a & again=$!
        until [ -e /run/typed ]; do sleep 0.01; done
        socket=$(sed -n s/^Socket=//p /run/systemd/ask-password/ask.*)
        echo typed | /lib/systemd/systemd-reply-password 1 $socket
        wait $again; kill $agent; wait $agent || echo agent $? >&2
    ";
    let running = play(Project::Ours, &[], "printf 'secret word'", story);
    running.wait_for("the first answer", said("a got secret word"));
    running.wait_for("the answer to another", said("b got secret word"));
    running.wait_for("the refusal", said("the password was refused for \"a\""));
    std::fs::write(inside(&running, "run/typed"), "").unwrap();
    running.wait_for("what was typed", said("a got typed"));
    running.wait_for("its end by the signal", said("agent 143"));
    running.kill();
}

#[test]
fn who_does_not_wait_is_not_answered() {
    if !has_systemd() {
        return;
    }
    // An asker that ended, an expired question, a file that is no question, a file of another user, a socket that is
    // none: all of them are tried before the one that is answered, and are gone afterwards.
    let story = "
        cd /run/systemd/ask-password
        ask theirs & asked; chown nobody sck.*
        printf '[Ask]\\nPID=4194000\\nSocket=/run/none\\n' > ask.gone
        printf '[Ask]\\nNotAfter=1\\nSocket=/run/none\\n' > ask.late
        printf 'hello' > ask.none
        printf '[Ask]\\nSocket=/run/none\\n' > ask.foreign; chown nobody ask.foreign
        printf '[Ask]\\nSocket=/run/none\\nId=deaf\\n' > 'ask.!deaf'
        ln -s /etc/hostname ask.link
        \"$agent\" \"$@\" & agent=$!
        ask a; rm ask.*; wait $agent; echo agent $? >&2
    ";
    let running = play(
        Project::Ours,
        &["--linger=0", "--debug"],
        "printf 'secret word'",
        story,
    );
    running.wait_for("the answer", said("a got secret word"));
    running.wait_for("its end", said("agent 0"));
    let log = running.log().join("\n");
    for line in [
        "nobody waits any more for the answer to /run/systemd/ask-password/ask.gone",
        "nobody waits any more for the answer to /run/systemd/ask-password/ask.late",
        "leaving out /run/systemd/ask-password/ask.none: expected a section [Ask]",
        "leaving out /run/systemd/ask-password/ask.foreign: expected a file of root's",
        "leaving out /run/systemd/ask-password/ask.link: expected a file of root's",
        "cannot answer the question for \"deaf\"",
        "cannot answer the question for \"theirs\": /run/systemd/ask-password/sck.",
        ": expected a socket of root's or this user's",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    running.kill();
}

#[test]
fn statuses_are_those_of_sysexits() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = applet(NAME).args(arguments).output().unwrap();
        output.status.code()
    };
    assert_eq!(run(&["-d", "/nonexistent", "true"]), Some(72));
    assert_eq!(
        run(&["-d", folder.path().to_str().unwrap(), "true"]),
        Some(69)
    );
    std::fs::write(folder.path().join("ask.x"), "[Ask]\nSocket=/x\n").unwrap();
    let directory = folder.path().to_str().unwrap();
    assert_eq!(run(&["-d", directory, "--", "false"]), Some(69));
    assert_eq!(run(&["--nope"]), Some(64));
    assert_eq!(run(&["--help"]), Some(0));
}
