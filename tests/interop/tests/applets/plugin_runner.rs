//! plugin-runner(8mandos), and what ours does beyond it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::process::{PATIENCE, RunningProgram};
use nightlatch_interop::programs::{Project, boot_client, stock_boot};
use nightlatch_interop::pty::Terminal;
use nightlatch_sys::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::fixture::{BOTH, Plugins, applet, is_root, no_plymouth};

/// Without a terminal, so that a fallback cannot succeed by typing.
fn finish(name: &str, command: &Command) -> Output {
    let mut alone = Command::new("setsid");
    alone
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args());
    RunningProgram::start(name, &mut alone).finish()
}

// "The plugins are started in parallel, and the first plugin to output a password and exit with a
// successful exit code will make this plugin-runner output the password from that plugin, stop any
// other plugins, and exit."
#[test]
fn the_first_success_wins_and_the_others_are_ended() {
    for project in BOTH {
        let plugins = Plugins::new();
        let [started, ended] = ["started", "ended"].map(|name| plugins.open(name));
        let other = format!(
            "trap 'echo > {}; exit' TERM; echo > {}; while :; do sleep 0.02; done",
            ended.display(),
            started.display()
        );
        let winner = format!(
            "while ! [ -e {} ]; do sleep 0.02; done; printf 'a b\\n\\001c'",
            started.display()
        );
        plugins
            .script("other", &other)
            .script("loser", "printf secret; exit 1")
            .script("winner", &winner);
        let output = finish("runner", &plugins.runner(project));
        assert_eq!(output.stdout, b"a b\n\x01c", "{project:?} {output:?}");
        assert!(output.status.success());
        if project == Project::Ours {
            assert!(
                ended.exists(),
                "the other was not asked to end, or not waited for"
            );
        }
    }
}

#[test]
fn a_plugin_that_does_not_want_to_end_is_killed() {
    let plugins = Plugins::new();
    let pid = plugins.open("pid");
    let stubborn = format!(
        "trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.02; done",
        pid.display()
    );
    let winner = format!(
        "while ! [ -e {} ]; do sleep 0.02; done; printf x",
        pid.display()
    );
    plugins
        .script("stubborn", &stubborn)
        .script("winner", &winner);
    let output = finish("runner", &plugins.runner(Project::Ours));
    assert_eq!(output.stdout, b"x");
    let pid = fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

// "all plugins will be started using this user ID"; options and environment as the manual has them.
#[test]
fn each_plugin_gets_its_user_options_and_environment() {
    if !is_root() {
        return;
    }
    for project in BOTH {
        let plugins = Plugins::new();
        plugins.script(
            "teller",
            "echo $(id -u) $(id -g) $(id -G) \"$*\" $A $B $MANDOSPLUGINHELPERDIR",
        );
        let mut runner = plugins.runner(project);
        runner
            .args([
                "--userid=1234",
                "--groupid",
                "1235",
                "-G",
                "A=1",
                "--global-env=B=1",
            ])
            .args([
                "-E",
                "teller:B=2",
                "-E",
                "other:A=9",
                "--global-options=--all,-x",
            ])
            .args(["-o", "teller:--one=1,two words,,", "-o", "other:--no"])
            .args(["--plugin-helper-dir", "/helpers"]);
        let output = finish("runner", &runner);
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            told,
            "1234 1235 1235 --one=1 two words   --all -x 1 2 /helpers\n"
        );
    }
}

#[test]
fn a_plugin_has_nothing_of_the_runner_open() {
    let plugins = Plugins::new();
    plugins
        .script("aaa", "exec sleep 1000")
        .link("tool", Path::new("/bin/ls"));
    let open = Command::new("/bin/ls")
        .arg("/proc/self/fd")
        .output()
        .unwrap();
    let mut runner = plugins.runner(Project::Ours);
    runner.args(["--options-for", "tool:/proc/self/fd"]);
    let output = RunningProgram::start("runner", &mut runner).finish();
    assert_eq!(output.stdout, open.stdout);
}

// The files that count as plugins; "Disable the plugin named PLUGIN", "Re-enable the plugin named PLUGIN".
#[test]
fn leftovers_and_the_disabled_are_not_run() {
    for project in BOTH {
        let plugins = Plugins::new();
        let ran = plugins.open("ran");
        for name in [
            "good",
            ".hidden",
            "#x#",
            "x~",
            "x.dpkg-new",
            "x.dpkg-old",
            "x.dpkg-bak",
            "x.dpkg-divert",
            "plain",
            "off",
            "again",
        ] {
            plugins.script(name, &format!("echo '{name}' >> {}; exit 1", ran.display()));
        }
        let plain = plugins.directory().join("plain");
        fs::set_permissions(plain, fs::Permissions::from_mode(0o644)).unwrap();
        // Theirs may miss the end of plugins that end before it looks: this one ends later.
        plugins.script("zzz", "sleep 0.3; printf x");
        let config = plugins.open("config");
        fs::write(&config, "# all\n--disable=off -d\tagain # here").unwrap();
        let mut runner = plugins.runner(project);
        runner
            .arg("--config-file")
            .arg(&config)
            .arg("--enable=again");
        finish("runner", &runner);
        let ran = fs::read_to_string(ran).unwrap();
        let mut ran: Vec<&str> = ran.lines().collect();
        ran.sort_unstable();
        assert_eq!(ran, ["again", "good"], "{project:?}");
    }
}

