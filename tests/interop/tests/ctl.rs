//! `nightlatch ctl` beside the stock mandos-ctl, at the same server, stock and ours: the same bytes, the same exit
//! statuses, the same effect.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

use nightlatch_bus::block_on;
use nightlatch_bus::client::ClientView;
use nightlatch_core::settings::client::RUN_TIME_KEYS;
use nightlatch_interop::administered::{Administered, mandos_ctl, section};
use nightlatch_interop::both_servers;
use nightlatch_interop::programs::{Project, ours};

both_servers! {
    tables_and_json_are_the_same_bytes
    texts_beyond_ascii_are_the_same_bytes
    without_clients_nothing_fails
    usage_errors_have_the_same_exit_status
    orders_have_the_same_effect
    durations_beyond_a_month_are_no_trouble
    is_enabled_answers_what_was_before_the_other_orders
    checkers_are_started_and_stopped
    a_secret_is_set_from_a_file_or_standard_input
    removing_denies_first_and_all_means_all
    called_by_its_name_it_is_mandos_ctl
}

/// Runs both; their exit statuses must be the same. What ours and theirs said.
fn both(site: &Administered, arguments: &[&str]) -> (Output, Output) {
    let ours = site.nightlatch(&[&["ctl"], arguments].concat());
    let theirs = site.mandos_ctl(arguments);
    assert_eq!(
        ours.status.code(),
        theirs.status.code(),
        "{arguments:?}: ours: {}theirs: {}",
        String::from_utf8_lossy(&ours.stderr),
        String::from_utf8_lossy(&theirs.stderr)
    );
    (ours, theirs)
}

/// Clients that never change by themselves.
fn quiet_clients() -> String {
    let more = "enabled = no\napproval_delay = PT26H\nextended_timeout = P3D\nchecker = printf '\\t\"%%%%\\\\'";
    [
        section("foo.example", "enabled = no"),
        section("b-2", &format!("{more}\ntimeout = 1w 1s")),
        section("c_3", "enabled = no\napproved_by_default = no"),
    ]
    .concat()
}

fn tables_and_json_are_the_same_bytes(project: Project) {
    let site = Administered::start(project, &quiet_clients());
    for arguments in [
        &[][..],
        &["--verbose"],
        &["-v"],
        &["--dump-json"],
        &["-j"],
        &["b-2", "foo.example", "b-2"],
        &["-v", "c_3"],
        &["-j", "c_3", "b-2", "c_3"],
        &["--verb", "--", "b-2"],
    ] {
        let (ours, theirs) = both(&site, arguments);
        assert!(theirs.status.success(), "{arguments:?}");
        assert_eq!(
            String::from_utf8(ours.stdout).unwrap(),
            String::from_utf8(theirs.stdout).unwrap(),
            "{arguments:?}"
        );
        assert_eq!(String::from_utf8_lossy(&ours.stderr), "", "{arguments:?}");
    }
}

fn texts_beyond_ascii_are_the_same_bytes(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no"));
    let host = "bär \u{1f512}\u{7f}\t\"\\/";
    assert!(
        site.nightlatch(&["ctl", "-H", host, "foo"])
            .status
            .success()
    );
    for option in ["-v", "-j"] {
        let (ours, theirs) = both(&site, &[option]);
        let text = |output: Output| String::from_utf8(output.stdout).unwrap();
        assert_eq!(text(ours), text(theirs));
    }
    let found = String::from_utf8(site.nightlatch(&["ctl", "-v"]).stdout).unwrap();
    assert!(found.contains(host));
}

fn without_clients_nothing_fails(project: Project) {
    let site = Administered::start(project, "");
    let (ours, theirs) = both(&site, &["-j"]);
    assert_eq!(
        (&ours.stdout[..], &theirs.stdout[..]),
        (&b"{}\n"[..], &b"{}\n"[..])
    );
    both(&site, &["--enable", "--all"]);
    both(&site, &["--is-enabled", "--all"]);
    both(&site, &["--remove", "foo"]);
    // The stock tool fails here, with a trace of its program.
    let table = site.nightlatch(&["ctl"]);
    assert!(table.status.success());
    assert_eq!(
        table.stdout,
        b"Name Enabled Timeout Last Successful Check\n"
    );
}

