//! `nightlatch keygen` beside mandos-keygen(8), GnuPG, OpenSSL and Python's configparser.
#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::*;

const FILES: [&str; 4] = [
    "pubkey.txt",
    "seckey.txt",
    "tls-privkey.pem",
    "tls-pubkey.pem",
];

/// The section that our program makes from keys and a password.
fn section(keys: &std::path::Path, password: &[u8]) -> String {
    let arguments = [
        "keygen",
        "--passfile",
        "-",
        "--no-ssh",
        "--name",
        "foo",
        "--dir",
        path(keys),
    ];
    String::from_utf8(succeed(&mut nightlatch(&arguments), password)).unwrap()
}

#[test]
fn keys_made_here_are_opened_by_gnupg_with_every_byte_kept() {
    let keys = directory();
    keygen(keys.path(), &[]);
    let password = b" \tpass\0word\xff \n";
    assert_eq!(
        Gnupg::with_keys(keys.path()).open(&section(keys.path(), password)),
        password
    );
}

#[test]
fn rsa_keys_made_here_are_opened_by_gnupg() {
    let keys = directory();
    keygen(
        keys.path(),
        &["-t", "RSA", "-l", "2048", "-L", "2048", "-x", "1y"],
    );
    assert_eq!(
        Gnupg::with_keys(keys.path()).open(&section(keys.path(), b"x")),
        b"x"
    );
}

#[test]
fn keys_of_mandos_keygen_are_used_here() {
    let keys = directory();
    let mut mandos = Command::new(peer("usr/sbin/mandos-keygen"));
    mandos.args([
        "-l",
        "2048",
        "-L",
        "2048",
        "-n",
        "foo",
        "-d",
        path(keys.path()),
    ]);
    succeed(&mut mandos, b"");
    let ours = section(keys.path(), b"hello");
    assert_eq!(Gnupg::with_keys(keys.path()).open(&ours), b"hello");
    let theirs = mandos_section(keys.path());
    for key in ["host", "key_id", "fingerprint"] {
        assert_eq!(value(&ours, key), value(&theirs, key), "{key}");
    }
}

/// The section that mandos-keygen(8) makes for the password `hello`.
fn mandos_section(keys: &std::path::Path) -> String {
    let file = keys.join("password");
    fs::write(&file, "hello").unwrap();
    let mut mandos = Command::new(peer("usr/sbin/mandos-keygen"));
    mandos.args(["-S", "-n", "foo", "-d", path(keys), "-F", path(&file)]);
    String::from_utf8(succeed(&mut mandos, b"")).unwrap()
}

#[test]
fn mandos_keygen_uses_keys_made_here() {
    let keys = directory();
    keygen(keys.path(), &[]);
    let theirs = mandos_section(keys.path());
    assert_eq!(Gnupg::with_keys(keys.path()).open(&theirs), b"hello");
    let ours = section(keys.path(), b"hello");
    for key in ["host", "key_id", "fingerprint"] {
        assert_eq!(value(&ours, key), value(&theirs, key), "{key}");
    }
}

#[test]
fn the_key_id_is_that_of_openssl() {
    for kind in ["ed25519", "ecdsa"] {
        let keys = directory();
        keygen(keys.path(), &["--tls-keytype", kind]);
        let public = keys.path().join("tls-pubkey.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-pubin", "-outform", "der", "-in", path(&public)]);
        let der = succeed(&mut openssl, b"");
        let digest = succeed(&mut Command::new("sha256sum"), &der);
        let expected = String::from_utf8_lossy(&digest[..64]).into_owned();
        assert_eq!(value(&section(keys.path(), b"x"), "key_id"), expected);
        let mut openssl = Command::new("openssl");
        openssl.args([
            "pkey",
            "-pubout",
            "-in",
            path(&keys.path().join("tls-privkey.pem")),
        ]);
        assert_eq!(succeed(&mut openssl, b""), fs::read(&public).unwrap());
    }
}

#[test]
fn files_are_born_for_their_owner_alone() {
    let place = directory();
    let keys = place.path().join("keys");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "umask 0; exec \"$@\"",
        "sh",
        NIGHTLATCH,
        "keygen",
        "-n",
        "foo",
        "-d",
    ]);
    succeed(shell.arg(&keys), b"");
    assert_eq!(mode(&keys), 0o700);
    for file in FILES {
        assert_eq!(mode(&keys.join(file)), 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 4);
}

