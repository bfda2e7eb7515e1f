//! Keys of each kind sign messages and logins that OpenSSH accepts.

use std::fs;
use std::process::Command;

use super::apdus::{ED25519, P256, P384};
use super::sshd::{Host, has_sshd};
use super::world::World;

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
        world.wait_for_log("): a message in the namespace \"file\"");
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
    world.wait_for_log("namespace \"git\"");
    // ssh-add -T has 32 random bytes signed.
    let tested = world
        .ssh("ssh-add")
        .args(["-T", "key.pub"])
        .output()
        .unwrap();
    assert!(!tested.status.success());
    world.wait_for_log("neither a login request nor");
    // Each refusal of a kind has one line in a minute: a message in a namespace is another kind.
    for _ in 0..5 {
        let again = world.ssh("ssh-add").args(["-T", "key.pub"]).output();
        assert!(!again.unwrap().status.success());
    }
    assert!(world.sign("after").status.success());
    let signed = |world: &World| world.log().matches("signed for user 0").count();
    world.wait("the line of the last signature", || signed(&world) == 2);
    let told = world.log().matches("neither a login request nor").count();
    assert_eq!(told, 1, "{}", world.log());
    for words in [&["-D"][..], &["-x"]] {
        let refused = world.ssh("ssh-add").args(words).output().unwrap();
        assert!(!refused.status.success(), "{words:?}");
    }
}

/// A job that logs in by `exec`.
fn job(world: &World, host: &Host) -> Command {
    let mut command = world.card(&["exec", "--socket"]);
    command.arg(world.path("agent")).args(["--", "ssh"]);
    command.args(World::ssh_options(host)).arg("root@host");
    command
}

#[test]
fn a_job_logs_in_through_exec_with_its_own_status_and_not_while_the_card_is_locked() {
    let Some(world) = World::with_agent(ED25519) else {
        return;
    };
    if !has_sshd() {
        return;
    }
    let host = world.host("host", "ed25519", "");
    let locked = job(&world, &host).arg("true").output().unwrap();
    assert_eq!(locked.status.code(), Some(10), "{locked:?}");
    world.unlock();
    let output = job(&world, &host)
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
    world.wait_for_log(": a login as \"root\", host key SHA256:");
}
