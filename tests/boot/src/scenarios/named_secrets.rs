//! Named secrets for a service of systemd, in a guest whose agent gets them from a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use memchr::memmem;
use nightlatch_core::digits::Hex;
use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_interop::programs::ours;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::booted::BootedSite;
use crate::images::MachineKind;
use crate::making::{ADMIN_KEY, random};
use crate::scenario::{Scenario, ScenarioContext};

/// The service that needs the secret `db`, and the unit that gets it.
const SERVICE: &str = "boot-test-secret.service";
const GETTER: &str = "nightlatch-secret@db.service";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "agent-named-secrets",
            "a service starts with its secret, and with nothing forged, swapped, rolled back or expired; no disk has it",
            named_secrets,
        )
        .with(&[MachineKind::Booted], 1),
    ]
}

fn named_secrets(context: &ScenarioContext<'_>) {
    let mut site = BootedSite::start(context);
    let admin = Administrator::new(site.machine.file(ADMIN_KEY));
    starts_with_its_secret(&site, &admin);
    starts_when_the_server_is_back(&mut site, &admin);
    waits_for_an_approval(&site, &admin);
    is_on_no_disk(&site, &admin);
    forged(&site, &admin);
    swapped(&site, &admin);
    rolled_back(&mut site, &admin);
    expired(&site, &admin);
}

fn starts_with_its_secret(site: &BootedSite<'_>, admin: &Administrator) {
    let value = admin.put(site, &[]);
    site.guest.run(&format!("systemctl start {SERVICE}"));
    assert_runs_with(site, &value);
}

fn starts_when_the_server_is_back(site: &mut BootedSite<'_>, admin: &Administrator) {
    stop(site);
    let value = admin.put(site, &[]);
    let guest = &site.guest;
    site.place.while_away(|_| {
        assert_fails(guest);
        let status = guest.run(&format!("systemctl status {GETTER} || true"));
        assert!(
            status.contains("no trusted server could be reached"),
            "it does not say why: {status}"
        );
    });
    site.guest.run(&format!(
        "until systemctl is-active --quiet {SERVICE}; do sleep 0.2; done"
    ));
    assert_runs_with(site, &value);
}

fn waits_for_an_approval(site: &BootedSite<'_>, admin: &Administrator) {
    stop(site);
    let value = admin.put(site, &["--approval"]);
    site.guest
        .run(&format!("systemctl start --no-block {SERVICE}"));
    site.guest.run(&format!(
        "until systemctl status {GETTER} | grep 'Status:.*approv'; do sleep 0.2; done"
    ));
    site.place.nightlatch(&["approve", site.machine.name()]);
    site.guest.run(&format!(
        "until systemctl is-active --quiet {SERVICE}; do sleep 0.2; done"
    ));
    assert_runs_with(site, &value);
}

fn is_on_no_disk(site: &BootedSite<'_>, admin: &Administrator) {
    let (first, second) = admin.value.split_at(admin.value.len() / 2);
    // The search finds what is there.
    site.guest
        .run("sync; grep -aqF \"$(cat /nightlatch-boot-test.mark)\" /dev/mapper/root_crypt");
    site.guest.run(&format!(
        "! grep -aqF {first}''{second} /dev/mapper/root_crypt"
    ));
    for disk in site.guest.written_disks() {
        let found = memmem::find(&disk, admin.value.as_bytes());
        assert_eq!(found, None, "the secret is on a disk");
    }
}

fn forged(site: &BootedSite<'_>, admin: &Administrator) {
    stop(site);
    let stranger = Administrator::new(admin.new_key());
    stranger.put(site, &[]);
    assert_refused(site, "forged");
}

/// A server gives another secret of the same machine under this name.
fn swapped(site: &BootedSite<'_>, admin: &Administrator) {
    let other = admin.sealed(site, "other");
    let (name, renamed) = (b"\nname other\n", b"\nname db\n");
    let at = memmem::find(other.as_bytes(), name).expect("it has a name");
    let (before, after) = other.as_bytes().split_at(at);
    let bytes = [before, renamed, &after[name.len()..]].concat();
    admin.put_sealed(site, &SealedSecret::from_bytes(bytes).unwrap());
    assert_refused(site, "swapped");
}

