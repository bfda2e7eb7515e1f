//! The verbs of `nightlatch` at both servers.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use nightlatch_bus::block_on;
use nightlatch_bus::client::{CheckStatus, ClientView};
use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::both_servers;
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::{Project, ours};
use nightlatch_interop::screen::TmuxScreen;

both_servers! {
    machines_are_listed_and_shown
    machines_are_enabled_and_disabled_with_care
    machines_are_removed_only_when_it_is_meant
    a_person_at_the_terminal_is_asked
    settings_are_set_all_or_none
    a_check_says_what_the_checker_says
    a_request_is_waited_for_approved_and_seen_to_be_served
    waiting_ends_with_its_time_or_its_machine
    a_decision_without_a_request_is_said_to_be_early
    shells_complete_what_is_there
    output_that_nobody_reads_is_no_trouble
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it, and it must end well.
fn succeed(site: &Administered, arguments: &[&str]) -> Output {
    let output = site.nightlatch(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// Runs it, and it must end with `status`, having said `said` on standard error.
fn refused(site: &Administered, arguments: &[&str], status: i32, said: &str) -> Output {
    let output = site.nightlatch(arguments);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {output:?}"
    );
    assert!(stderr(&output).contains(said), "{arguments:?}: {output:?}");
    output
}

fn clients(site: &Administered) -> Vec<ClientView> {
    let mut clients = block_on(async { site.connect().await.clients().await.unwrap() });
    clients.sort_by(|a, b| a.name.cmp(&b.name));
    clients
}

fn enabled(site: &Administered) -> Vec<String> {
    let clients = clients(site).into_iter().filter(|client| client.enabled);
    clients.map(|client| client.name).collect()
}

fn three(more: &str) -> String {
    ["web-1", "web-2", "db"]
        .map(|name| section(name, more))
        .concat()
}

fn machines_are_listed_and_shown(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let list = stdout(&succeed(&site, &["list"]));
    let names = list
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next());
    assert_eq!(names.collect::<Vec<_>>(), ["db", "web-1", "web-2"]);
    // Without a terminal there is no colour.
    assert!(!list.contains('\x1b'));
    let list = stdout(&succeed(
        &site,
        &["list", "web-*", "--state", "enabled", "--json"],
    ));
    assert_eq!(list, "[]\n");
    let list = stdout(&succeed(&site, &["list", "web-*", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(json[1]["name"], "web-2");
    assert_eq!(json[1]["timeout"], "PT5M");
    assert_eq!(json[1]["last_check"], serde_json::Value::Null);
    let show = stdout(&succeed(&site, &["show", "db"]));
    assert!(show.starts_with("db  disabled\n"), "{show}");
    refused(&site, &["show", "bd"], 67, "hint: did you mean db?");
    refused(&site, &["show", "web-3*"], 67, "no client fits the pattern");
    refused(&site, &["show"], 64, "required");
}

fn machines_are_enabled_and_disabled_with_care(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let said = stderr(&succeed(&site, &["enable", "db", "web-1", "db"]));
    assert!(said.contains("enabled "), "{said}");
    assert_eq!(enabled(&site), ["db", "web-1"]);
    // Several by a pattern, with nobody to ask.
    refused(&site, &["disable", "*"], 64, "add --yes to confirm");
    refused(&site, &["disable", "--all"], 64, "add --yes to confirm");
    let said = stderr(&succeed(&site, &["disable", "--all", "--dry-run"]));
    assert!(said.contains("dry run: disable "), "{said}");
    assert_eq!(enabled(&site), ["db", "web-1"]);
    // A pattern that fits one is no surprise, and one that is no client stops all.
    succeed(&site, &["disable", "d*"]);
    refused(
        &site,
        &["disable", "web-1", "nosuch"],
        67,
        "no client is called",
    );
    assert_eq!(enabled(&site), ["web-1"]);
    let told = stdout(&succeed(&site, &["disable", "web-*", "--yes", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(
        json.as_array()
            .unwrap()
            .iter()
            .all(|line| line["done"] == true)
    );
    assert_eq!(enabled(&site), [] as [String; 0]);
}

fn machines_are_removed_only_when_it_is_meant(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    refused(&site, &["remove", "db"], 64, "this would remove db");
    succeed(&site, &["remove", "--dry-run", "--all"]);
    assert_eq!(clients(&site).len(), 3);
    succeed(&site, &["remove", "db", "--yes"]);
    succeed(&site, &["remove", "-y", "web-?"]);
    assert!(clients(&site).is_empty());
    refused(&site, &["remove", "--all", "--yes"], 67, "no clients");
    assert_eq!(stdout(&succeed(&site, &["list", "--json"])), "[]\n");
}

fn a_person_at_the_terminal_is_asked(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let on_terminal = |line: &str, answer: &str| {
        let mut script = Command::new("script");
        let nightlatch = ours("nightlatch");
        script.args(["--quiet", "--return", "--log-out", "/dev/null"]);
        script
            .arg("--command")
            .arg(format!("{} {line}", nightlatch.display()));
        let mut child = site
            .on_bus(&mut script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut terminal = child.stdin.take().unwrap();
        terminal.write_all(answer.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = on_terminal("remove db", "n\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stdout(&output).contains("Remove db? [y/N]"), "{output:?}");
    assert_eq!(clients(&site).len(), 3);
    let output = on_terminal("remove 'web-*'", "yes\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(clients(&site).len(), 1);
    // Colour is for terminals, and for those who like it.
    assert!(stdout(&on_terminal("list", "")).contains("\x1b[2mdisabled\x1b[0m"));
}

fn settings_are_set_all_or_none(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\x00\xff").unwrap();
    let secret = format!("secret=@{}", file.path().display());
    let settings = [
        "set",
        "db",
        "timeout=10m",
        "extended-timeout=PT20M",
        "interval=1m 30s",
        "host=a=b",
        "checker=ping %(host)s",
        "approval_delay=30s",
        "approval_duration=5s",
        "approved_by_default=no",
        &secret,
    ];
    succeed(&site, &settings);
    let db = clients(&site).remove(0);
    let lengths = [
        db.timeout,
        db.extended_timeout,
        db.interval,
        db.approval_delay,
    ];
    assert_eq!(lengths.map(|length| length.as_secs()), [600, 1200, 90, 30]);
    assert_eq!(
        (db.host.as_str(), db.checker.as_str()),
        ("a=b", "ping %(host)s")
    );
    assert!(!db.approved_by_default);
    for (setting, said) in [
        ("timout=1m", "did you mean timeout?"),
        ("timeout=10", "expected a duration"),
        ("interval=0s", "expected at least PT1S"),
        ("checker=%(hots)s", "%(host)s"),
        ("approved_by_default=maybe", "expected 1, yes"),
        ("secret=YWJj", "expected a file"),
        ("enabled=no", "nightlatch disable"),
    ] {
        refused(&site, &["set", "db", "host=changed", setting], 64, said);
    }
    refused(
        &site,
        &["set", "db", "secret=@/nonexistent"],
        66,
        "cannot read /nonexistent",
    );
    assert_eq!(clients(&site).remove(0), db);
    refused(&site, &["set", "web-*", "timeout=9m"], 64, "--yes");
    let said = stderr(&succeed(&site, &["set", "web-*", "timeout=1m", "--yes"]));
    assert!(said.contains("disabled between two checks"), "{said}");
    assert!(
        clients(&site)[1..]
            .iter()
            .all(|client| client.timeout.as_secs() == 60)
    );
}

fn a_check_says_what_the_checker_says(project: Project) {
    let sections = [
        section("good", "enabled = no"),
        section("bad", "enabled = no\nchecker = exit 3"),
        section("killed", "enabled = no\nchecker = kill -9 $$"),
    ];
    let site = Administered::start(project, &sections.concat());
    assert_eq!(
        stdout(&succeed(&site, &["check-now", "good"])),
        "good: alive\n"
    );
    let output = refused(&site, &["check-now", "good", "bad", "killed"], 1, "");
    let said = stdout(&output);
    assert!(
        said.contains("bad: no proof of life (exit status 3): exit 3\n"),
        "{said}"
    );
    assert!(
        said.contains("killed: no proof of life (killed by signal 9)"),
        "{said}"
    );
    let json = stdout(&refused(&site, &["check-now", "--json", "bad"], 1, ""));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json[0]["alive"], &json[0]["exit_status"]),
        (&false.into(), &3.into())
    );
    succeed(&site, &["set", "good", "checker=sleep 1000"]);
    succeed(&site, &["check-now", "--no-wait", "good"]);
    let good = clients(&site).remove(1);
    assert!(good.checker_running, "{good:?}");
    assert_eq!(good.last_check, CheckStatus::Exited(0));
}

fn a_request_is_waited_for_approved_and_seen_to_be_served(project: Project) {
    let machine = TestMachine::new("foo", Project::Ours, MachineKeys::Curve25519, b"a password");
    // Long enough for a busy machine: it counts from the decision on.
    let more = "approval_delay = PT5M\napproval_duration = PT5M\napproved_by_default = no\n\
        checker = true\n";
    let site = Administered::start(project, &machine.section(more));
    let released = site.start_nightlatch(&["wait", "foo", "--until", "released", "-t", "5m"]);
    // From then on it receives signals.
    let listens = |line: &str| line.contains("waiting until foo").then_some(());
    released.wait_for("that it waits", listens);
    let waiting = site.start_nightlatch(&["wait", "foo", "-u", "waiting", "--timeout=5m"]);
    let boot = client::start(Project::Ours, &machine, &site.server.address());
    let output = waiting.finish();
    assert!(output.status.success(), "{output:?}");
    let why = stdout(&succeed(&site, &["why", "foo"]));
    // Our server also says which request it is.
    let told = match project {
        Project::Ours => "foo has a pending request: ",
        Project::Stock => "foo has a pending request.",
    };
    assert!(why.starts_with(told), "{why}");
    let list = stdout(&succeed(&site, &["list", "--state", "waiting"]));
    assert!(list.contains("foo   waiting"), "{list}");
    succeed(&site, &["approve", "foo"]);
    let output = released.finish();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(boot.finish().stdout, b"a password");
}

fn waiting_ends_with_its_time_or_its_machine(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let wait = ["wait", "db", "--until", "enabled", "--timeout", "0s"];
    refused(&site, &wait, 75, "db was not enabled within 0 s");
    refused(
        &site,
        &["wait", "bd", "--until", "enabled"],
        67,
        "did you mean db?",
    );
    succeed(&site, &["wait", "db", "--until", "disabled"]);
    let waits = site.start_nightlatch(&["wait", "db", "--until", "enabled"]);
    let listens = |line: &str| line.contains("waiting until db is enabled").then_some(());
    waits.wait_for("that it waits", listens);
    succeed(&site, &["remove", "db", "--yes"]);
    assert_eq!(waits.finish().status.code(), Some(67));
}

fn a_decision_without_a_request_is_said_to_be_early(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let said = stderr(&succeed(&site, &["deny", "db"]));
    assert!(said.contains("db has no request that waits"), "{said}");
    assert!(said.contains("within PT1S"), "{said}");
    if project == Project::Ours {
        // It cannot be given ahead; but a denial that counts is taken back.
        succeed(&site, &["set", "db", "approval_duration=10m"]);
        succeed(&site, &["deny", "db"]);
        succeed(&site, &["approve", "db"]);
        refused(
            &site,
            &["approve", "db"],
            75,
            "no request of db for its boot secret waits",
        );
    }
    // A pattern selects its clients when the command runs.
    let said = stderr(&succeed(&site, &["approve", "--all"]));
    assert!(said.contains("no request waits"), "{said}");
}

#[test]
fn a_server_that_hangs_keeps_nobody_waiting() {
    let site = Administered::start(Project::Ours, &three("enabled = no"));
    site.server.running().signal("STOP");
    let said = "the server did not answer within 60 seconds";
    refused(&site, &["enable", "db"], 69, said);
    site.server.running().signal("CONT");
    succeed(&site, &["enable", "db"]);
}

#[test]
fn what_a_stock_server_lacks_is_said() {
    let site = Administered::start(Project::Stock, &three("enabled = no"));
    for arguments in [&["log"][..], &["log", "--follow"], &["log", "--verify"]] {
        refused(
            &site,
            arguments,
            69,
            "this server keeps no audit log: it is a Mandos server",
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new");
    std::fs::write(&file, section("new", "")).unwrap();
    let said = "append the section to /etc/mandos/clients.conf";
    refused(&site, &["add", file.to_str().unwrap()], 69, said);
    let why = stdout(&succeed(&site, &["why", "db"]));
    assert!(
        why.contains("never enabled") && why.contains("nightlatch enable db."),
        "{why}"
    );
    refused(
        &site,
        &["log", "--since", "yesterday"],
        64,
        "expected a length of time",
    );
}

fn shells_complete_what_is_there(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let complete = |words: &[&str]| {
        let arguments = [&["complete", "--", "nightlatch"], words].concat();
        stdout(&succeed(&site, &arguments))
    };
    let names = complete(&["show", "web"]);
    let mut names: Vec<&str> = names.lines().collect();
    names.sort();
    assert_eq!(names, ["web-1", "web-2"]);
    assert_eq!(complete(&["set", "db", "tim"]), "timeout=\n");
    assert_eq!(complete(&["lis"]), "list\n");
}

#[test]
fn three_shells_complete_names_of_machines_and_settings() {
    let site = Administered::start(Project::Stock, &three("enabled = no"));
    let program = ours("nightlatch");
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    for (shell, options, prepare) in [
        (
            "bash",
            &["--norc", "-i"][..],
            "eval \"$(nightlatch completions bash)\"",
        ),
        (
            "zsh",
            &["-f", "-i"],
            "autoload -Uz compinit; compinit -u -D; eval \"$(nightlatch completions zsh)\"",
        ),
        (
            "fish",
            &["--no-config"],
            "nightlatch completions fish | source",
        ),
    ] {
        let mut command = Command::new(shell);
        command
            .args(options)
            .env("PATH", &path)
            .env("LC_ALL", "C.UTF-8");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", site.bus.address());
        // Files that a shell writes at its first start stay here.
        let home = tempfile::tempdir().unwrap();
        command.env("HOME", home.path());
        let screen = TmuxScreen::start(&command, 100, 24);
        // A shell that is not ready yet would lose what is typed. What it prints is not what was typed.
        screen.type_text("echo is''-ready");
        screen.press(&["Enter"]);
        screen.wait_for_text("is-ready");
        screen.type_text(prepare);
        screen.press(&["Enter"]);
        screen.type_text("nightlatch enable d");
        screen.press(&["Tab"]);
        screen.wait_for_text("nightlatch enable db");
        screen.press(&["C-u"]);
        screen.type_text("nightlatch set db tim");
        screen.press(&["Tab"]);
        screen.wait_for_text("nightlatch set db timeout=");
    }
}

fn output_that_nobody_reads_is_no_trouble(project: Project) {
    let site = Administered::start(project, &three("enabled = no"));
    let script = "\"$1\" list | true; echo ${PIPESTATUS[0]}";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]);
    bash.arg(ours("nightlatch"));
    let output = site.run(&mut bash);
    assert_eq!(stderr(&output), "");
    assert!(
        ["0\n", "141\n"].contains(&stdout(&output).as_str()),
        "{output:?}"
    );
}

#[test]
fn the_servers_own_program_checks_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(folder.path().join("clients.conf")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let check = |program: &std::path::Path| {
        let mut command = Command::new(program);
        command.arg("check-config").arg(folder.path());
        command.env("PATH", "/nonexistent").output().unwrap()
    };
    write(&section("foo", ""));
    let output = check(&ours("nightlatch"));
    assert!(output.status.success(), "{output:?}");
    assert!(
        stdout(&output).contains("clients: 1, of which 1 start enabled"),
        "{output:?}"
    );
    write(&section("foo", "timeout = 10"));
    let output = check(&ours("nightlatch"));
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(
        stderr(&output).contains("clients.conf:7: [foo] timeout: expected a duration"),
        "{output:?}"
    );
    // Away from the server's program, there is none.
    let alone = folder.path().join("nightlatch");
    std::fs::copy(ours("nightlatch"), &alone).unwrap();
    let output = check(&alone);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(
        stderr(&output).contains("nightlatchd is not installed on this host"),
        "{output:?}"
    );
}

#[test]
fn who_is_not_allowed_is_told_who_is() {
    let bus =
        Bus::strict("<policy context=\"mandatory\"><allow own=\"se.recompile.Mandos\"/></policy>");
    block_on(async {
        let owner = zbus::connection::Builder::address(bus.address().as_str());
        let _owner = owner.name("se.recompile.Mandos").build().await.unwrap();
        let mut list = Command::new(ours("nightlatch"));
        list.arg("list")
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
        let output = list.output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        assert!(
            stderr(&output).contains(
                "hint: run it as root; a server of Mandos also lets members of the group _mandos in"
            ),
            "{output:?}"
        );
    });
}
