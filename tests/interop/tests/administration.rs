//! Our server over the bus: the audit log, alarms, clients that are added, and a bus that goes away.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nightlatch_bus::client::ClientView;
use nightlatch_bus::error::BusError;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::own::RecordQuery;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_bus::proxy;
use nightlatch_core::explanation::ReleaseVerdict;
use nightlatch_core::record::{ChainPosition, RecordLine};
use nightlatch_interop::administered::{Administered, section};
use nightlatch_interop::client;
use nightlatch_interop::dbus::Bus;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::programs::Project;
use nightlatch_interop::server::Home;

/// Only a hang ever takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Up without being checked for as long as a test takes.
const UP: &str = "interval = PT1H\ntimeout = PT2H";

fn machine(name: &str) -> TestMachine {
    TestMachine::new(name, Project::Ours, MachineKeys::Curve25519, b"a password")
}

fn is_served(machine: &TestMachine, site: &Administered) {
    let output = client::fetch(Project::Ours, machine, &site.server.address());
    assert_eq!(output.stdout, machine.password, "{output:?}");
}

/// Every record, its chain verified from its start to the server's own end.
async fn record(server: &proxy::MandosProxy) -> Vec<serde_json::Value> {
    let page = server.query_records(&RecordQuery::default()).await.unwrap();
    assert_eq!(page.next, None);
    let lines: Vec<RecordLine> = page
        .lines
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    let end = lines
        .iter()
        .try_fold(ChainPosition::default(), |at, line| at.check(line));
    let head = server.about().await.unwrap().record_head;
    assert_eq!(
        (end.unwrap().seq, end.unwrap().hash.to_string()),
        (head.seq, head.hash)
    );
    let text = |line: &RecordLine| serde_json::from_str(&line.text).unwrap();
    lines.iter().map(text).collect()
}

/// Kind and reason of every record about `client`.
fn told(record: &[serde_json::Value], client: &str) -> Vec<String> {
    let of_client = record.iter().filter(|it| it["client"] == client);
    of_client
        .map(|it| {
            let kind = it["kind"].as_str().unwrap();
            match it["alarm"].as_str().or(it["reason"].as_str()) {
                Some(word) => format!("{kind}: {word}"),
                None => kind.to_owned(),
            }
        })
        .collect()
}

/// Starts the server again with what it left, after a SIGKILL.
fn killed_and_started(site: Administered) -> Administered {
    let Administered { server, bus } = site;
    Administered::start_again(server.kill(), bus)
}

#[tokio::test]
async fn a_release_is_recorded_before_the_password_arrives() {
    let machine = machine("recorded");
    let site = Administered::start(Project::Ours, &machine.section(UP));
    is_served(&machine, &site);
    let site = killed_and_started(site);
    let server = site.connect().await;
    let record = record(&server).await;
    assert_eq!(told(&record, "recorded"), ["added", "released: enabled"]);
    let released = record.iter().find(|it| it["kind"] == "released").unwrap();
    assert_eq!(released["key_id"], machine.key_id());
    assert_eq!(released["decision"], "release");
    assert!(released["peer"].as_str().unwrap().starts_with("[::1]:"));
    let kinds: Vec<_> = record
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["started", "added", "released", "started"]);
}

#[tokio::test]
async fn a_client_that_was_added_is_served_after_a_kill() {
    let machine = machine("added");
    // A check after a release would fail or not before the client is removed.
    let site = Administered::start_with(Project::Ours, "", &[("check_on_release", "no")]);
    let server = site.connect().await;
    let section = machine.section(UP);
    let path = server.add_client(&section, true).await.unwrap();
    assert_eq!(
        server.clients().await.unwrap(),
        [] as [ClientView; 0],
        "a dry run"
    );
    assert_eq!(server.add_client(&section, false).await.unwrap(), path);
    for dry_run in [true, false] {
        let again = server.add_client(&section, dry_run).await;
        assert!(matches!(again, Err(BusError::Taken(_))), "{again:?}");
    }
    let site = killed_and_started(site);
    is_served(&machine, &site);
    // Else the removal takes back what was not reported as delivered yet, and the audit log says so.
    site.server.running().wait_for("the delivery", |line| {
        line.contains("secret delivered").then_some(())
    });
    let server = site.connect().await;
    server.remove(&path).await.unwrap();
    let site = killed_and_started(site);
    let server = site.connect().await;
    assert_eq!(server.clients().await.unwrap(), [] as [ClientView; 0]);
    let record = record(&server).await;
    let told = told(&record, "added");
    assert_eq!(told, ["added", "released: enabled", "removed"]);
    let added = record.iter().find(|it| it["kind"] == "added").unwrap();
    let uid = rustix::process::getuid().as_raw();
    let who = added["who"].as_str().unwrap();
    assert!(who.starts_with(&format!("uid {uid}")), "{who}");
}