fn rolled_back(site: &mut BootedSite<'_>, admin: &Administrator) {
    admin.put(site, &[]);
    let saved = tempfile::tempdir().unwrap();
    site.place
        .while_away(|home| copy(&home.state(), saved.path()));
    let value = admin.put(site, &[]);
    site.guest.run(&format!("systemctl start {SERVICE}"));
    assert_runs_with(site, &value);
    stop(site);
    site.place.while_away(|home| {
        fs::remove_dir_all(home.state()).unwrap();
        copy(saved.path(), &home.state());
    });
    // Our server sees that its state is an old one, and asks a person. One that does not see it would give the secret.
    let before = site.record_count();
    site.guest
        .run(&format!("systemctl start --no-block {SERVICE}"));
    site.next_logged(0, &["waits for approval"]);
    site.place.nightlatch(&["approve", site.machine.name()]);
    wait_for_rejection(site, before, "rolled-back");
    site.guest.run(&format!("! systemctl is-active {SERVICE}"));
    stop(site);
}

fn expired(site: &BootedSite<'_>, admin: &Administrator) {
    admin.put(site, &["--expires", "2d"]);
    site.guest.run("date -s '+3 days'");
    assert_refused(site, "expired");
}

/// Stops the service and the unit that got its secret.
fn stop(site: &BootedSite<'_>) {
    site.guest
        .run(&format!("systemctl stop {GETTER}; systemctl reset-failed"));
    site.guest.run("! test -e /run/nightlatch/credentials/db");
}

fn assert_runs_with(site: &BootedSite<'_>, value: &str) {
    let digest = Hex(&Sha256::digest(value)).to_string();
    let told = site.guest.run("cat /run/boot-test-secret");
    assert!(told.contains(&digest), "another secret: {told}");
}

/// Starts the service, which must fail because it has no secret.
fn assert_fails(guest: &crate::guest::Guest) {
    guest.run(&format!("! systemctl start {SERVICE}"));
    guest.run(&format!("! systemctl is-active {SERVICE}"));
}

/// Starts the service, which must fail as the agent refuses what the server gives. The server is told.
fn assert_refused(site: &BootedSite<'_>, reason: &str) {
    let before = site.record_count();
    assert_fails(&site.guest);
    wait_for_rejection(site, before, reason);
    stop(site);
}

/// Waits for the server's alarm that the agent has refused the secret for this reason, after the first `before` records.
fn wait_for_rejection(site: &BootedSite<'_>, before: usize, reason: &str) {
    let rejected = |record: &Value| {
        record["kind"] == "secret-rejected"
            && record["alarm"] == "secret-rejected"
            && record["secret"] == "db"
            && record["reason"] == reason
    };
    site.place
        .wait_until(&site.guest, &format!("an alarm of {reason}"), || {
            site.records_after(before).iter().any(rejected)
        });
}

/// Copies the files of a folder with all that belongs to them.
fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    let copied = copy.arg("-aT").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cannot copy {}", from.display());
}

/// An administrator with a key, in a home of its own.
#[derive(Debug)]
struct Administrator {
    key: PathBuf,
    home: TempDir,
    /// Begins all of its values, to be searched for.
    value: String,
}

impl Administrator {
    fn new(key: PathBuf) -> Self {
        Self {
            key,
            home: tempfile::tempdir().unwrap(),
            value: random(),
        }
    }

    /// A key that no machine believes.
    fn new_key(&self) -> PathBuf {
        let file = self.home.path().join("other-key");
        let mut new = self.command(&["admin-key", "new", "--no-passphrase", "--file"]);
        assert!(new.arg(&file).output().unwrap().status.success());
        file
    }

    /// Puts a new value of the secret `db`. Requests for it wait for a person only if `options` have `--approval`: what a put
    /// before has said would stay.
    fn put(&self, site: &BootedSite<'_>, options: &[&str]) -> String {
        let value = format!("{} {}", self.value, random());
        let file = self.home.path().join("value");
        fs::write(&file, &value).unwrap();
        let mut put = self.command(&["secret", "put", "db", site.machine.name(), "--yes"]);
        put.arg("--from").arg(file).args(options);
        if !options.contains(&"--approval") {
            put.arg("--no-approval");
        }
        put.arg("--admin-key").arg(&self.key);
        site.place.run(put);
        value
    }

    /// A value for another name, sealed.
    fn sealed(&self, site: &BootedSite<'_>, name: &str) -> SealedSecret {
        let mut seal = self.command(&["secret", "seal", name, "--generate"]);
        seal.arg("--host-key").arg(site.machine.file("section"));
        seal.arg("--admin-key").arg(&self.key);
        SealedSecret::from_text(&site.place.run(seal)).unwrap()
    }

    fn put_sealed(&self, site: &BootedSite<'_>, sealed: &SealedSecret) {
        let file = self.home.path().join("sealed");
        fs::write(&file, sealed.to_text()).unwrap();
        let mut put = self.command(&["secret", "put", "--no-approval", "--sealed"]);
        put.arg(file);
        site.place.run(put);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(ours("nightlatch"));
        command.args(words).env("HOME", self.home.path());
        command.env_remove("XDG_CONFIG_HOME");
        command
    }
}
