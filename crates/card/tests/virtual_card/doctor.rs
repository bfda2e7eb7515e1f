//! The doctor with a real agent and card, and the agent with a pcscd that everybody can reach.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use nightlatch_test_support::skipped;

use super::apdus::ED25519;
use super::world::World;

impl World {
    fn doctor(&self, more: &[&str]) -> Output {
        let mut command = self.card(&["doctor", "--config"]);
        command.arg(self.path("card.conf"));
        command.arg("--socket").arg(self.path("agent")).args(more);
        // Neither the agents nor the GnuPG of who runs the test.
        command
            .env_remove("SSH_AUTH_SOCK")
            .env("GNUPGHOME", self.path("gnupg"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Lets everybody reach pcscd, or nobody but root.
    fn open_pcscd(&self, is_open: bool) {
        let (folder, socket) = if is_open {
            (0o755, 0o666)
        } else {
            (0o700, 0o660)
        };
        fs::set_permissions(self.path(""), Permissions::from_mode(folder)).unwrap();
        fs::set_permissions(self.pcscd_socket(), Permissions::from_mode(socket)).unwrap();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// With polkit this machine's pcscd would not be open.
fn has_polkit() -> bool {
    let has = Path::new("/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy").exists();
    if has {
        skipped("needs a machine whose pcscd does not ask polkit");
    }
    has
}

#[test]
fn a_sound_machine_has_status_0_and_each_fault_its_line() {
    let Some(mut world) = World::unlocked(ED25519) else {
        return;
    };
    let sound = world.doctor(&[]);
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound));
    assert!(
        text(&sound).contains("Nothing was found"),
        "{}",
        text(&sound)
    );
    let json = world.doctor(&["--json"]);
    assert!(
        text(&json).contains("\"is_sound\": true"),
        "{}",
        text(&json)
    );
    // A wrong PIN was typed.
    world.kill_agent();
    assert_eq!(world.send(&["0020008206363534333231"]), "63c2");
    world.start_agent("");
    fs::set_permissions(world.path("card.conf"), Permissions::from_mode(0o666)).unwrap();
    fs::create_dir(world.path("gnupg")).unwrap();
    fs::write(world.path("gnupg/gpg-agent.conf"), "enable-ssh-support\n").unwrap();
    let wrong = world.doctor(&[]);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    for part in [
        "2 tries of its PIN are left",
        "chmod go-w",
        "enable-ssh-support",
        "Something is wrong",
    ] {
        assert!(text(&wrong).contains(part), "{part}: {}", text(&wrong));
    }
    let json = world.doctor(&["--json"]);
    assert_eq!(json.status.code(), Some(1));
    assert!(
        text(&json).contains("\"is_sound\": false"),
        "{}",
        text(&json)
    );
    world.kill_agent();
    let none = world.doctor(&[]);
    assert!(text(&none).contains("no agent answers"), "{}", text(&none));
}

#[test]
fn a_card_that_another_program_holds_is_told() {
    let Some(mut world) = World::with_agent(ED25519) else {
        return;
    };
    world.kill_agent();
    // Another agent at other places.
    let mut other = world.card(&["agent", "--config"]);
    other
        .arg(world.path("card.conf"))
        .arg("--socket")
        .arg(world.path("other"));
    let mut other = other
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    world.wait("the other agent", || world.status(&["check"]) == 10);
    fs::remove_file(world.path("control")).unwrap();
    world.start_agent("");
    let held = world.doctor(&[]);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(held.status.code(), Some(1));
    assert!(
        text(&held).contains("another program holds the card"),
        "{}",
        text(&held)
    );
    world.wait("the card", || world.status(&["check"]) == 10);
}

#[test]
fn a_key_of_a_kind_that_ssh_has_no_name_for_is_told() {
    let Some(mut world) = World::new() else {
        return;
    };
    // secp256k1
    world.generate("132b8104000a");
    world.start_agent("");
    let kind = world.doctor(&[]);
    assert_eq!(kind.status.code(), Some(1));
    assert!(
        text(&kind).contains("of a kind that SSH has no name for"),
        "{}",
        text(&kind)
    );
    assert_eq!(world.status(&["check"]), 11);
}

#[test]
fn the_agent_uses_no_pcscd_that_everybody_can_reach_unless_card_conf_accepts_it() {
    let Some(mut world) = World::unlocked(ED25519) else {
        return;
    };
    if has_polkit() {
        return;
    }
    // While the agent runs: another pcscd with another socket.
    world.kill_pcscd();
    world.open_pcscd(true);
    world.start_pcscd();
    world.wait("the card is refused", || {
        let status = text(&world.run(&["status"]));
        status.contains("every user of this machine can reach pcscd")
    });
    assert_eq!(world.status(&["check"]), 11);
    assert!(!world.sign("text").status.success());
    let found = world.doctor(&[]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found));
    assert!(text(&found).contains("mode 0666"), "{}", text(&found));
    // At the start.
    world.kill_agent();
    let mut agent = world.card(&["agent", "--config"]);
    agent
        .arg(world.path("card.conf"))
        .arg("--socket")
        .arg(world.path("agent"));
    let refused = agent.output().unwrap();
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(
        text(&refused).contains("systemctl restart pcscd.socket"),
        "{refused:?}"
    );
    world.start_agent("open_pcscd = accept");
    world.unlock();
    let accepted = world.doctor(&[]);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted));
    assert!(
        text(&accepted).contains("card.conf accepts it"),
        "{}",
        text(&accepted)
    );
    // With the mode of the package.
    world.kill_agent();
    world.open_pcscd(false);
    world.start_agent("");
    assert_eq!(world.status(&["check"]), 10);
}