#[tokio::test]
async fn a_faulty_section_is_refused_with_line_and_key() {
    let site = Administered::start(Project::Ours, "");
    let server = site.connect().await;
    for (text, expected) in [
        ("[a]\nkey_id = 7\nsecret = AAAA\n", "section:2: [a] key_id"),
        ("[a]\ntimeuot = 5m\nsecret = AAAA\n", "timeuot"),
        (
            &format!("{}{}", section("a", ""), section("b", "")),
            "expected one section",
        ),
        (
            &section("a", "").replace("secret = YWJj", "secfile = /etc/shadow"),
            "secfile",
        ),
        ("", "expected one section"),
    ] {
        match server.add_client(text, false).await {
            Err(BusError::BadSection(said)) => assert!(said.contains(expected), "{said}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(server.clients().await.unwrap(), [] as [ClientView; 0]);
}

#[tokio::test]
async fn a_person_lets_a_machine_in_or_not_and_the_record_says_who() {
    let machine = machine("asks");
    let more = "approval_delay = PT1H\napproval_duration = PT1M\napproved_by_default = no\n";
    let section = machine.section(&format!("{more}checker = true\n{UP}"));
    let site = Administered::start_with(Project::Ours, &section, &[("check_on_release", "no")]);
    let server = site.connect().await;
    let path = ClientPath::of_name("asks");
    let explanation = server.explain("asks").await.unwrap();
    assert_eq!(explanation.verdict, ReleaseVerdict::NeedsApproval);
    let booting = client::start(Project::Ours, &machine, &site.server.address());
    site.server.running().wait_for("that it waits", |line| {
        line.contains("waits for approval").then_some(())
    });
    assert!(server.clients().await.unwrap()[0].approval_pending);
    server.approve(&path, true).await.unwrap();
    assert_eq!(booting.finish().stdout, machine.password);
    // It was for that request.
    let explanation = server.explain("asks").await.unwrap();
    assert_eq!(explanation.verdict, ReleaseVerdict::NeedsApproval);
    server.approve(&path, false).await.unwrap();
    let explanation = server.explain("asks").await.unwrap();
    assert_eq!(explanation.verdict, ReleaseVerdict::Refused);
    assert!(
        explanation.text.contains("nightlatch approve asks"),
        "{explanation:?}"
    );
    let denied = client::start(Project::Ours, &machine, &site.server.address());
    site.server.running().wait_for("a refusal", |line| {
        line.contains("reason=\"denied\"").then_some(())
    });
    denied.kill();
    let record = record(&server).await;
    let told = told(&record, "asks");
    assert_eq!(
        told[..6],
        [
            "added",
            "waits",
            "approved",
            "released: approved",
            "denied",
            "refused: denied"
        ]
    );
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    for kind in ["approved", "released", "denied"] {
        let entry = record.iter().find(|it| it["kind"] == kind).unwrap();
        assert!(entry["who"].as_str().unwrap().starts_with(&uid), "{entry}");
    }
}

#[tokio::test]
async fn why_tells_of_an_expired_machine() {
    let sections = section("gone", "timeout = 1s\ninterval = PT1H");
    let site = Administered::start(Project::Ours, &sections);
    let server = site.connect().await;
    site.server
        .running()
        .wait_for("the end of its time", |line| {
            line.contains("its deadline passed").then_some(())
        });
    let explanation = server.explain("gone").await.unwrap();
    assert_eq!(
        (explanation.verdict, &*explanation.reason),
        (ReleaseVerdict::Refused, "expired")
    );
    assert!(
        explanation.text.contains("never seen up"),
        "{explanation:?}"
    );
    let nobody = server.explain("nobody").await;
    assert!(
        matches!(nobody, Err(BusError::NoSuchClient(_))),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn the_alarm_command_hears_of_alarms_and_of_who_waits() {
    let (twice, asks) = (machine("twice"), machine("asks"));
    let folder = tempfile::tempdir().unwrap();
    nightlatch_interop::server::open_to_ours(folder.path());
    let heard = folder.path().join("heard");
    let sections = twice.section(UP) + &asks.section(&format!("approval_delay = PT1H\n{UP}"));
    let command = format!("cat >> {}", heard.display());
    let settings = [("alarm_command", &*command), ("check_on_release", "no")];
    let site = Administered::start_with(Project::Ours, &sections, &settings);
    is_served(&twice, &site);
    is_served(&twice, &site);
    let waiting = client::start(Project::Ours, &asks, &site.server.address());
    let lines = lines_of(&heard, 2).await;
    waiting.kill();
    let kinds: Vec<_> = lines
        .iter()
        .map(|it| {
            (
                it["client"].as_str().unwrap(),
                it["kind"].as_str().unwrap(),
                it["alarm"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("twice", "released", Some("second-request")),
            ("asks", "waits", None)
        ]
    );
}

#[tokio::test]
async fn a_machine_that_still_answers_raises_an_alarm() {
    let machine = machine("up");
    let section = machine.section(&format!("checker = true\n{UP}"));
    let site = Administered::start(Project::Ours, &section);
    is_served(&machine, &site);
    site.server.running().wait_for("an alarm", |line| {
        line.contains("still passes its check").then_some(())
    });
    let told = told(&record(&site.connect().await).await, "up");
    assert_eq!(told, ["added", "released: enabled", "alarm: still-answers"]);
}

/// Waits until a file has so many lines of JSON.
async fn lines_of(file: &Path, count: usize) -> Vec<serde_json::Value> {
    let read = async {
        loop {
            let text = fs::read_to_string(file).unwrap_or_default();
            let whole: Vec<_> = text
                .lines()
                .map_while(|line| serde_json::from_str(line).ok())
                .collect();
            if whole.len() >= count {
                return whole;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

#[tokio::test]
async fn the_server_goes_on_without_the_bus_and_finds_it_again() {
    let machine = machine("patient");
    let site = Administered::start(Project::Ours, &machine.section(UP));
    let Administered { server, bus } = site;
    let site = Administered {
        bus: bus.restart(),
        server,
    };
    is_served(&machine, &site);
    let back = async {
        loop {
            if let Ok(clients) = site.connect().await.clients().await {
                return clients;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let clients = tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(clients[0].name, "patient");
}

#[tokio::test]
async fn a_bad_order_is_refused_and_changes_nothing() {
    let site = Administered::start(Project::Ours, &section("foo", UP));
    let server = site.connect().await;
    let before = server.clients().await.unwrap();
    let path = ClientPath::of_name("foo");
    let refused = [
        (Property::Timeout, PropertyValue::Text("5m".into())),
        (Property::Enabled, PropertyValue::Text("yes".into())),
        (Property::Interval, PropertyValue::Milliseconds(1)),
        (Property::Host, PropertyValue::Boolean(true)),
        (
            Property::Checker,
            PropertyValue::Text("ping %(hots)s".into()),
        ),
        (Property::Name, PropertyValue::Text("bar".into())),
    ];
    for (property, value) in refused {
        let answer = server.set(&path, property, &value).await;
        let Err(BusError::Refused { name, text }) = answer else {
            panic!("{property:?}: {answer:?}");
        };
        assert!(!text.contains("Traceback"), "{name}: {text}");
        assert!(
            text.contains(property.name()) || text.contains("interval"),
            "{text}"
        );
    }
    let empty = nightlatch_core::secret::Secret::new(Vec::new());
    assert!(server.set_secret(&path, &empty).await.is_err());
    assert_eq!(server.clients().await.unwrap(), before);
    let told = told(&record(&server).await, "foo");
    assert_eq!(told, ["added"]);
}

#[tokio::test]
async fn the_policy_lets_root_in_and_nobody_else() {
    if !nightlatch_test_support::is_root() {
        return;
    }
    let policy = include_str!("../../../dist/dbus/nightlatch.conf");
    let (_, policies) = policy.split_once("<busconfig>").unwrap();
    let (policies, _) = policies.split_once("</busconfig>").unwrap();
    // The user that the server becomes here.
    let user = nightlatch_interop::server::our_account().uid.to_string();
    let policies = policies.replace("_nightlatch", &user);
    let bus = Bus::strict(&policies);
    let mut home = Home::new(&section("foo", UP), Some(bus.address()));
    home.on_bus();
    let site = Administered::start_again(home, bus);
    let list = |user: &str| {
        let mut busctl = Command::new("setpriv");
        busctl.args(["--reuid", user, "--regid", user, "--clear-groups", "busctl"]);
        busctl.arg(format!("--address={}", site.bus.address()));
        busctl.args(["call", "se.recompile.Mandos", "/", "se.recompile.Mandos"]);
        busctl.arg("GetAllClients");
        site.run(&mut busctl)
    };
    let root = list("root");
    assert!(root.status.success(), "{root:?}");
    assert!(String::from_utf8_lossy(&root.stdout).contains("/clients/foo"));
    let other = list("daemon");
    assert!(!other.status.success(), "{other:?}");
    assert!(
        String::from_utf8_lossy(&other.stderr).contains("denied")
            || String::from_utf8_lossy(&other.stderr).contains("rejected"),
        "{other:?}"
    );
}