#[test]
fn no_mode_is_changed_after_birth() {
    let keys = directory();
    let trace = keys.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-e",
        "trace=openat,chmod,fchmod,fchmodat",
        "-o",
        path(&trace),
    ]);
    strace.args([NIGHTLATCH, "keygen", "-n", "foo", "-d", path(keys.path())]);
    if run(&mut strace, b"").status.code() != Some(0) {
        nightlatch_test_support::skipped("needs strace, and the right to trace");
        return;
    }
    let trace = fs::read_to_string(trace).unwrap();
    assert!(!trace.contains("chmod("), "{trace}");
    for file in FILES {
        let written = |l: &&str| l.contains(&format!("{file}\"")) && l.contains("O_CREAT");
        let line = trace.lines().find(written).unwrap();
        assert!(line.contains("O_EXCL") && line.contains("0600"), "{line}");
    }
}

#[test]
fn keys_that_are_there_stay() {
    for file in FILES {
        let keys = directory();
        fs::write(keys.path().join(file), "old").unwrap();
        let output = run(&mut nightlatch(&["keygen", "-d", path(keys.path())]), b"");
        assert_eq!(output.status.code(), Some(73));
        assert!(stderr(&output).contains("hint: "), "{}", stderr(&output));
        assert_eq!(fs::read(keys.path().join(file)).unwrap(), b"old");
        assert_eq!(fs::read_dir(keys.path()).unwrap().count(), 1);
    }
}

#[test]
fn force_keeps_public_files_and_wipes_private_ones() {
    let keys = directory();
    for round in ["one", "two"] {
        for file in FILES {
            fs::write(keys.path().join(file), round).unwrap();
        }
        // A second name shows what becomes of the bytes themselves.
        let second = keys.path().join(format!("second-{round}"));
        fs::hard_link(keys.path().join("seckey.txt"), &second).unwrap();
        keygen(keys.path(), &["--force"]);
        assert_eq!(fs::read(second).unwrap(), [0; 3]);
    }
    for (backup, content) in [(".~1~", "one"), (".~2~", "two")] {
        for file in ["pubkey.txt", "tls-pubkey.pem"] {
            let kept = fs::read_to_string(keys.path().join(format!("{file}{backup}"))).unwrap();
            assert_eq!(kept, content);
        }
    }
    assert!(!keys.path().join("seckey.txt.~1~").exists());
    Gnupg::with_keys(keys.path()).open(&section(keys.path(), b"x"));
}

#[test]
fn a_typed_password_keeps_its_white_space() {
    let keys = directory();
    keygen(keys.path(), &[]);
    let command = [
        NIGHTLATCH,
        "keygen",
        "--password",
        "-S",
        "-n",
        "foo",
        "-d",
        path(keys.path()),
    ];
    // The first answer is empty, the second pair differs.
    let session = on_terminal(
        &command,
        &[
            ("Enter passphrase: ", "\n"),
            ("Enter passphrase: ", "one\n"),
            ("Repeat passphrase: ", "two\n"),
            ("Enter passphrase: ", " \t white space  \n"),
            ("Repeat passphrase: ", " \t white space  \n"),
        ],
    );
    assert_eq!(session.status, 0, "{}", session.shown);
    assert!(session.echo);
    assert!(!session.shown.contains("white"), "{}", session.shown);
    let opened = Gnupg::with_keys(keys.path()).open(&session.stdout);
    assert_eq!(opened, b" \t white space  ");
}

#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let keys = directory();
    keygen(keys.path(), &[]);
    for (typed, signal) in [("half\x03", -2), ("half\x1c", -3)] {
        let command = [NIGHTLATCH, "keygen", "--password", "-d", path(keys.path())];
        let session = on_terminal(&command, &[("Enter passphrase: ", typed)]);
        assert_eq!(session.status, signal, "{}", session.shown);
        assert!(session.echo);
        assert!(!session.shown.contains("half"), "{}", session.shown);
    }
}

#[test]
fn without_a_terminal_there_is_a_hint() {
    let keys = directory();
    keygen(keys.path(), &[]);
    let mut setsid = Command::new("setsid");
    setsid.args([
        "--wait",
        NIGHTLATCH,
        "keygen",
        "-p",
        "-d",
        path(keys.path()),
    ]);
    // A leader of a group cannot begin a session: setsid then forks, and waits.
    let output = run(setsid.process_group(0), b"");
    assert_eq!(output.status.code(), Some(66));
    assert!(stderr(&output).contains("hint: "), "{}", stderr(&output));
}

