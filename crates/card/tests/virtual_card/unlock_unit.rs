//! The command of `nightlatch-card-unlock@AID.service`, as the unit has it, with a folder in place of systemd's credentials.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Output, Stdio};

use nightlatch_core::secret_name::SecretName;

use super::apdus::ED25519;
use super::world::{PIN, World};

const UNIT: &str = include_str!("../../../../dist/systemd/nightlatch-card-unlock@.service.in");

/// The AID of a card that is not there.
const OTHER: &str = "d2760001240103040006000000090000";

const WRONG: &str = "654321";

/// The value of a line of the unit, for this instance.
fn setting(name: &str, aid: &str) -> String {
    let line = UNIT.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().replace("%i", aid)
}

impl World {
    /// With the names of the card and its key in card.conf.
    fn named_in_conf() -> Option<(Self, String)> {
        let mut world = Self::with_agent(ED25519)?;
        let [_, aid, _, key] = world.named();
        world.kill_agent();
        world.start_agent(&format!("card = {aid}\nkey = {key}\n"));
        Some((world, aid))
    }

    /// Passes this secret to the unit; `None`: there is none.
    fn pass(&self, aid: &str, pin: Option<&str>) {
        let folder = self.path("credentials");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let credential = setting("LoadCredential=", aid);
        let (name, source) = credential.split_once(':').unwrap();
        assert!(SecretName::new(name).is_ok(), "{name}");
        assert_eq!(source, format!("/run/nightlatch/credentials/{name}"));
        let needed = format!("Requires=nightlatch-secret@{name}.service");
        assert!(UNIT.replace("%i", aid).lines().any(|line| line == needed));
        if let Some(pin) = pin {
            // As systemd makes it.
            let file = folder.join(name);
            fs::write(&file, pin).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap();
        }
    }

    /// The command of the unit.
    fn unit(&self, aid: &str) -> Command {
        let line = setting("ExecStart=", aid);
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("@bindir@/nightlatch-card"));
        let words: Vec<&str> = words.collect();
        let mut command = self.card(&words);
        command.stdin(Stdio::null());
        command.env("CREDENTIALS_DIRECTORY", self.path("credentials"));
        command
    }

    fn run_unit(&self, aid: &str) -> Output {
        self.unit(aid).output().unwrap()
    }

    /// Types a PIN, as the command does that has asked for it.
    fn type_pin(&self, pin: &str) -> String {
        let mut control = UnixStream::connect(self.path("control")).unwrap();
        write!(control, "unlock person {}\n{pin}", pin.len()).unwrap();
        let mut answer = String::new();
        control.read_to_string(&mut answer).unwrap();
        answer
    }

    fn tries(&self) -> String {
        let status = String::from_utf8(self.run(&["status"]).stdout).unwrap();
        let line = status.lines().find(|line| line.contains("tries left"));
        line.unwrap_or_default().trim().to_owned()
    }
}

/// A unit that waits, and what it tells systemd.
struct Waiting {
    child: Child,
    manager: UnixDatagram,
}

impl Waiting {
    fn start(world: &World, aid: &str) -> Self {
        let place = world.path("manager");
        let _ = fs::remove_file(&place);
        let manager = UnixDatagram::bind(&place).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut command = world.unit(aid);
        command.env("NOTIFY_SOCKET", &place);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        Self { child, manager }
    }

    fn wait_for_status(&self, world: &World, text: &str) {
        world.wait(&format!("the status {text:?}"), || {
            let mut room = [0; 1024];
            let read = self.manager.recv(&mut room).unwrap_or(0);
            String::from_utf8_lossy(&room[..read]).contains(text)
        });
    }

