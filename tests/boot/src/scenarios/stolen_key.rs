//! The attack of which Mandos's manual warns: somebody copies the boot keys out of a machine's image, and asks for the
//! disk password with them. What the guard releases, and what it tells.

use std::process::{Command, Stdio};

use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;
use serde_json::Value;

use crate::booted::{BootedSite, seconds_between};
use crate::images::{GuestMachine, MachineKind};
use crate::measurements::AttackResult;
use crate::scenario::{Scenario, ScenarioContext};
use crate::thief::Thief;

pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |name: &str, description: &str, play: fn(&ScenarioContext<'_>)| {
        Scenario::new(name, description, play).with(&[MachineKind::Booted], 1)
    };
    vec![
        scenario(
            "stolen-key-while-up",
            "copied boot keys are refused while the machine is up; with its cable cut they are served and found out",
            while_up,
        )
        .short(),
        scenario(
            "stolen-key-around-reboots",
            "copied boot keys in the window of a reboot and after power cuts: the next boot finds them out",
            around_reboots,
        ),
    ]
}

/// Records that tell an administrator of an attack.
const TELLING: [&str; 8] = [
    "held",
    "released",
    "refused",
    "waits",
    "approved",
    "alarm",
    "goodbye",
    "abandoned",
];

/// Limit in seconds for the alarm after a request while the machine is up: the agent answers at once.
const ALARM_WITHIN: f64 = 1.0;

fn while_up(context: &ScenarioContext<'_>) {
    let site = BootedSite::start(context);
    site.wait_for_client("pokeable", &Value::Bool(true));
    let thief = Thief::with_image_of(site.machine, &site.lan);

    for project in [Project::Ours, Project::Stock] {
        let attack = Attack::begin(&site, format!("machine up, {}", client(project)));
        let asking = thief.ask(project);
        let held = site.next_logged(attack.line, &["held while its agent is asked"]);
        site.next_logged(held, &["alarm: refused"]);
        assert_got_nothing(asking);
        let records = attack.records();
        let found_out = record(&records, "alarm", "impostor");
        let seconds = seconds_between(record(&records, "kind", "held"), found_out);
        assert!(seconds < ALARM_WITHIN, "alarm after {seconds} s");
        attack.end(
            context,
            "no",
            format!("alarm {seconds:.2} s after the request"),
        );
        assert_eq!(site.place.client()["suspect"], "impostor");
        site.trust();
    }

    let attack = Attack::begin(&site, "cable cut, our client".to_owned());
    site.guest.set_link(false);
    let asking = thief.ask(Project::Ours);
    assert_opens(site.machine, asking);
    let records = attack.records();
    let waited = seconds_between(
        record(&records, "kind", "held"),
        record(&records, "kind", "released"),
    );
    let line = site.place.log_lines();
    let plugged = site.guest.now();
    site.guest.set_link(true);
    site.next_logged(line, &["alarm", "released to somebody else"]);
    let found_out = (site.guest.now() - plugged).as_secs_f64();
    // From now on a person decides.
    let asking = thief.ask(Project::Ours);
    site.next_logged(line, &["waits for approval"]);
    assert_got_nothing(asking);
    let records = attack.records();
    record(&records, "alarm", "served-impostor");
    attack.end(
        context,
        "after guard_wait",
        format!(
            "released after {waited:.1} s, found out {found_out:.1} s after the cable was back"
        ),
    );
    site.trust();

    site.configure("unannounced = approve");
    let attack = Attack::begin(&site, "cable cut, unannounced = approve".to_owned());
    site.guest.set_link(false);
    let asking = thief.ask(Project::Ours);
    let waits = site.next_logged(attack.line, &["waits for approval"]);
    assert_got_nothing(asking);
    let plugged = site.guest.now();
    site.guest.set_link(true);
    site.next_logged(waits, &["alarm"]);
    let found_out = (site.guest.now() - plugged).as_secs_f64();
    attack.end(
        context,
        "no",
        format!("told {found_out:.1} s after the cable was back"),
    );
}