fn usage_errors_have_the_same_exit_status(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no"));
    for line in [
        "--all",
        "--all --verbose",
        "--all --dump-json",
        "--enable",
        "--remove",
        "--is-enabled",
        "--verbose --enable foo",
        "--dump-json --enable foo",
        "--verbose --dump-json",
        "--enable --disable --all",
        "--start-checker --stop-checker foo",
        "--approve --deny foo",
        "--approve-by-default --deny-by-default foo",
        "--is-enabled foo foo",
        "--is-enabled --verbose foo",
        "--remove --enable foo",
        "--remove --approve foo",
        "--remove --is-enabled foo",
        "--remove --timeout PT5M foo",
        "--nonsense",
        "-x",
        "--app foo",
        "--d foo",
        "--timeout",
        "--timeout -5m foo",
        "--host -x foo",
        "--host -- foo",
        "--enable=yes foo",
        "--secret /nonexistent foo",
        "--version",
        "--help",
        "--check",
        "nosuch",
        "--dump-json nosuch",
        "--enable foo nosuch",
        "--is-enabled nosuch",
        "--is-enabled foo",
        "--is-enabled --enable foo",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        both(&site, &arguments);
    }
    both(&site, &[""]);
}

/// The settings of a client that a tool can change, for comparison.
fn settings(client: &ClientView) -> String {
    let lengths = [
        client.timeout,
        client.extended_timeout,
        client.interval,
        client.approval_delay,
        client.approval_duration,
    ];
    // All that `set` knows is compared here.
    assert_eq!(RUN_TIME_KEYS.len(), lengths.len() + 3);
    format!(
        "{lengths:?} {} {} {} {}",
        client.host, client.checker, client.enabled, client.approved_by_default
    )
}

fn orders_have_the_same_effect(project: Project) {
    let more = "enabled = no\nchecker = sleep 1000";
    let sections = [section("ours", more), section("theirs", more)].concat();
    let site = Administered::start(project, &sections);
    block_on(async {
        let server = site.connect().await;
        for line in [
            "--host elsewhere",
            "-H a -H b",
            "--checker exit",
            "--timeout PT7M",
            "-t 5m -H x -t 6m",
            "-i P1W",
            "--interval=1h30",
            "--extended-timeout PT1H30S",
            "--approval-delay=-5m",
            "--approval-delay -5",
            "--approval-duration 5ms",
            "--approval-duration P3W3DT4H5M6S",
            "--extended-timeout=",
            "--deny-by-default",
            "--approve-by-d",
            "--enable",
            "-d -t 1d",
            "-b",
            "-A",
            "--deny",
            "-e --checker true -b",
        ] {
            for (name, program) in [("ours", true), ("theirs", false)] {
                let mut arguments: Vec<&str> = line.split(' ').collect();
                arguments.push(name);
                let output = if program {
                    site.nightlatch(&[&["ctl"], &arguments[..]].concat())
                } else {
                    site.mandos_ctl(&arguments)
                };
                // At our server an approval is for a request that waits, and none does.
                let early = line == "-A" && project == Project::Ours;
                assert_eq!(output.status.success(), !early, "{line}: {output:?}");
                assert!(output.stdout.is_empty(), "{line}: {output:?}");
            }
            let clients = server.clients().await.unwrap();
            let of = |name: &str| clients.iter().find(|client| client.name == name).unwrap();
            let swapped = settings(of("theirs"));
            assert_eq!(settings(of("ours")), swapped, "{line}");
            let proved = |name: &str| of(name).last_checked_ok.is_some();
            assert_eq!(proved("ours"), proved("theirs"), "{line}");
        }
    });
}

fn durations_beyond_a_month_are_no_trouble(project: Project) {
    // The stock tool cannot send what has more than 31 bits of milliseconds.
    let site = Administered::start(project, &section("foo", "enabled = no"));
    let output = site.nightlatch(&["ctl", "--timeout", "P1Y2M3DT4H5M6S", "foo"]);
    assert!(output.status.success(), "{output:?}");
    let (ours, theirs) = both(&site, &[]);
    assert_eq!(ours.stdout, theirs.stdout);
    let shown = String::from_utf8(ours.stdout).unwrap();
    assert!(shown.contains(" 423T04:05:06 "), "{shown}");
}

