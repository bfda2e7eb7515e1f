//! Keys of each kind sign messages and logins that OpenSSH accepts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::apdus::{ED25519, P256, P384};
use super::world::{World, peer};

#[test]
fn each_kind_of_key_is_listed_and_signs_what_openssh_verifies() {
    // The virtual card has no P-521, and does not pad what it signs by RSA, as a card must: key/openssl.rs has these.
    for (algorithm, kind) in [(ED25519, "ED25519"), (P256, "ECDSA"), (P384, "ECDSA")] {
        let Some(world) = World::unlocked(algorithm) else {
            return;
        };
        let listed = world.ssh("ssh-add").arg("-l").output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.ends_with(&format!("({kind})\n")), "{listed}");
        let signed = world.sign("text");
        assert!(signed.status.success(), "{signed:?}\n{}", world.log());
        world.verify("text");
        assert!(
            world
                .log()
                .contains("signed for user 0: a message in the namespace \"file\"")
        );
    }
}

#[test]
fn what_is_no_login_and_in_no_named_namespace_is_not_signed() {
    let Some(world) = World::unlocked(ED25519) else {
        return;
    };
    assert!(world.sign("text").status.success());
    fs::remove_file(world.path("text.sig")).unwrap();
    let mut other = world.ssh("ssh-keygen");
    other.args(["-q", "-Y", "sign", "-f", "key.pub", "-n", "git", "text"]);
    assert!(!other.output().unwrap().status.success());
    assert!(world.log().contains("namespace \"git\""), "{}", world.log());
    // ssh-add -T has 32 random bytes signed.
    let tested = world
        .ssh("ssh-add")
        .args(["-T", "key.pub"])
        .output()
        .unwrap();
    assert!(!tested.status.success());
    assert!(
        world.log().contains("neither a login request nor"),
        "{}",
        world.log()
    );
    for words in [&["-D"][..], &["-x"]] {
        let refused = world.ssh("ssh-add").args(words).output().unwrap();
        assert!(!refused.status.success(), "{words:?}");
    }
}

/// A real sshd, one process for one connection: `ssh` starts it as its transport.
fn sshd(world: &World) -> Command {
    let key = world.path("host");
    let made = world
        .ssh("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let public = world.run(&["pubkey"]).stdout;
    let authorized = world.path("authorized_keys");
    fs::write(&authorized, public).unwrap();
    fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600)).unwrap();
    let accounts = Path::new("/etc/passwd");
    let mut all = fs::read_to_string(accounts).unwrap();
    if !all.lines().any(|line| line.starts_with("sshd:")) {
        all.push_str("sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin\n");
    }
    fs::write(world.path("passwd"), all).unwrap();
    let script = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private sh -ec 'mount -t tmpfs none /run; mkdir /run/sshd; \
         mount --bind {passwd} /etc/passwd; exec {sshd} -i -e -f /dev/null -h {key} -o StrictModes=no -o UsePAM=no \
         -o PermitRootLogin=yes -o AuthorizedKeysFile={authorized} 2>>{log}'\n",
        passwd = world.path("passwd").display(),
        sshd = peer("usr/sbin/sshd").display(),
        key = key.display(),
        authorized = authorized.display(),
        log = world.path("sshd.log").display(),
    );
    let transport = world.path("transport");
    fs::write(&transport, script).unwrap();
    fs::set_permissions(&transport, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = world.card(&["exec", "--socket"]);
    command
        .arg(world.path("agent"))
        .args(["--", "ssh", "-F", "/dev/null", "-T", "-o"]);
    command.arg(format!("ProxyCommand={}", transport.display()));
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "LogLevel=ERROR",
    ] {
        command.args(["-o", option]);
    }
    command.args(["root@host"]);
    command
}

#[test]
fn a_job_logs_in_through_exec_with_its_own_status_and_not_while_the_card_is_locked() {
    let Some(world) = World::with_agent(ED25519) else {
        return;
    };
    if !peer("usr/sbin/sshd").is_file() {
        return nightlatch_test_support::skipped("needs sshd (scripts/prepare test)");
    }
    let locked = sshd(&world).arg("true").output().unwrap();
    assert_eq!(locked.status.code(), Some(10), "{locked:?}");
    world.unlock();
    fs::remove_file(world.path("host")).unwrap();
    let output = sshd(&world)
        .arg("echo from the host; exit 7")
        .output()
        .unwrap();
    let sshd_log = fs::read_to_string(world.path("sshd.log")).unwrap_or_default();
    assert_eq!(
        output.status.code(),
        Some(7),
        "{output:?}\n{sshd_log}\n{}",
        world.log()
    );
    assert_eq!(output.stdout, b"from the host\n");
    assert!(
        world
            .log()
            .contains("signed for user 0: a login as \"root\"")
    );
}