fn around_reboots(context: &ScenarioContext<'_>) {
    let site = BootedSite::start(context);
    let thief = Thief::with_image_of(site.machine, &site.lan);

    let attack = Attack::begin(&site, "in the window of a reboot".to_owned());
    site.guest.type_line("systemctl reboot");
    site.next_logged(attack.line, &["said goodbye"]);
    assert_opens(site.machine, thief.ask(Project::Ours));
    let released = site.place.log_lines();
    site.wait_until_up_again(released);
    let records = attack.records();
    let stolen = record(&records, "kind", "released");
    assert_eq!(stolen["detail"], "announced", "{stolen}");
    let asked = record(&records, "alarm", "second-request");
    let told = record(&records, "alarm", "unaccounted");
    let times = format!(
        "first alarm {:.1} s after the release, as the machine asks; second {:.1} s after, as it is up",
        seconds_between(stolen, asked),
        seconds_between(stolen, told)
    );
    attack.end(context, "at once", times);

    site.wait_for_client("pokeable", &Value::Bool(true));
    let attack = Attack::begin(&site, "after a power cut".to_owned());
    site.guest.cut_power();
    assert_opens(site.machine, thief.ask(Project::Ours));
    let released = site.place.log_lines();
    site.guest.restore_power();
    site.wait_until_up_again(released);
    let records = attack.records();
    let stolen = record(&records, "kind", "released");
    let held = record(&records, "kind", "held");
    let times = format!(
        "released after {:.1} s; alarms {:.1} s later, as the machine asks, and {:.1} s later, as it is up",
        seconds_between(held, stolen),
        seconds_between(stolen, record(&records, "alarm", "second-request")),
        seconds_between(stolen, record(&records, "alarm", "unaccounted")),
    );
    attack.end(context, "after guard_wait", times);

    site.configure("unannounced = approve");
    let attack = Attack::begin(&site, "after a power cut, unannounced = approve".to_owned());
    site.guest.cut_power();
    let asking = thief.ask(Project::Ours);
    site.next_logged(attack.line, &["waits for approval"]);
    assert_got_nothing(asking);
    let left = site.place.log_lines();
    site.guest.restore_power();
    site.next_logged(left, &["waits for approval"]);
    site.place.nightlatch(&["approve", site.machine.name()]);
    site.wait_until_up_again(left);
    let records = attack.records();
    record(&records, "alarm", "unaccounted");
    attack.end(
        context,
        "no",
        "told when the machine was up by an approval".to_owned(),
    );
}

/// An attack while it is played.
struct Attack<'a> {
    site: &'a BootedSite<'a>,
    name: String,
    /// The records before it.
    before: usize,
    /// The lines of the server's log before it.
    line: usize,
}

impl<'a> Attack<'a> {
    fn begin(site: &'a BootedSite<'_>, name: String) -> Self {
        Self {
            site,
            name,
            before: site.record_count(),
            line: site.place.log_lines(),
        }
    }

    /// What was recorded since it began.
    fn records(&self) -> Vec<Value> {
        self.site.records_after(self.before)
    }

    /// Puts it into the table.
    fn end(self, context: &ScenarioContext<'_>, released: &'static str, times: String) {
        let records = self.records();
        let told = records.iter().filter_map(|record| {
            let kind = record["kind"].as_str()?;
            let alarm = record["alarm"].as_str();
            TELLING.contains(&kind).then(|| match alarm {
                Some(alarm) => format!("{kind} **{alarm}**"),
                None => kind.to_owned(),
            })
        });
        context.measurements.add_attack(AttackResult {
            told: told.collect::<Vec<_>>().join(", "),
            attack: self.name,
            released,
            times,
        });
    }
}

/// The first of these records whose `key` is `value`.
fn record<'r>(records: &'r [Value], key: &str, value: &str) -> &'r Value {
    let found = records.iter().find(|record| record[key] == value);
    found.unwrap_or_else(|| panic!("no record with {key} {value}: {records:?}"))
}

fn client(project: Project) -> &'static str {
    match project {
        Project::Ours => "our client",
        Project::Stock => "the stock client",
    }
}

/// Ends a client that asks, and fails when it has got a secret.
fn assert_got_nothing(asking: RunningProgram) {
    let output = asking.terminate();
    assert!(output.stdout.is_empty(), "the thief has the secret");
}

/// Waits for the secret of a client that asks, and tries it on the disk.
fn assert_opens(machine: &GuestMachine, asking: RunningProgram) {
    use std::io::Write;
    let output = asking.finish();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.stdout.is_empty(), "the thief got nothing: {said}");
    let mut open = Command::new("cryptsetup");
    open.args(["open", "--test-passphrase", "--key-file", "-"]);
    let mut open = open
        .arg(machine.file("root.luks"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    open.stdin
        .take()
        .unwrap()
        .write_all(&output.stdout)
        .unwrap();
    assert!(
        open.wait().unwrap().success(),
        "what the thief got opens no disk"
    );
}