// "If no plugins succeed, this program will, as a fallback, ask for a password on the console".
#[test]
fn a_person_is_asked_when_no_plugin_helps() {
    let missing = || applet("plugin-runner");
    for project in BOTH {
        let plugins = Plugins::new();
        plugins.script("fails", "echo no; exit 1");
        let runner = |arguments: &[&str]| {
            let mut runner = plugins.runner(project);
            runner.args(arguments);
            runner
        };
        let nowhere = ["--plugin-dir", "/nonexistent"];
        for (arguments, status) in [
            (&[][..], 0),
            (&["--nope"], 64),
            (&["word"], 64),
            (&nowhere, 69),
        ] {
            let terminal = Terminal::new();
            let seat = terminal.start(&runner(arguments));
            terminal.wait_for("Password: ");
            assert!(!terminal.echoes());
            terminal.type_in(b"typed in\n");
            let output = seat.finish();
            assert_eq!(output.stdout, b"typed in", "{project:?} {arguments:?}");
            assert_eq!(
                output.status.code(),
                Some(status),
                "{project:?} {arguments:?}"
            );
        }
    }
    let plugins = Plugins::new();
    let config = plugins.open("config");
    fs::write(&config, "--nope").unwrap();
    let terminal = Terminal::new();
    let mut runner = missing();
    runner.arg("--config-file").arg(&config);
    let seat = terminal.start_uncontrolled(&mut runner);
    terminal.wait_for("Password: ");
    terminal.type_in(b"typed in\n");
    let output = seat.finish();
    assert_eq!(
        (&output.stdout[..], output.status.code()),
        (&b"typed in"[..], Some(78))
    );
}

#[test]
fn nobody_is_asked_where_that_is_not_wanted_or_not_possible() {
    let plugins = Plugins::new();
    plugins.script("fails", "exit 1");
    let mut runner = plugins.runner(Project::Ours);
    runner.arg("--no-fallback");
    for command in [&runner, &plugins.runner(Project::Ours)] {
        let output = finish("runner", command);
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(69), &b""[..])
        );
    }
}

#[test]
fn the_terminal_is_put_back_when_the_question_is_cut_off() {
    for signal in ["TERM", "INT", "HUP"] {
        let plugins = Plugins::new();
        plugins.script("fails", "exit 1");
        let terminal = Terminal::new();
        let seat = terminal.start(&plugins.runner(Project::Ours));
        terminal.wait_for("Password: ");
        seat.signal(signal);
        let output = seat.finish();
        assert_eq!(output.stdout, b"");
        assert!(output.status.signal().is_some(), "{signal}: {output:?}");
    }
}

// "The plugin must exit cleanly ... upon getting the TERM signal". Ours alone: theirs may end without
// its plugins.
#[test]
fn a_runner_that_is_ended_ends_its_plugins() {
    let plugins = Plugins::new();
    plugins.script("waits", "echo pid $$ >&2; exec sleep 1000");
    for signal in ["TERM", "KILL"] {
        let runner = RunningProgram::start("runner", &mut plugins.runner(Project::Ours));
        let pid = runner.wait_for("its plugin", |line| {
            Some(line.strip_prefix("pid ")?.to_owned())
        });
        let plugin = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let plugin = pidfd_open(plugin, PidfdFlags::empty()).unwrap();
        runner.signal(signal);
        let output = runner.finish();
        assert!(output.status.signal().is_some());
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let ended = poll(&mut [PollFd::new(&plugin, PollFlags::IN)], Some(&patience));
        assert_eq!(ended, Ok(1), "{signal}");
    }
}

#[test]
fn a_plugin_that_died_comes_back_and_wins() {
    let plugins = Plugins::new();
    let marks = plugins.open("marks");
    plugins.script(
        "shaky",
        &format!(
            "echo >> {0}; [ $(wc -l < {0}) -ge 3 ] && printf pw || kill -9 $$",
            marks.display()
        ),
    );
    let began = clock::now().mono;
    let output = finish("runner", &plugins.runner(Project::Ours));
    assert_eq!(output.stdout, b"pw");
    let took = clock::now().mono.since(began).as_secs_f64();
    assert!(
        (2.9..20.0).contains(&took),
        "pauses of 1 and 2 seconds: {took}"
    );
}

