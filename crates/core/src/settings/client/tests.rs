use std::time::Duration;

use super::*;
use crate::settings::Parsed;
use proptest::prelude::*;

const KEY_ID: &str = "788cd77115cd0bb7b2d5e0ae8496f6b48149d5e712c652076b1fd2d957ef7c1f";

fn read(files: &[(&str, &str)]) -> Result<Parsed<Vec<ParsedClient>>, Vec<String>> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.replace("KEY_ID", KEY_ID)))
        .collect();
    parse(&files).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn one(text: &str) -> ParsedClient {
    read(&[("clients.conf", text)]).unwrap().value.remove(0)
}

fn errors(text: &str) -> Vec<String> {
    read(&[("clients.conf", text)]).unwrap_err()
}

fn warnings(text: &str) -> Vec<String> {
    let parsed = read(&[("clients.conf", text)]).unwrap();
    parsed.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_section_with_only_a_key_and_a_secret_has_the_defaults_of_mandos() {
    let client = one("[foo]\nkey_id = KEY_ID\nsecret = YWJj\n");
    let expected = ClientSettings {
        key_id: Some(KEY_ID.parse().unwrap()),
        ..ClientSettings::default()
    };
    assert_eq!(client.name.as_str(), "foo");
    assert_eq!(client.settings, expected);
    assert_eq!(
        client.secret,
        SecretSource::Inline(Secret::new(b"abc".to_vec()))
    );
    assert_eq!(client.origin.to_string(), "clients.conf:1");
}

#[test]
fn every_key_is_read() {
    let client = one("[DEFAULT]
domain = example.org
timeout = PT10M
[foo]
key_id = 788CD771 15CD0BB7 B2D5E0AE 8496F6B4 8149D5E7 12C65207 6B1FD2D9 57EF7C1F
fingerprint =  7788 2722 5BA7 DE53 9C5A  7CFA 59CF F7CD BD9A 5920
host = foo.%(Domain)s
checker = ping %%(host)s 100%%%% %(domain)s
extended_timeout = 1h
interval = PT1M
approval_delay = PT30S
approval_duration = PT2S
approved_by_default = No
enabled = 0
secfile = $CREDENTIALS/foo
");
    let settings = client.settings;
    assert_eq!(settings.key_id, Some(KEY_ID.parse().unwrap()));
    assert!(settings.fingerprint.is_some());
    assert_eq!(settings.host, "foo.example.org");
    assert_eq!(settings.checker.as_str(), "ping %(host)s 100%% example.org");
    let seconds = [
        settings.timeout,
        settings.extended_timeout,
        settings.interval,
        settings.approval_delay,
        settings.approval_duration,
    ]
    .map(|length: Duration| length.as_secs());
    assert_eq!(seconds, [600, 3600, 60, 30, 2]);
    assert!(!settings.approved_by_default && !settings.enabled);
    let SecretSource::File { path, origin } = client.secret else {
        panic!("expected a file");
    };
    assert_eq!(path, std::path::Path::new("$CREDENTIALS/foo"));
    assert_eq!(origin.line, 15);
}

#[test]
fn all_errors_are_named_in_the_order_of_lines() {
    let found = errors(
        "[DEFAULT]
timeout = soon
[foo]
key_id = 12
enabled = perhaps
secret =
\tYWJj
\tZG*m
[bar]
checker = ping %%(hots)s
host = %(name)s
interval = PT0S
secret = YWJj
[baz]
",
    );
    assert_eq!(
        found,
        [
            "clients.conf:2: [DEFAULT] timeout: expected a duration such as PT5M, P1DT12H or \"1d 12h\", found \"soon\"",
            "clients.conf:4: [foo] key_id: expected 64 hexadecimal digits, found 2",
            "clients.conf:5: [foo] enabled: expected 1, yes, true, on, 0, no, false or off, found \"perhaps\"",
            "clients.conf:8: [foo] secret: expected base64 (A-Z a-z 0-9 + / and = at the end), found something else at character 3 of the value's line",
            "clients.conf:10: [bar] checker: %(hots)s is nothing a checker can refer to; expected %(host)s, perhaps",
            "clients.conf:11: [bar] host: %(name)s refers to a key that is set neither in this section nor in [DEFAULT]; write %% for a plain %",
            "clients.conf:12: [bar] interval: expected at least PT1S between two checks, found \"PT0S\"",
            "clients.conf:14: [baz]: expected \"secret\" (in base64) or \"secfile\" (a file name)",
        ]
    );
}

#[test]
fn a_second_file_inherits_from_the_first_and_from_itself() {
    let parsed = read(&[
        (
            "clients.conf",
            "[DEFAULT]\ntimeout = PT7M\ninterval = PT3M\n[a]\nsecret = YWJj\n",
        ),
        (
            "clients.d/b.conf",
            "[DEFAULT]\ninterval = PT1M\n[b]\nsecret = YWJj\n",
        ),
        ("clients.d/c.conf", "[c]\nsecret = YWJj\n"),
    ])
    .unwrap();
    let minutes: Vec<_> = parsed
        .value
        .iter()
        .map(|c| {
            (
                c.settings.timeout.as_secs() / 60,
                c.settings.interval.as_secs() / 60,
            )
        })
        .collect();
    assert_eq!(minutes, [(7, 3), (7, 1), (7, 3)]);
}

#[test]
fn a_client_in_two_files_is_refused_with_both_places() {
    let client = "[a]\nkey_id = KEY_ID\nsecret = YWJj\n";
    assert_eq!(
        read(&[("clients.conf", client), ("clients.d/a.conf", client)]).unwrap_err(),
        [
            "clients.d/a.conf:1: [a]: this client is already in clients.conf:1; a client may stand only once"
        ]
    );
}

#[test]
fn what_is_doubtful_is_told_and_read() {
    let found = warnings(
        "[a]
key_id = KEY_ID
secret = YWJj
timout = PT5M
hots = used below
host = %(hots)s
fingerprint = 12
approved_by_default = no
[b]
secret = YWJj
key_id = KEY_ID
timeout = PT2M
[c]
secret = YWJj
[d]
secret = YWJj
key_id = E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855
ssh_fingerprint = nothing like a key
",
    );
    assert_eq!(
        found,
        [
            "clients.conf:4: [a] timout: nothing uses this key; did you mean timeout?",
            "clients.conf:7: [a] fingerprint: not an OpenPGP fingerprint, left out: expected 40 hexadecimal digits, found 2",
            "clients.conf:8: [a] approved_by_default: has no effect without a delay: set approval_delay to the time in which to approve",
            "clients.conf:11: [b] key_id: the client [a] in clients.conf:1 has the same key_id and comes first, so this client never gets its secret",
            "clients.conf:12: [b] timeout: the timeout is not longer than the interval, so the client will be disabled between two checks",
            "clients.conf:13: [c] key_id: without a key_id no machine is recognised as this client",
            "clients.conf:17: [d] key_id: this is the key id of no key at all, made by a faulty client; no machine is recognised by it until it has new keys",
        ]
    );
}

#[test]
fn no_message_shows_a_secret() {
    let text = "[a]\nsecret =\n\tU0VDUkVU*\n[b]\nsecret =\nU0VDUkVU\n";
    assert!(errors(text).iter().all(|error| !error.contains("U0VDUkVU")));
}

#[test]
fn the_commented_sample_is_valid_and_each_key_in_it_is_known() {
    let sample = include_str!("../../../../../dist/sample/clients.conf");
    assert_eq!(read(&[("clients.conf", sample)]).unwrap().value.len(), 0);
    let parsed = read(&[("clients.conf", &sample.replace("\n;", "\n"))]).unwrap();
    assert_eq!(parsed.warnings, []);
    assert_eq!(parsed.value.len(), 2);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in r"(\[[a-c]\]\n|secret|key_id|timeout|checker| ?= ?|%\(secret\)s|%%\(host\)s|[%() \nA=*é])*") {
        let _ = parse(&[("a".to_owned(), text.clone()), ("b".to_owned(), text)]);
    }
}

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

fn with_checker(lines: &str) -> String {
    format!("[foo]\nkey_id = KEY_ID\nsecret = YWJj\n{lines}")
        .replace("checker = builtin", "host = foo\nchecker = builtin")
        .replace("HOST_KEY", HOST_KEY)
}

#[test]
fn a_builtin_checker_has_its_host_key_from_the_section() {
    let inline = one(&with_checker("checker = builtin:ssh-hostkey HOST_KEY\n"));
    for lines in [
        "checker = builtin:ssh-hostkey\nssh_fingerprint = HOST_KEY\n",
        "checker = builtin:ssh-hostkey\nssh_fingerprint = HOST_KEY root@foo\n",
        "checker = builtin:ssh-hostkey %(ssh_fingerprint)s\nssh_fingerprint = HOST_KEY\n",
        "checker = builtin:ssh-hostkey\n[DEFAULT]\nssh_fingerprint = HOST_KEY\n",
    ] {
        let client = one(&with_checker(lines));
        assert_eq!(client.settings.checker, inline.settings.checker, "{lines}");
    }
}

#[test]
fn a_builtin_checker_without_a_good_host_key_is_refused_with_its_place() {
    for (lines, place) in [
        (
            "checker = builtin:ssh-hostkey\n",
            "clients.conf:5: [foo] checker: builtin:ssh-hostkey needs",
        ),
        (
            "checker = builtin:ssh-hostkey\nssh_fingerprint = AAAA\n",
            "clients.conf:6: [foo] ssh_fingerprint: expected an SSH host key",
        ),
        (
            "checker = builtin:ssh-hostkey\nssh_fingerprint = ssh-dss AAAA\n",
            "clients.conf:6: [foo] ssh_fingerprint: expected a host key of the kind ssh-ed25519, ",
        ),
        (
            "checker = builtin:ssh-hostkey\nssh_fingerprint =\n",
            "clients.conf:6: [foo] ssh_fingerprint: expected an SSH host key",
        ),
        (
            "checker = builtin:ssh-hostkey HOST_KE\n",
            "clients.conf:5: [foo] checker: expected an SSH host key",
        ),
        (
            "checker = builtin:http\n",
            "clients.conf:5: [foo] checker: there is no built-in checker \"http\"; expected builtin:ssh-hostkey",
        ),
        (
            "checker = builtin:ping tower\n",
            "clients.conf:5: [foo] checker: builtin:ping takes nothing behind its name",
        ),
    ] {
        let found = errors(&with_checker(lines));
        assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    }
}

#[test]
fn a_checker_by_ssh_keyscan_is_doubted() {
    let keyscan = "checker = ssh-keyscan %%(host)s | grep --quiet \"%(ssh_fingerprint)s\"\n\
                   ssh_fingerprint = HOST_KEY\n";
    let found = warnings(&with_checker(keyscan));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("clients.conf:4: [foo] checker: ssh-keyscan shows"));
    assert!(found[0].ends_with("write checker = builtin:ssh-hostkey and keep ssh_fingerprint"));
    let other = warnings(&with_checker("checker = ssh-keyscan %%(host)s | grep x\n"));
    assert!(
        other[0].ends_with("/etc/ssh/ssh_host_ed25519_key.pub"),
        "{other:?}"
    );
    let good = "checker = builtin:ssh-hostkey\nssh_fingerprint = HOST_KEY\n";
    assert_eq!(warnings(&with_checker(good)), [""; 0]);
}

