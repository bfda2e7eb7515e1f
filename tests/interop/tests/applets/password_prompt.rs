//! The applet password-prompt, compared with password-prompt(8mandos).

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use nightlatch_interop::pty::Terminal;

use crate::fixture::{BOTH, applet, no_plymouth, plugin};

const NAME: &str = "password-prompt";

fn without_variables(mut command: Command) -> Command {
    for name in [
        "CRYPTTAB_SOURCE",
        "CRYPTTAB_NAME",
        "cryptsource",
        "crypttarget",
    ] {
        command.env_remove(name);
    }
    command
}

// "If exit status is 0, the output from the program is the password as it was read."
#[test]
fn the_line_comes_out_as_it_was_typed() {
    let _screen = no_plymouth();
    for project in BOTH {
        for (typed, password) in [
            (&b" a\tb \n"[..], &b" a\tb "[..]),
            (b"\n", b""),
            (b"\xff\xfe\n", b"\xff\xfe"),
        ] {
            let terminal = Terminal::new();
            let seat = terminal.start(&without_variables(plugin(project, NAME)));
            terminal.wait_for("Enter passphrase to unlock the disk: ");
            assert!(!terminal.echoes(), "{project:?}");
            terminal.type_in(typed);
            let output = seat.finish();
            assert_eq!(output.stdout, password, "{project:?}");
            assert!(output.status.success());
            let shown = terminal.rest();
            assert!(!shown.contains('a'), "{shown:?}");
        }
    }
}

#[test]
fn the_question_names_the_disk() {
    let _screen = no_plymouth();
    for project in BOTH {
        for (variables, arguments, question) in [
            (
                &[("CRYPTTAB_SOURCE", "/dev/x"), ("CRYPTTAB_NAME", "root")][..],
                &[][..],
                "Unlocking the disk /dev/x (root)\r\nEnter passphrase: ",
            ),
            (
                &[("cryptsource", "/dev/x"), ("crypttarget", "root")],
                &["-p", "host:"],
                "host: Unlocking the disk /dev/x (root)\r\nEnter passphrase: ",
            ),
            (
                &[("CRYPTTAB_SOURCE", "/dev/x")],
                &[],
                "Unlocking the disk /dev/x\r\nEnter passphrase: ",
            ),
            (
                &[("CRYPTTAB_NAME", "root"), ("crypttarget", "old")],
                &[],
                "Unlocking the disk (root)\r\nEnter passphrase: ",
            ),
            (
                &[("CRYPTTAB_NAME", "root")],
                &["--prompt=Say", "--prefix", "host"],
                "host Say: ",
            ),
        ] {
            let terminal = Terminal::new();
            let mut command = without_variables(plugin(project, NAME));
            command.args(arguments).envs(variables.iter().copied());
            let seat = terminal.start(&command);
            terminal.wait_for(question);
            terminal.type_in(b"x\n");
            assert_eq!(seat.finish().stdout, b"x", "{project:?}");
        }
    }
}

// Ours alone: theirs goes on waiting when the signal comes just before it reads.
#[test]
fn a_signal_puts_the_terminal_back_and_ends_it_by_that_signal() {
    let _screen = no_plymouth();
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let terminal = Terminal::new();
        let seat = terminal.start(&without_variables(applet(NAME)));
        terminal.wait_for("disk: ");
        seat.signal(signal);
        let output = seat.finish();
        let ended = (output.status.signal(), &output.stdout[..]);
        assert_eq!(ended, (Some(number), &b""[..]));
    }
}

#[test]
fn keys_that_send_signals_and_the_end_of_input_put_the_terminal_back() {
    let _screen = no_plymouth();
    for key in [&b"\x03"[..], b"\x1c", b"\x04"] {
        let terminal = Terminal::new();
        let seat = terminal.start(&without_variables(applet(NAME)));
        terminal.wait_for("disk: ");
        terminal.type_in(b"half");
        terminal.type_in(if key == b"\x04" { b"\x15\x04" } else { key });
        let output = seat.finish();
        let expected = (key == b"\x04").then_some(69);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (expected, &b""[..]),
            "{key:?}"
        );
    }
}

#[test]
fn a_stopped_question_is_asked_again() {
    let _screen = no_plymouth();
    let terminal = Terminal::new();
    let seat = terminal.start(&without_variables(applet(NAME)));
    terminal.wait_for("disk: ");
    // The process group of a session leader is orphaned, and not stopped (setpgid(2)): it asks again.
    seat.signal("TSTP");
    terminal.wait_for("disk: ");
    assert!(!terminal.echoes());
    terminal.type_in(b"x\n");
    assert_eq!(seat.finish().stdout, b"x");
}

#[test]
fn statuses_are_those_of_sysexits() {
    let _screen = no_plymouth();
    for project in BOTH {
        for (arguments, status) in [(&["--nope"][..], 64), (&["word"], 64), (&[], 69)] {
            let mut command = plugin(project, NAME);
            let output = command
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(status),
                "{project:?} {arguments:?}"
            );
        }
    }
    for question in ["--help", "-?", "--usage", "--version", "-V"] {
        let output = applet(NAME).arg(question).output().unwrap();
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{question}"
        );
    }
}
