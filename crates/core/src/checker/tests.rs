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
fn only_a_checked_signature_proves_a_private_key() {
    let by_ssh = by_ssh(KEY.parse::<HostKey>().unwrap().kind(), KEY, "%(host)s");
    let on_a_port = by_ssh.replace(" -- ", " -p 2222 -- ");
    for text in [&format!("builtin:ssh-hostkey {KEY}"), &by_ssh, &on_a_port] {
        assert!(checker(text).proves_private_key(), "{text}");
    }
    for text in [
        "fping -q -- %(host)s",
        "true",
        "ssh-keyscan -t ed25519 %(host)s | grep --quiet AAAA",
        &format!("{by_ssh} || true"),
        &format!("true || {by_ssh}"),
        &by_ssh.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no"),
        &by_ssh.replace("LogLevel=QUIET", "LogLevel=DEBUG"),
        &by_ssh.replace(" -- ", " -p 22 -o StrictHostKeyChecking=no -- "),
        &by_ssh.replace(KEY, "ssh-ed25519 AAAA"),
        &by_ssh.replace("%(host)s", "example.org"),
    ] {
        assert!(!checker(text).proves_private_key(), "{text}");
    }
}

#[test]
fn use_of_ssh_keyscan_is_detected() {
    assert!(checker("/usr/bin/ssh-keyscan -t rsa %(host)s | grep x").trusts_ssh_keyscan());
    for text in [
        "fping -q -- %(host)s",
        &format!("builtin:ssh-hostkey {KEY}"),
    ] {
        assert!(!checker(text).trusts_ssh_keyscan());
    }
}
