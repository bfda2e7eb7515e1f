use std::time::Duration;

use super::*;

fn settings(text: &str) -> (ServerSettings, Vec<String>) {
    let parsed = parse("nightlatch.conf", text).unwrap();
    let mut settings = ServerSettings::default();
    settings.apply(parsed.value);
    let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
    (settings, warnings)
}

fn errors(text: &str) -> Vec<String> {
    let errors = parse("nightlatch.conf", text).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in ["", "[DEFAULT]\n", "# nothing\n"] {
        assert_eq!(settings(text), (ServerSettings::default(), vec![]));
    }
}

#[test]
fn every_key_is_read() {
    let text = "[DEFAULT]
interface = enp1s0
address = fe80::aede:48ff:fe71:f6f2%enp1s0
port = 1025
debug = True
debuglevel = Info
priority = SECURE128:!CTYPE-X.509:+CTYPE-RAWPK:!RSA:!VERS-ALL:+VERS-TLS1.3:%PROFILE_ULTRA
servicename = Daena
use_dbus = no
use_ipv6 = on
restore = 0
statedir = /var/lib/mandos
socket = 3
foreground = yes
zeroconf = off
concurrent_checks = 7
max_connections = 10000
max_connections_per_source = 100
alarm_command = mail -s 100% root
check_on_release = no
allow_rehearsals = yes
keep_records = 30d
";
    let (settings, warnings) = settings(text);
    let expected = ServerSettings {
        interface: Some("enp1s0".into()),
        address: Some("fe80::aede:48ff:fe71:f6f2%enp1s0".parse().unwrap()),
        port: Some(1025),
        priority: Some(
            "SECURE128:!CTYPE-X.509:+CTYPE-RAWPK:!RSA:!VERS-ALL:+VERS-TLS1.3:%PROFILE_ULTRA".into(),
        ),
        servicename: "Daena".into(),
        debug: true,
        debuglevel: Some(LogLevel::Info),
        use_dbus: false,
        use_ipv6: true,
        restore: false,
        statedir: "/var/lib/mandos".into(),
        socket: Some(3),
        foreground: true,
        zeroconf: false,
        concurrent_checks: 7,
        max_connections: 10_000,
        max_connections_per_source: 100,
        alarm_command: Some("mail -s 100% root".into()),
        check_on_release: false,
        allow_rehearsals: true,
        keep_records: Duration::from_secs(30 * 86_400),
    };
    assert_eq!(settings, expected);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_later_source_wins_and_an_empty_value_takes_back() {
    let mut settings = ServerSettings::default();
    for text in ["[DEFAULT]\nport = 1\ndebug = yes\n", "[DEFAULT]\nport =\n"] {
        settings.apply(parse("f", text).unwrap().value);
    }
    assert_eq!((settings.port, settings.debug), (None, true));
}

#[test]
fn numbers_and_booleans_are_interpolated_and_text_is_not() {
    let text = "[DEFAULT]\nbase = 10\nport = %(base)s25\nservicename = 100%%(base)s\n";
    let (settings, _) = settings(text);
    assert_eq!(settings.port, Some(1025));
    assert_eq!(settings.servicename, "100%%(base)s");
}

#[test]
fn every_error_is_named_with_its_line() {
    let text = "[DEFAULT]
port = 65536
debug = maybe
debuglevel = loud
address = example.org
use_dbus = %(nope)s
concurrent_checks = 0
statedir =
servicename =
nothing
";
    assert_eq!(
        errors(text),
        [
            "nightlatch.conf:2: [DEFAULT] port: expected a number from 0 to 65535, found \"65536\"",
            "nightlatch.conf:3: [DEFAULT] debug: expected 1, yes, true, on, 0, no, false or off, found \"maybe\"",
            "nightlatch.conf:4: [DEFAULT] debuglevel: expected critical, error, warning, info or debug, found \"loud\"",
            "nightlatch.conf:5: [DEFAULT] address: expected an IPv6 address such as fe80::1%eth0 or ::ffff:192.0.2.3, or an IPv4 address with use_ipv6 = no; found \"example.org\"",
            "nightlatch.conf:6: [DEFAULT] use_dbus: %(nope)s refers to a key that is set neither in this section nor in [DEFAULT]; write %% for a plain %",
            "nightlatch.conf:7: [DEFAULT] concurrent_checks: expected a number from 1 to 4194304, found \"0\"",
            "nightlatch.conf:8: [DEFAULT] statedir: expected a path",
            "nightlatch.conf:9: [DEFAULT] servicename: expected a name of 1 to 63 bytes without control characters, found \"\"",
            "nightlatch.conf:10: [DEFAULT]: expected \"key = value\", \"[section]\" or a comment; a line that goes on with the value above must begin with white space",
        ]
    );
}

#[test]
fn unknown_keys_and_sections_are_doubted() {
    let (_, warnings) = settings("[DEFAULT]\nservice_name = x\ncolour = red\n[server]\nport = x\n");
    assert_eq!(
        warnings,
        [
            "nightlatch.conf:2: [DEFAULT] service_name: nothing uses this key; did you mean servicename?",
            "nightlatch.conf:3: [DEFAULT] colour: there is no such setting; it is ignored",
            "nightlatch.conf:4: [server]: only [DEFAULT] is read in this file; this section is ignored",
        ]
    );
}

#[test]
fn contradictions_are_found_when_all_is_known() {
    let contradictions = |text| settings(text).0.contradictions().len();
    assert_eq!(contradictions("[DEFAULT]\nzeroconf = no\n"), 1);
    assert_eq!(contradictions("[DEFAULT]\nzeroconf = no\nport = 7\n"), 0);
    assert_eq!(contradictions("[DEFAULT]\naddress = 192.0.2.3\n"), 1);
    assert_eq!(
        contradictions("[DEFAULT]\naddress = ::1\nuse_ipv6 = no\n"),
        1
    );
    assert_eq!(contradictions("[DEFAULT]\naddress = ::ffff:192.0.2.3\n"), 0);
}

#[test]
fn addresses_survive_their_text() {
    for text in ["::1", "192.0.2.3", "fe80::1%eth0", "fe80::1%2"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["", "fe80::1%", "192.0.2.3%eth0", "fe80::1%a b", "[::1]"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn the_commented_sample_is_valid_and_each_key_in_it_is_known() {
    let sample = include_str!("../../../../../dist/sample/nightlatch.conf");
    assert_eq!(settings(sample), (ServerSettings::default(), vec![]));
    let uncommented = sample.replace("\n;", "\n");
    let (settings, warnings) = settings(&uncommented);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(settings.statedir, ServerSettings::default().statedir);
    for key in KEYS {
        assert!(sample.contains(&format!("\n;{key} =")), "{key} is missing");
    }
}
