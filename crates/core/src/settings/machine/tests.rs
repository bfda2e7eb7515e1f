use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn settings(text: &str) -> (MachineSettings, Vec<String>) {
    let parsed = parse("client.conf", text).unwrap();
    let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
    (parsed.value, warnings)
}

#[test]
fn an_empty_file_changes_nothing() {
    let empty_values =
        "[client]\nconnect =\ninterface =\nnetwork =\noptions =\ndowntime =\ninhibit =\n";
    for text in ["", "[client]\n", "# nothing\n", empty_values] {
        assert_eq!(settings(text), (MachineSettings::default(), vec![]));
    }
}

#[test]
fn every_key_is_read() {
    let text = "[client]
connect = fe80::1%eth0:4711
interface = eth0, bond0
\tvlan7
network = no
options = --retry=5
  --priority SECURE128:%PROFILE_ULTRA
downtime = PT10M
inhibit = yes
";
    let (settings, warnings) = settings(text);
    let expected = MachineSettings {
        connect: vec!["[fe80::1%eth0]:4711".parse().unwrap()],
        interfaces: vec!["eth0".into(), "bond0".into(), "vlan7".into()],
        network: false,
        options: vec![
            "--retry=5".into(),
            "--priority".into(),
            "SECURE128:%PROFILE_ULTRA".into(),
        ],
        downtime: Some(Duration::from_secs(600)),
        inhibit: true,
    };
    assert_eq!(settings, expected);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        settings.arguments(),
        [
            "--connect=[fe80::1%eth0]:4711",
            "--interface=eth0,bond0,vlan7",
            "--retry=5",
            "--priority",
            "SECURE128:%PROFILE_ULTRA",
        ]
    );
}

#[test]
fn several_servers_stand_in_one_list() {
    for list in [
        "192.0.2.1:47, fe80::1%eth0:47, home.example:47",
        "192.0.2.1:47 [fe80::1%eth0]:47\n  home.example:47",
    ] {
        let (settings, warnings) = settings(&format!("[client]\nconnect = {list}\n"));
        assert_eq!(
            settings.arguments(),
            [
                "--connect=192.0.2.1:47",
                "--connect=[fe80::1%eth0]:47",
                "--connect=home.example:47",
            ]
        );
        assert_eq!(warnings, Vec::<String>::new());
    }
    let (settings, warnings) = settings("[client]\nconnect = [::1]:47, ::1:47\n");
    assert_eq!(settings.arguments(), ["--connect=[::1]:47"]);
    assert_eq!(
        warnings,
        [
            "client.conf:2: [client] connect: \"::1:47\" names a server that stands in this list already; it is \
             connected to once"
        ]
    );
}

#[test]
fn each_bad_server_of_a_list_is_named() {
    let errors = |list: &str| -> Vec<String> {
        let errors = parse("f", &format!("[client]\nconnect = {list}\n")).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    };
    let two = errors("192.0.2.1:47, 192.0.2.2:0, [::1]:47, home");
    assert_eq!(two.len(), 2);
    assert_eq!(
        two[0],
        "f:2: [client] connect: \"192.0.2.2:0\" names no server: expected a port from 1 to 65535, found \"0\""
    );
    assert!(two[1].starts_with("f:2: [client] connect: \"home\" names no server: "));
    assert_eq!(
        errors(", ,"),
        [
            "f:2: [client] connect: expected servers as ADDRESS:PORT with commas between them, found \", ,\""
        ]
    );
}

#[test]
fn every_error_is_named_with_its_line() {
    let text = "[client]
connect = nowhere
interface = eth0 a/b
network = maybe
options = retry
downtime = soon
inhibit
";
    let errors = parse("client.conf", text).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors[..4],
        [
            "client.conf:2: [client] connect: \"nowhere\" names no server: expected ADDRESS:PORT, such as 192.0.2.7:4711 or \
             [fe80::1%eth0]:4711; found no port",
            "client.conf:3: [client] interface: expected the name of a network interface, found \"a/b\"",
            "client.conf:4: [client] network: expected 1, yes, true, on, 0, no, false or off, found \"maybe\"",
            "client.conf:5: [client] options: expected an option of the client such as --retry=5, found \"retry\"",
        ]
    );
    assert!(errors[4].starts_with("client.conf:6: [client] downtime: "));
    assert!(errors[5].starts_with("client.conf:7: [client]: "));
}

#[test]
fn what_would_begin_a_comment_in_the_image_is_refused_wherever_it_stands() {
    for (line, found) in [
        ("options = --retry=5 # slow", "#"),
        ("interface = eth0, eth#1", "eth#1"),
        ("connect = [fe80::1%eth#1]:4711", "[fe80::1%eth#1]:4711"),
    ] {
        let errors = parse("f", &format!("[client]\n{line}\n")).unwrap_err();
        let key = line.split(' ').next().unwrap();
        let expected = format!(
            "f:2: [client] {key}: expected words without '#', which would begin a comment, found {found:?}"
        );
        assert_eq!(errors[0].to_string(), expected);
    }
}

#[test]
fn unknown_keys_and_sections_are_doubted() {
    let (_, warnings) =
        settings("[DEFAULT]\nnetwork = no\n[client]\ninterfaces = x\ncolour = red\n[Client]\n");
    assert_eq!(
        warnings,
        [
            "client.conf:1: [DEFAULT]: only [client] is read in this file; this section is ignored",
            "client.conf:4: [client] interfaces: nothing uses this key; did you mean interface?",
            "client.conf:5: [client] colour: there is no such setting; it is ignored",
            "client.conf:6: [Client]: only [client] is read in this file; this section is ignored",
        ]
    );
}

#[test]
fn the_commented_sample_is_valid_and_each_key_in_it_is_known() {
    let sample = include_str!("../../../../../dist/sample/client.conf");
    assert_eq!(settings(sample), (MachineSettings::default(), vec![]));
    let uncommented = sample.replace("\n;", "\n");
    assert_eq!(settings(&uncommented).1, Vec::<String>::new());
    for key in KEYS {
        assert!(sample.contains(&format!("\n;{key} =")), "{key} is missing");
    }
}

proptest! {
    #[test]
    fn what_is_read_is_a_command_line_that_a_file_of_words_can_hold(
        start in "options = -|connect = \\[fe80::1%|connect = 192.0.2.1:1, \\[fe80::1%|interface = ",
        rest in "([a-f]|[#]|[, \u{a0}]|\\PC){0,6}(\\]:1)?",
    ) {
        if let Ok(parsed) = parse("f", &format!("[client]\n{start}{rest}\n")) {
            for word in parsed.value.arguments() {
                prop_assert!(!word.contains(char::is_whitespace) && !word.contains('#'), "{word:?}");
            }
        }
    }
}
