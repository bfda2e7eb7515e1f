use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

fn checker(text: &str) -> Checker {
    Checker::new(text).unwrap()
}

#[test]
fn a_builtin_checker_keeps_its_key() {
    for text in [
        format!("builtin:ssh-hostkey {KEY}"),
        format!(" builtin:ssh-hostkey\n  {KEY} root@tower\n"),
    ] {
        let checker = checker(&text);
        assert_eq!(checker, Checker::ssh_host_key(KEY.parse().unwrap()));
        assert_eq!(checker.as_str(), format!("builtin:ssh-hostkey {KEY}"));
        assert_eq!(checker, Checker::new(checker.as_str()).unwrap());
    }
}

#[test]
fn an_unknown_builtin_checker_is_refused() {
    for text in [
        "builtin:",
        "builtin:ssh",
        "builtin:ssh-hostkeys x",
        "builtin: ssh-hostkey",
    ] {
        let error = Checker::new(text).unwrap_err().to_string();
        assert!(error.contains("expected builtin:ssh-hostkey"), "{error}");
    }
    for text in ["builtin:ssh-hostkey", "builtin:ssh-hostkey  "] {
        assert_eq!(Checker::new(text), Err(CheckerError::NoHostKey));
    }
    assert!(matches!(
        Checker::new("builtin:ssh-hostkey ssh-ed25519 AAAA"),
        Err(CheckerError::HostKey(_))
    ));
}

#[test]
fn the_builtin_ping_takes_nothing_behind_its_name() {
    for text in ["builtin:ping", " builtin:ping \n"] {
        let checker = checker(text);
        assert_eq!(checker, Checker::ping());
        assert_eq!(checker.as_str(), "builtin:ping");
        assert!(checker.is_builtin() && checker.is_ping());
    }
    assert_eq!(
        Checker::new("builtin:ping tower"),
        Err(CheckerError::PingArgument)
    );
    let error = Checker::new("builtin:pong").unwrap_err().to_string();
    assert!(error.ends_with("expected builtin:ping, perhaps"), "{error}");
    let error = Checker::new("builtin:http").unwrap_err().to_string();
    assert!(
        error.ends_with("expected builtin:ssh-hostkey or builtin:ping"),
        "{error}"
    );
}

#[test]
fn a_ping_needs_a_name_or_a_unicast_address() {
    for host in [
        "tower",
        "192.0.2.1",
        "2001:db8::1",
        "fe80::1%eth0",
        "fe80::1%2",
    ] {
        assert!(ping_target(host).is_ok(), "{host}");
    }
    for host in [
        "",
        "a b",
        "tower:22",
        "[::1]",
        "0.0.0.0",
        "255.255.255.255",
        "ff02::1",
        "192.0.2.1%eth0",
    ] {
        assert!(ping_target(host).is_err(), "{host}");
    }
    let error = ping_target("fe80::1").unwrap_err();
    assert!(matches!(error, TargetError::NeedsScope(_)), "{error}");
}

#[test]
fn only_a_checked_signature_proves_a_private_key() {
    let ssh_command = ssh_command(KEY.parse::<HostKey>().unwrap().kind(), KEY, "%(host)s");
    let on_a_port = ssh_command.replace(" -- ", " -p 2222 -- ");
    for text in [
        &format!("builtin:ssh-hostkey {KEY}"),
        &ssh_command,
        &on_a_port,
    ] {
        assert!(checker(text).proves_private_key(), "{text}");
    }
    for text in [
        "fping -q -- %(host)s",
        "builtin:ping",
        "true",
        "ssh-keyscan -t ed25519 %(host)s | grep --quiet AAAA",
        &format!("{ssh_command} || true"),
        &format!("true || {ssh_command}"),
        &ssh_command.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no"),
        &ssh_command.replace("LogLevel=QUIET", "LogLevel=DEBUG"),
        &ssh_command.replace(" -- ", " -p 22 -o StrictHostKeyChecking=no -- "),
        &ssh_command.replace(KEY, "ssh-ed25519 AAAA"),
        &ssh_command.replace("%(host)s", "example.org"),
    ] {
        assert!(!checker(text).proves_private_key(), "{text}");
    }
}

#[test]
fn use_of_ssh_keyscan_is_detected() {
    assert!(checker("/usr/bin/ssh-keyscan -t rsa %(host)s | grep x").trusts_ssh_keyscan());
    for text in [
        "fping -q -- %(host)s",
        "builtin:ping",
        &format!("builtin:ssh-hostkey {KEY}"),
    ] {
        assert!(!checker(text).trusts_ssh_keyscan());
    }
}