#[test]
fn references_of_a_key_that_nothing_uses_are_resolved_too() {
    for (lines, place) in [
        (
            "note = %(nothing)s\n",
            "clients.conf:4: [foo] note: %(nothing)s refers to a key",
        ),
        (
            "note = 100 %\n",
            "clients.conf:4: [foo] note: expected % or (",
        ),
        (
            "secfile = %(nothing)s\n",
            "clients.conf:4: [foo] secfile: %(nothing)s",
        ),
        (
            "[DEFAULT]\nnote = %(note)s\n",
            "clients.conf:5: [foo] note: references nest",
        ),
    ] {
        let found = errors(&with_checker(lines));
        assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    }
    // What another section than the default one says concerns nobody else.
    let other = "note = %(a)s\na = b\n[DEFAULT]\nmore = %(key_id)s\n";
    one(&with_checker(other));
}

#[test]
fn the_builtin_ping_needs_a_host_that_it_can_ping() {
    let section = |host: &str| {
        format!("[foo]\nkey_id = KEY_ID\nsecret = YWJj\n{host}checker = builtin:ping\n")
    };
    for host in ["foo", "192.0.2.1", "::1", "fe80::1%eth0"] {
        let client = one(&section(&format!("host = {}\n", host.replace('%', "%%"))));
        assert_eq!(client.settings.checker, crate::checker::Checker::ping());
    }
    for (host, place) in [
        ("", "clients.conf:1: [foo] host: builtin:ping needs a name"),
        (
            "host = foo:22\n",
            "clients.conf:4: [foo] host: builtin:ping needs a name",
        ),
        (
            "host = fe80::1\n",
            "clients.conf:4: [foo] host: builtin:ping needs a name or an address: the link-local address fe80::1 needs",
        ),
    ] {
        let found = errors(&section(host));
        assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    }
}

#[test]
fn a_builtin_checker_needs_a_host_that_it_can_reach() {
    let section = |host: &str| {
        format!(
            "[foo]\nkey_id = KEY_ID\nsecret = YWJj\n{host}checker = builtin:ssh-hostkey {HOST_KEY}\n"
        )
    };
    for host in [
        "host = foo\n",
        "host = foo:2222\n",
        "host = ::1\n",
        "host = [::1]:22\n",
    ] {
        one(&section(host));
    }
    for (host, place) in [
        (
            "",
            "clients.conf:1: [foo] host: builtin:ssh-hostkey needs HOST",
        ),
        (
            "host = a b\n",
            "clients.conf:4: [foo] host: builtin:ssh-hostkey needs HOST",
        ),
        (
            "host = foo:0\n",
            "clients.conf:4: [foo] host: builtin:ssh-hostkey needs HOST",
        ),
    ] {
        let found = errors(&section(host));
        assert!(found.len() == 1 && found[0].starts_with(place), "{found:?}");
    }
}