    fn ends_well(mut self, world: &World) {
        let deadline = nightlatch_test_support::Deadline::start();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(!deadline.passed(), "not in time: {}", world.log()),
            }
            std::thread::sleep(super::world::PAUSE);
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_unit_unlocks_the_card_once_and_is_done_with_an_unlocked_one() {
    let Some((world, aid)) = World::named_in_conf() else {
        return;
    };
    // No secret: nothing is waited for.
    world.pass(&aid, None);
    let missing = world.run_unit(&aid);
    assert_eq!(missing.status.code(), Some(66), "{missing:?}");
    world.pass(&aid, Some(PIN));
    for _ in 0..2 {
        let unlocked = world.run_unit(&aid);
        assert!(unlocked.status.success(), "{unlocked:?}");
    }
    assert_eq!(world.status(&["check"]), 0);
    let given = world.log().matches("gives a PIN").count();
    assert_eq!(given, 1, "{}", world.log());
    assert!(world.sign("text").status.success());
}

#[test]
fn a_wrong_pin_of_the_server_costs_one_try_and_is_never_tried_again() {
    let Some((world, aid)) = World::named_in_conf() else {
        return;
    };
    world.pass(&aid, Some(WRONG));
    let wrong = world.run_unit(&aid);
    assert_eq!(wrong.status.code(), Some(10), "{wrong:?}");
    assert!(said(&wrong).contains("2 tries are left"), "{wrong:?}");
    assert!(world.log().contains("ALARM: the card has refused a PIN"));
    // systemd restarts it only when it was killed, and what a person starts by hand does no more harm.
    assert_eq!(setting("Restart=", &aid), "on-abnormal");
    assert_eq!(world.run_unit(&aid).status.code(), Some(12));
    // A person gives all tries back, and the server still has the wrong PIN.
    assert!(world.type_pin(PIN).starts_with("done"));
    assert_eq!(world.status(&["lock"]), 0);
    assert_eq!(world.tries(), "tries left: 3");
    let again = world.run_unit(&aid);
    assert_eq!(again.status.code(), Some(10), "{again:?}");
    assert!(
        said(&again).contains("has refused this one before"),
        "{again:?}"
    );
    assert_eq!(world.tries(), "tries left: 3");
    // The right one in its place.
    world.pass(&aid, Some(PIN));
    assert!(world.run_unit(&aid).status.success());
    for pin in [PIN, WRONG] {
        assert!(!world.log().contains(pin));
    }
}

#[test]
fn the_unit_waits_for_agent_pcscd_and_card_and_jobs_do_not() {
    let Some((mut world, aid)) = World::named_in_conf() else {
        return;
    };
    let [_, _, _, key] = world.named();
    let conf = format!("card = {aid}\nkey = {key}\n");
    world.pass(&aid, Some(PIN));
    // No agent, then one without pcscd, then one with a card.
    world.kill_agent();
    world.kill_pcscd();
    let waiting = Waiting::start(&world, &aid);
    waiting.wait_for_status(&world, "no agent answers");
    world.start_agent(&conf);
    assert_eq!(world.status(&["check"]), 13);
    assert_eq!(
        world.status(&["exec", "--socket", "agent", "--", "true"]),
        13
    );
    world.start_pcscd();
    waiting.ends_well(&world);
    assert_eq!(world.status(&["check"]), 0);
    // A new agent has no PIN: the unit is started with it.
    world.kill_agent();
    world.start_agent(&conf);
    assert_eq!(world.status(&["check"]), 10);
    assert!(world.run_unit(&aid).status.success());
}

#[test]
fn the_pin_goes_to_no_other_card_and_to_no_other_key() {
    let Some((mut world, aid)) = World::named_in_conf() else {
        return;
    };
    let [_, _, _, key] = world.named();
    // The instance is another card.
    world.pass(OTHER, Some(PIN));
    let waiting = Waiting::start(&world, OTHER);
    waiting.wait_for_status(&world, "the PIN is for the card");
    drop(waiting);
    // card.conf has another key.
    world.pass(&aid, Some(PIN));
    world.kill_agent();
    let wrong = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDvbVGLiVNDnhQ9dEE";
    world.start_agent(&format!("card = {aid}\nkey = {wrong}\n"));
    let waiting = Waiting::start(&world, &aid);
    waiting.wait_for_status(&world, "another authentication key");
    drop(waiting);
    // No key is named: what to write is told, and it helps.
    world.kill_agent();
    world.start_agent("");
    let refused = world.run_unit(&aid);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let line = format!("`key = {key}`");
    assert!(said(&refused).contains(&line), "{refused:?}");
    assert_eq!(world.tries(), "tries left: 3");
    assert!(!world.log().contains("ALARM"), "{}", world.log());
    world.kill_agent();
    world.start_agent(&format!("key = {key}"));
    assert!(world.run_unit(&aid).status.success());
}
