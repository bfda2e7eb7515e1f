//! Configuration files, what is in their way, and what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nightlatch_interop::administered::section;

use crate::fixture::{Move, errors};

fn write(fixture: &Move, path: &str, text: &str) {
    let file = fixture.from(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// A server that was configured and never started.
fn fresh() -> Move {
    let fixture = Move::new();
    write(
        &fixture,
        "etc/mandos/clients.conf",
        &section("one", "timeout = PT1H"),
    );
    fixture
}

#[test]
fn without_a_state_nothing_is_taken_over_unless_there_never_was_one() {
    let fixture = fresh();
    let said = fixture.refuse(66, &[]);
    assert!(
        said.contains("there is no state in ") && said.contains("--without-state"),
        "{said}"
    );
    let told = fixture.succeed(&["--without-state"]);
    assert!(
        told.contains("every client starts as clients.conf says"),
        "{told}"
    );

    let fixture = Move::of_stock(&section("one", "timeout = PT1H"));
    let said = fixture.refuse(69, &["--without-state"]);
    assert!(said.contains("there is a state in "), "{said}");
}

#[test]
fn a_checker_by_ssh_keyscan_becomes_a_proof_when_that_is_asked_for() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    let keyscan = format!(
        "checker = ssh-keyscan -t ed25519 %%(host)s 2>/dev/null | grep --fixed-strings --line-regexp \
         --quiet --regexp=%%(host)s\" %(ssh_fingerprint)s\"\nssh_fingerprint = {key}"
    );
    let fixture = Move::new();
    write(
        &fixture,
        "etc/mandos/clients.conf",
        &section("one", &keyscan),
    );
    let output = fixture.import(&["--without-state", "--dry-run"]);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("--ssh-hostkey lets the machine prove the key"),
        "{told}"
    );
    fixture.succeed(&["--without-state", "--ssh-hostkey"]);
    let text = fs::read_to_string(fixture.to("etc/nightlatch/clients.conf")).unwrap();
    let line = format!("\nchecker = builtin:ssh-hostkey {key}\n");
    assert!(text.contains(&line), "{text}");
}

#[test]
fn what_is_there_is_replaced_only_when_that_is_asked_for() {
    let fixture = Move::of_stock(&section("one", "timeout = PT1H"));
    fixture.succeed(&[]);
    let said = fixture.refuse(73, &[]);
    assert!(
        said.contains("clients.conf") && said.contains("--force"),
        "{said}"
    );
    let before = fs::read(fixture.to("etc/nightlatch/clients.conf")).unwrap();
    fixture.succeed(&["--force"]);
    let backup = fs::read(fixture.to("etc/nightlatch/clients.conf.~1~")).unwrap();
    assert_eq!(backup, before);
    let mode = fs::metadata(fixture.to("etc/nightlatch/clients.conf")).unwrap();
    assert_eq!(
        mode.permissions().mode() & 0o007,
        0,
        "others cannot read it"
    );
}

#[test]
fn a_state_that_is_there_is_kept_without_its_configuration_too() {
    let fixture = Move::of_stock(&section("one", "timeout = PT1H"));
    fixture.succeed(&[]);
    fs::remove_dir_all(fixture.to("etc")).unwrap();
    let output = fixture.import(&["--yes"]);
    assert_eq!(output.status.code(), Some(78), "{}", errors(&output));
    let said = errors(&output);
    assert!(
        said.contains("holds 1 clients already") && said.contains("--force"),
        "{said}"
    );
    assert!(!fixture.to("etc/nightlatch/clients.conf").exists());
}

#[test]
fn what_does_not_apply_here_is_told_and_turned_off() {
    let fixture = fresh();
    let conf = "# ours\n[DEFAULT]\nstatedir = /srv/mandos\nrestore = no\nservicename = House\n\
                priority = SECURE256:!CTYPE-X.509:+CTYPE-OPENPGP:!RSA:+SIGN-DSA-SHA256\n";
    write(&fixture, "etc/mandos/mandos.conf", conf);
    write(
        &fixture,
        "etc/default/mandos",
        "#A=1\nCONFIGDIR=/etc/mandos\nDAEMON_ARGS=\"--port 4711\"\n",
    );
    let told = fixture.succeed(&["--without-state"]);
    for line in [
        "mandos.conf:3: statedir: ",
        "mandos.conf:4: restore: ",
        "mandos.conf:6: priority: ",
        "etc/default/mandos:3: DAEMON_ARGS=--port 4711: ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("CONFIGDIR"), "{told}");
    let text = fs::read_to_string(fixture.to("etc/nightlatch/nightlatch.conf")).unwrap();
    assert!(
        text.starts_with("# ours\n[DEFAULT]\n# not taken over from Mandos: statedir"),
        "{text}"
    );
    assert!(text.contains("\nservicename = House\n"), "{text}");
}

#[test]
fn the_state_is_looked_for_where_the_file_says_it_is() {
    let fixture = Move::of_stock(&section("one", "timeout = PT1H"));
    write(
        &fixture,
        "etc/mandos/mandos.conf",
        "[DEFAULT]\nstatedir = /srv/mandos\n",
    );
    assert!(
        fixture
            .refuse(66, &[])
            .contains("srv/mandos/clients.pickle")
    );
    fs::create_dir_all(fixture.from("srv/mandos")).unwrap();
    fs::rename(fixture.pickle(), fixture.from("srv/mandos/clients.pickle")).unwrap();
    assert!(fixture.succeed(&[]).contains("one: enabled until"));
}

#[test]
fn secrets_in_files_are_put_into_the_new_file() {
    let fixture = Move::new();
    let conf = "[one]\nfingerprint =\nsecfile = /srv/%(host)s.bin\nhost = one\n";
    write(&fixture, "etc/mandos/clients.conf", conf);
    assert!(
        fixture
            .refuse(66, &["--without-state"])
            .contains("srv/one.bin")
    );
    write(&fixture, "srv/one.bin", "abc");
    let told = fixture.succeed(&["--without-state"]);
    assert!(
        told.contains("[one] secfile: its content is put into clients.conf"),
        "{told}"
    );
    let text = fs::read_to_string(fixture.to("etc/nightlatch/clients.conf")).unwrap();
    assert!(
        text.starts_with("[one]\nsecret =\n    YWJj\nfingerprint"),
        "{text}"
    );
}

#[test]
fn a_configuration_with_faults_is_refused_with_each_of_them() {
    let fixture = Move::new();
    let conf = "[one]\nsecret = YWJj\ntimeout = soon\n[two]\nsecret = !\n";
    write(&fixture, "etc/mandos/clients.conf", conf);
    let said = fixture.refuse(78, &["--without-state"]);
    assert!(said.contains("clients.conf:3: [one] timeout:"), "{said}");
    assert!(said.contains("clients.conf:5: [two] secret:"), "{said}");
}

#[test]
fn nothing_to_take_over_is_told() {
    let fixture = Move::new();
    fs::create_dir_all(fixture.from("")).unwrap();
    assert!(
        fixture
            .refuse(66, &[])
            .contains("neither a Mandos server nor a Mandos client")
    );
}