#[test]
fn an_ssh_server_that_answers_becomes_the_checker() {
    let keys = directory();
    keygen(keys.path(), &[]);
    let bin = keys.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let scan = "#!/bin/sh\n# Answers for ed25519 only.\n\
                [ \"$1 $2\" = '-t ed25519' ] && echo \"$3 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\"\n\
                exit 0\n";
    fs::write(bin.join("ssh-keyscan"), scan).unwrap();
    fs::set_permissions(
        bin.join("ssh-keyscan"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let arguments = [
        "keygen",
        "-F",
        "-",
        "-n",
        "foo.example",
        "-d",
        path(keys.path()),
    ];
    let search = format!("{}:{}", path(&bin), std::env::var("PATH").unwrap());
    let printed = succeed(nightlatch(&arguments).env("PATH", &search), b"x");
    let printed = String::from_utf8(printed).unwrap();
    let checker = value(&printed, "checker");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    let kind = nightlatch_core::ssh::HostKeyKind::Ed25519;
    assert_eq!(
        checker,
        nightlatch_core::checker::by_ssh(kind, key, "%(host)s")
    );
    assert_eq!(value(&printed, "ssh_fingerprint"), key);
}

#[test]
fn the_checker_of_a_section_knows_a_real_ssh_server() {
    let keys = directory();
    keygen(keys.path(), &[]);
    // In a network of its own, where port 22 is free; all of it ends with the shell.
    let script = r#"
set -e
ip link set lo up
mount -t tmpfs none /run
mkdir /run/sshd
getent passwd sshd >/dev/null || {
    { cat /etc/passwd; echo "sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin"; } >"$1/passwd"
    mount --bind "$1/passwd" /etc/passwd
}
ssh-keygen -q -t ed25519 -N '' -f "$1/host" >&2
"$3" -D -f /dev/null -h "$1/host" -o PidFile=none &
tries=0
until ssh-keyscan localhost 2>/dev/null | grep -q .; do
    tries=$((tries + 1))
    [ $tries -lt 300 ]
    sleep 0.1
done
printf x | "$2" keygen -F - -n localhost -d "$1" >"$1/section"
check=$(python3 -c 'import configparser, sys
c = configparser.ConfigParser()
c.read(sys.argv[1])
print(c["localhost"]["checker"].replace("%(host)s", "localhost"))' "$1/section")
sh -c "$check" || { echo "not known: $check" >&2; exit 1; }
ssh-keygen -q -t ed25519 -N '' -f "$1/other" >&2
wrong=$(printf %s "$check" | sed "s|pinned ssh-ed25519 [A-Za-z0-9+/=]*|pinned $(cut -d' ' -f1,2 "$1/other.pub")|")
[ "$wrong" != "$check" ]
! sh -c "$wrong"
"#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    if !run(unshare.arg("true"), b"").status.success() {
        nightlatch_test_support::skipped("needs root and network namespaces");
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    unshare.arg(keys.path()).arg(NIGHTLATCH);
    succeed(unshare.arg(peer("usr/sbin/sshd")), b"");
    let section = fs::read_to_string(keys.path().join("section")).unwrap();
    assert!(value(&section, "ssh_fingerprint").starts_with("ssh-ed25519 AAAAC3Nz"));
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let keys = directory();
    let cases: [&[&str]; 8] = [
        &["--type", "DSA"],
        &["--length", "1024"],
        &["--type", "Curve25519", "--length", "2048"],
        &["--expire", "soon"],
        &["--tls-keytype", "dsa"],
        &["--name", "a]b"],
        &["--password", "--passfile", "x"],
        &["--nonsense"],
    ];
    for case in cases {
        let mut arguments = vec!["keygen", "--dir", path(keys.path())];
        arguments.extend(case);
        let output = run(&mut nightlatch(&arguments), b"");
        assert_eq!(
            output.status.code(),
            Some(64),
            "{case:?}: {}",
            stderr(&output)
        );
        assert_eq!(fs::read_dir(keys.path()).unwrap().count(), 0);
    }
    for flag in ["-h", "--help", "-v", "--version"] {
        assert!(!succeed(&mut nightlatch(&["keygen", flag]), b"").is_empty());
    }
}
