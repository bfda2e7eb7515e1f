//! Locks, restarts, kills and wrong PINs.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::apdus::ED25519;
use super::world::{PIN, World};

#[test]
fn each_state_has_its_exit_status() {
    let Some(mut world) = World::new() else {
        return;
    };
    assert_eq!(world.status(&["check"]), 13);
    world.start_agent("");
    // The new card has no key.
    assert_eq!(world.status(&["check"]), 11);
    world.kill_agent();
    world.generate(ED25519);
    world.start_agent("");
    let locked = world.run(&["check"]);
    assert_eq!(locked.status.code(), Some(10));
    let said = String::from_utf8(locked.stderr).unwrap();
    assert!(said.contains("nobody has unlocked it"), "{said}");
    assert!(
        said.contains("hint: unlock it with `nightlatch card unlock`"),
        "{said}"
    );
    let not_run = world.run(&["exec", "--socket", "agent", "--", "true"]);
    assert_eq!(not_run.status.code(), Some(10));
    let said = String::from_utf8(not_run.stderr).unwrap();
    assert!(said.starts_with("nightlatch-card: not run: "), "{said}");
    world.unlock();
    let unlocked = world.run(&["check"]);
    assert_eq!(unlocked.status.code(), Some(0));
    assert!(unlocked.stdout.is_empty() && unlocked.stderr.is_empty());
    assert_eq!(
        world.status(&["exec", "--socket", "agent", "--", "sh", "-c", "exit 42"]),
        42
    );
    assert_eq!(
        world.status(&["exec", "--socket", "agent", "--", "/nonexistent"]),
        127
    );
    assert_eq!(world.status(&["lock"]), 0);
    assert_eq!(world.status(&["check"]), 10);
    world.kill_agent();
    world.start_agent("card = 0006:00000001");
    assert_eq!(world.status(&["check"]), 11);
}

#[test]
fn a_wrong_pin_costs_one_try_and_a_file_is_not_tried_again() {
    let Some(world) = World::with_agent(ED25519) else {
        return;
    };
    let wrong = world.try_unlock("654321");
    assert_eq!(wrong.status.code(), Some(10), "{wrong:?}");
    for _ in 0..3 {
        let refused = world.try_unlock("654321");
        assert_eq!(refused.status.code(), Some(12), "{refused:?}");
    }
    let status = String::from_utf8(world.run(&["status", "--json"]).stdout).unwrap();
    assert!(status.contains("\"tries\": 2"), "{status}");
    assert!(status.contains("\"state\": \"locked\""), "{status}");
    assert!(
        world
            .log()
            .contains("ALARM: the card has refused a PIN; 2 tries are left")
    );
    for text in [world.log(), status] {
        assert!(!text.contains("654321"), "{text}");
    }
}

#[test]
fn a_killed_agent_leaves_a_locked_card_and_the_next_one_starts_locked() {
    let Some(mut world) = World::unlocked(ED25519) else {
        return;
    };
    world.kill_agent();
    assert_eq!(world.pin_state(), "63c3");
    // Verified by another program, which has left it so.
    world.send(&["0020008206313233343536"]);
    assert_eq!(world.pin_state(), "9000");
    world.start_agent("");
    assert_eq!(world.status(&["check"]), 10);
}

#[test]
fn a_restart_of_pcscd_needs_no_person() {
    let Some(mut world) = World::unlocked(ED25519) else {
        return;
    };
    assert!(world.sign("before").status.success());
    world.kill_pcscd();
    world.start_pcscd();
    let started = now();
    // At once: the signature waits for the card.
    let signed = world.sign("after");
    assert!(signed.status.success(), "{signed:?}\n{}", world.log());
    eprintln!(
        "measured: a signature {:?} after the start of pcscd",
        started.elapsed()
    );
    world.verify("after");
    assert_eq!(world.status(&["check"]), 0);
}

/// A client that signs a file again and again, and prints the number of each signature that it does not get.
const SIGNER: &str = r#"for n in $(seq 10); do
rm -f "$0.sig"; ssh-keygen -q -Y sign -f key.pub -n file "$0" 2>/dev/null || echo "$n"; done"#;

#[test]
fn restarts_of_pcscd_under_load_are_seen_by_no_job() {
    let Some(mut world) = World::unlocked(ED25519) else {
        return;
    };
    assert!(world.sign("first").status.success());
    for round in 0..8 {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let name = format!("client{number}");
                std::fs::write(world.path(&name), "text").unwrap();
                let mut client = world.ssh("sh");
                client.args(["-c", SIGNER, &name]);
                client.stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        // At another moment of the requests in each round.
        std::thread::sleep(Duration::from_millis(40 + 13 * round));
        world.restart_pcscd();
        for client in clients {
            let output = client.wait_with_output().unwrap();
            let failed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(failed, "", "round {round}\n{}", world.log());
        }
        assert_eq!(world.status(&["check"]), 0, "round {round}");
    }
    let log = world.log();
    assert!(!log.contains("polkit") && !log.contains("ALARM"), "{log}");
}