#[test]
fn what_everyone_can_write_to_is_not_run() {
    let plugins = Plugins::new();
    plugins.script("open", "printf x");
    let open = plugins.directory().join("open");
    fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
    let output = finish("runner", &plugins.runner(Project::Ours));
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(69), &b""[..])
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("plugin \"open\": others can write to "),
        "{said}"
    );
    plugins.script("good", "printf x");
    for (mode, status) in [(0o777, 69), (0o1777, 69), (0o775, 69), (0o755, 0)] {
        fs::set_permissions(plugins.directory(), fs::Permissions::from_mode(mode)).unwrap();
        let output = finish("runner", &plugins.runner(Project::Ours));
        assert_eq!(output.status.code(), Some(status), "{mode:o}");
    }
}

// Plugins see the password: what another user can put in the place of one is none, wherever on the way it is.
#[test]
fn what_another_user_owns_is_not_run() {
    if !is_root() {
        return;
    }
    let plugins = Plugins::new();
    plugins.script("plugin", "printf x");
    let directory = plugins.directory();
    for path in [
        directory.join("plugin"),
        directory.clone(),
        directory.join(".."),
    ] {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let output = finish("runner", &plugins.runner(Project::Ours));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains("belongs to user 65534"), "{said}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    let output = finish("runner", &plugins.runner(Project::Ours));
    assert_eq!(output.stdout, b"x");
}

/// Our applets under their runner and under ours, their plugins under ours.
#[test]
fn plugins_of_both_sides_run_under_both_runners() {
    let _screen = no_plymouth();
    for (runner, project) in [
        (Project::Ours, Project::Ours),
        (Project::Ours, Project::Stock),
        (Project::Stock, Project::Ours),
    ] {
        let plugins = Plugins::new();
        let program = match project {
            Project::Ours => boot_client(),
            Project::Stock => stock_boot("plugins.d/password-prompt"),
        };
        plugins.link("password-prompt", &program);
        let terminal = Terminal::new();
        let mut command = plugins.runner(runner);
        command.args([
            "--options-for=password-prompt:--prefix=host",
            "-E",
            "password-prompt:CRYPTTAB_NAME=root",
        ]);
        let seat = terminal.start(&command);
        terminal.wait_for("host Unlocking the disk");
        terminal.wait_for("Enter passphrase: ");
        terminal.type_in(b"by hand\n");
        let output = seat.finish();
        assert_eq!(output.stdout, b"by hand", "{project:?} under {runner:?}");
    }
}

#[test]
fn our_client_is_lowered_under_our_runner_and_its_sibling_restores_the_terminal() {
    let _screen = no_plymouth();
    if !is_root() {
        return;
    }
    let plugins = Plugins::new();
    plugins.link("mandos-client", &boot_client());
    plugins.link("password-prompt", &boot_client());
    let machine = TestMachine::new("lowered", Project::Ours, MachineKeys::Curve25519, b"x");
    let open =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(machine.key_dir(), 0o755);
    let mut options = String::from(
        "mandos-client:--interface=none,--connect=127.0.0.1:9,--network-hook-dir=/nonexistent",
    );
    for (option, file) in [
        ("seckey", "seckey.txt"),
        ("pubkey", "pubkey.txt"),
        ("tls-privkey", "tls-privkey.pem"),
        ("tls-pubkey", "tls-pubkey.pem"),
    ] {
        let file = machine.key_file(file);
        open(&file, 0o644);
        options += &format!(",--{option}={}", file.display());
    }
    let winner = plugins.open("winner");
    plugins.script(
        "winner",
        &format!(
            "while ! [ -e {} ]; do sleep 0.02; done; printf won",
            winner.display()
        ),
    );
    let terminal = Terminal::new();
    let mut command = plugins.runner(Project::Ours);
    command.args(["--options-for", &options]);
    let seat = terminal.start(&command);
    // At its first message the client has lowered itself.
    terminal.wait_for_each(&["127.0.0.1:9: ", "disk: "]);
    let runner = seat.pid();
    let children = fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap();
    let statuses = children
        .split_whitespace()
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
    let named = |status: &String| status.starts_with("Name:\tclient\n");
    let client = statuses.into_iter().find(named).unwrap();
    // NET_ADMIN, SYSLOG, SYS_RESOURCE, IPC_LOCK, SETUID, SETGID, KILL, as far as the host has them.
    assert_ne!(permitted(&client), 0);
    assert_eq!(permitted(&client) & !0x4_0100_50e0, 0, "{client}");
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "CapEff:\t0000000000000000",
    ] {
        assert!(client.contains(line), "{client}");
    }
    assert!(!terminal.echoes());
    fs::write(winner, "").unwrap();
    let output = seat.finish();
    assert_eq!(output.stdout, b"won");
}

fn permitted(status: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapPrm:\t"));
    u64::from_str_radix(line.unwrap(), 16).unwrap()
}