fn is_enabled_answers_what_was_before_the_other_orders(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no"));
    for program in ["ours", "theirs"] {
        let run = |arguments: &[&str]| match program {
            "ours" => site
                .nightlatch(&[&["ctl"], arguments].concat())
                .status
                .code(),
            _ => site.mandos_ctl(arguments).status.code(),
        };
        assert_eq!(
            run(&["--enable", "--is-enabled", "foo"]),
            Some(1),
            "{program}"
        );
        assert_eq!(
            run(&["--is-enabled", "--disable", "foo"]),
            Some(0),
            "{program}"
        );
        assert_eq!(run(&["--disable", "foo"]), Some(0), "{program}");
        assert_eq!(run(&["--is-enabled", "foo"]), Some(1), "{program}");
    }
}

fn checkers_are_started_and_stopped(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no\ninterval = P1W"));
    let running = || {
        let clients = block_on(async { site.connect().await.clients().await.unwrap() });
        clients[0].checker_running
    };
    let succeeds = |arguments: &[&str]| assert!(site.nightlatch(arguments).status.success());
    succeeds(&["ctl", "--checker", "sleep 1000", "foo"]);
    succeeds(&["ctl", "--start-checker", "foo"]);
    assert!(running());
    succeeds(&["ctl", "--stop-checker", "foo"]);
    assert!(!running());
}

fn a_secret_is_set_from_a_file_or_standard_input(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\x00\xffsecret\n").unwrap();
    let mut command = Command::new(ours("nightlatch"));
    let path = file.path().to_str().unwrap();
    let output = site.run(command.args(["ctl", "--debug", "--secret", path, "foo"]));
    assert!(output.status.success(), "{output:?}");
    let debug = String::from_utf8(output.stderr).unwrap();
    assert!(
        debug.contains("'Secret', ...)") && !debug.contains("secret\\n"),
        "{debug}"
    );
    // With standard input at its end there is no secret.
    let output = site.nightlatch(&["ctl", "--secret", "-", "foo"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

fn removing_denies_first_and_all_means_all(project: Project) {
    let sections: Vec<String> = (0..300)
        .map(|n| section(&format!("m{n}"), "enabled = no"))
        .collect();
    let site = Administered::start(project, &sections.concat());
    let output = site.nightlatch(&["ctl", "--debug", "--remove", "--deny", "m7"]);
    assert!(output.status.success(), "{output:?}");
    let calls = String::from_utf8(output.stderr).unwrap();
    let (approve, remove) = (calls.find("Approve(False)"), calls.find("RemoveClient"));
    assert!(approve.is_some() && approve < remove, "{calls}");
    both(&site, &["--remove", "m7"]);
    let output = site.nightlatch(&["ctl", "--enable", "--all"]);
    assert!(output.status.success(), "{output:?}");
    let clients = block_on(async { site.connect().await.clients().await.unwrap() });
    assert_eq!(clients.len(), 299);
    assert!(clients.iter().all(|client| client.enabled));
    let output = site.nightlatch(&["ctl", "--remove", "--all"]);
    assert!(output.status.success(), "{output:?}");
    let clients = block_on(async { site.connect().await.clients().await.unwrap() });
    assert!(clients.is_empty());
}

fn called_by_its_name_it_is_mandos_ctl(project: Project) {
    let site = Administered::start(project, &section("foo", "enabled = no"));
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("mandos-ctl");
    std::os::unix::fs::symlink(ours("nightlatch"), &link).unwrap();
    let output = site.run(Command::new(&link).arg("--dump-json"));
    assert_eq!(output.stdout, site.mandos_ctl(&["--dump-json"]).stdout);
    let output = site.run(Command::new(&link).arg("--all"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn without_a_server_or_a_bus_it_fails_with_a_hint() {
    let bus = nightlatch_interop::dbus::Bus::start();
    for address in [bus.address(), "unix:path=/nonexistent".to_owned()] {
        let run = |mut command: Command| {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", &address);
            command.output().unwrap()
        };
        let mut nightlatch = Command::new(ours("nightlatch"));
        nightlatch.arg("ctl");
        let output = run(nightlatch);
        assert_eq!(output.status.code(), run(mandos_ctl()).status.code());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("\nhint: "), "{text}");
    }
}