#[test]
fn a_pcscd_that_hangs_is_not_shown_as_an_unlocked_card() {
    let Some(world) = World::unlocked(ED25519) else {
        return;
    };
    world.signal_pcscd("STOP");
    assert!(!world.sign("hangs").status.success());
    world.wait("the state of a card that hangs", || {
        world.status(&["check"]) == 13
    });
    let status = String::from_utf8(world.run(&["status"]).stdout).unwrap();
    assert!(
        status.contains("pcscd or the card does not answer"),
        "{status}"
    );
    world.signal_pcscd("CONT");
    world.wait("the card", || world.status(&["check"]) == 0);
    assert!(world.sign("after").status.success());
}

#[test]
fn a_locked_card_refuses_at_once() {
    let Some(world) = World::with_agent(ED25519) else {
        return;
    };
    let key = world.run(&["pubkey"]).stdout;
    std::fs::write(world.path("key.pub"), key).unwrap();
    let mut client = UnixStream::connect(world.path("agent")).unwrap();
    client.write_all(&[0, 0, 0, 1, 11]).unwrap();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    let mut list = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut list).unwrap();
    let blob = &list[5..5 + 4 + 51];
    let body = [&[13][..], blob, &[0, 0, 0, 1, b'x'], &[0; 4]].concat();
    let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let start = now();
            client.write_all(&frame).unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [0, 0, 0, 1, 5]);
            start.elapsed()
        })
        .collect();
    times.sort();
    eprintln!(
        "measured: refusals while locked: median {:?}, slowest {:?}",
        times[50], times[99]
    );
    // The slowest one depends on what else the machine does.
    assert!(times[50] < Duration::from_millis(5), "{times:?}");
    assert!(
        world.log().contains("is locked: nobody has unlocked it"),
        "{}",
        world.log()
    );
}

#[test]
fn the_agent_has_its_memory_to_itself_and_the_pin_in_no_list() {
    let Some(world) = World::unlocked(ED25519) else {
        return;
    };
    let of = |name: &str| std::fs::read(format!("/proc/{}/{name}", world.agent_pid())).unwrap();
    for name in ["cmdline", "environ"] {
        let pin = of(name).windows(6).any(|part| part == b"123456");
        assert!(!pin, "{name}");
    }
    let limits = String::from_utf8(of("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert!(core.unwrap().contains("0                    0"), "{limits}");
    let status = String::from_utf8(of("status")).unwrap();
    let locked = status
        .lines()
        .find(|line| line.starts_with("VmLck:"))
        .unwrap();
    assert!(!locked.ends_with(" 0 kB"), "{locked}");
    assert!(!world.log().contains("123456"));
}

#[test]
fn users_that_are_not_named_neither_list_nor_unlock() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.generate(ED25519);
    world.start_agent("allow = nobody");
    let open = Permissions::from_mode(0o755);
    std::fs::set_permissions(world.path(""), open).unwrap();
    // The folder of the program may be closed to them.
    std::fs::copy(env!("CARGO_BIN_EXE_nightlatch-card"), world.path("program")).unwrap();
    let (agent, control) = (world.path("agent"), world.path("control"));
    let (agent, control) = (agent.to_str().unwrap(), control.to_str().unwrap());
    let program = world.path("program");
    let program = program.to_str().unwrap();
    let pin = world.path("given");
    std::fs::write(&pin, PIN).unwrap();
    let as_user = |user: &str, command: &[&str]| {
        let mut run = Command::new("setpriv");
        run.args(["--reuid", user, "--regid", "65534", "--clear-groups"]);
        run.args(command).env("SSH_AUTH_SOCK", agent);
        run.stdin(std::fs::File::open(&pin).unwrap());
        run.output().unwrap()
    };
    let list = ["ssh-add", "-l"];
    let check = [program, "check", "--control", control];
    let unlock = [program, "unlock", "--control", control, "--pin-file", "-"];
    let lock = [program, "lock", "--control", control];
    let named = as_user("65534", &list);
    assert!(named.status.success(), "{named:?}");
    let other = as_user("65533", &list);
    assert!(!other.status.success(), "{other:?}");
    assert!(
        world.log().contains("user 65533 may not use the card"),
        "{}",
        world.log()
    );
    // A named one may ask for the state, and change nothing.
    for (user, command, status) in [
        ("65534", &check[..], 10),
        ("65534", &unlock, 77),
        ("65534", &lock, 77),
        ("65533", &check, 77),
        ("65533", &unlock, 77),
        ("65533", &lock, 77),
    ] {
        let run = as_user(user, command);
        assert_eq!(
            run.status.code(),
            Some(status),
            "{user} {command:?}: {run:?}"
        );
    }
    assert_eq!(world.status(&["check"]), 10);
    world.unlock();
    for user in ["65534", "65533"] {
        assert_eq!(as_user(user, &lock).status.code(), Some(77));
    }
    assert_eq!(world.status(&["check"]), 0);
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test measures, no rule depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
