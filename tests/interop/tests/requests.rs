//! Requests that wait for a person: each has a number, and a decision is for one of them.
#![forbid(unsafe_code)]

use std::process::Output;

use nightlatch_bus::error::BusError;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::own::RecordQuery;
use nightlatch_interop::administered::Administered;
use nightlatch_interop::client;
use nightlatch_interop::machine::{MachineKeys, TestMachine};
use nightlatch_interop::process::RunningProgram;
use nightlatch_interop::programs::Project;

const ASKS: &str = "checker = true\ninterval = PT1H\ntimeout = PT2H\napproval_delay = PT1H\n\
    approval_duration = PT1H\napproved_by_default = no";

fn machine() -> TestMachine {
    TestMachine::new(
        "asks",
        Project::Ours,
        MachineKeys::Curve25519,
        b"a password",
    )
}

fn site(machine: &TestMachine) -> Administered {
    let settings = [("check_on_release", "no")];
    Administered::start_with(Project::Ours, &machine.section(ASKS), &settings)
}

/// A boot that waits for approval, and the number of its request, which none of `before` has.
fn boot(machine: &TestMachine, site: &Administered, before: &[u64]) -> (RunningProgram, u64) {
    let boot = client::start(Project::Ours, machine, &site.server.address());
    (boot, next_request(site, before))
}

/// The number of a request that waits and is none of `before`.
fn next_request(site: &Administered, before: &[u64]) -> u64 {
    let running = site.server.running();
    running.wait_for("a request that waits", |line| {
        let line = line.contains("waits for approval").then_some(line)?;
        let (_, number) = line.split_once(" request=")?;
        let number = number.split(' ').next()?.parse().ok()?;
        (!before.contains(&number)).then_some(number)
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_refused(output: &Output, why: &[&str]) {
    let said = said(output);
    assert!(!output.status.success(), "{said}");
    assert!(why.iter().all(|why| said.contains(why)), "{said}");
}

#[test]
fn every_tool_approves_the_one_request_that_waits_and_no_other() {
    let machine = machine();
    let site = site(&machine);
    let mut numbers = Vec::new();
    for tool in [
        &["approve", "asks"][..],
        &["ctl", "--approve", "asks"],
        &["mandos-ctl"],
    ] {
        let (booting, number) = boot(&machine, &site, &numbers);
        numbers.push(number);
        let line = format!("request {number} waits for an administrator's approval, at most ");
        booting.wait_for("that its console says so", |said| {
            said.contains(&line).then_some(())
        });
        let output = match tool {
            ["mandos-ctl"] => site.mandos_ctl(&["--approve", "asks"]),
            arguments => site.nightlatch(arguments),
        };
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(booting.finish().stdout, b"a password");
        // The next one waits, though approval_duration is not over.
        let (next, number) = boot(&machine, &site, &numbers);
        numbers.push(number);
        next.kill();
        site.server.running().wait_for("that it went", |line| {
            let went = format!("request={number} ");
            (line.contains("went away") && line.contains(&went)).then_some(())
        });
    }
}

#[tokio::test]
async fn of_several_requests_a_person_names_the_one_that_is_meant() {
    let machine = machine();
    let site = site(&machine);
    let server = site.connect().await;
    let (first, one) = boot(&machine, &site, &[]);
    let (second, two) = boot(&machine, &site, &[one]);
    let (named, other) = (one.to_string(), two.to_string());
    let list = [&*named, &other, "nightlatch approve --request"];
    for tool in [&["approve", "asks"][..], &["ctl", "--approve", "asks"]] {
        is_refused(&site.nightlatch(tool), &list);
    }
    is_refused(&site.mandos_ctl(&["--approve", "asks"]), &[]);
    is_refused(&site.nightlatch(&["deny", "asks"]), &[&named, &other]);
    let path = ClientPath::of_name("asks");
    match server.approve(&path, true).await {
        Err(BusError::SeveralRequests(text)) => {
            assert!(list.iter().all(|part| text.contains(part)), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let why = server.explain("asks").await.unwrap().text;
    assert!(list.iter().all(|part| why.contains(part)), "{why}");
    let requests = server.requests(Some("asks")).await.unwrap();
    let numbers: Vec<u64> = requests.iter().map(|request| request.number).collect();
    assert_eq!(numbers, [one, two]);
    for request in &requests {
        assert!(request.peer.starts_with("[::1]:"), "{request:?}");
        assert!(request.boot.is_some() && request.until > request.since);
    }

    let alarms = RecordQuery {
        alarms: true,
        ..RecordQuery::default()
    };
    let page = server.query_records(&alarms).await.unwrap();
    let [alarm] = &page.lines[..] else {
        panic!("not one alarm: {page:?}");
    };
    assert!(alarm.contains("several-wait"), "{alarm}");

    let output = site.nightlatch(&["approve", "asks", "--request", &other]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(second.finish().stdout, b"a password");
    let waiting = server.requests(None).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].number), (1, one));
    // A request that was decided, or never existed, is not pending.
    is_refused(
        &site.nightlatch(&["approve", "asks", "--request", &other]),
        &["no request", &named],
    );
    let decided = server.decide(two, true).await;
    assert!(
        matches!(decided, Err(BusError::NoRequest(_))),
        "{decided:?}"
    );
    let output = site.nightlatch(&["deny", "asks", "--request", &named]);
    assert!(output.status.success(), "{}", said(&output));
    // It was about that request: the machine asks again, and is a new one.
    assert!(next_request(&site, &[one, two]) > two);
    assert_eq!(first.terminate().stdout, b"");
}

#[tokio::test]
async fn where_none_waits_that_is_said_and_nothing_is_approved_ahead() {
    let machine = machine();
    let site = site(&machine);
    let server = site.connect().await;
    let path = ClientPath::of_name("asks");
    let approved = server.approve(&path, true).await;
    assert!(
        matches!(&approved, Err(BusError::NoRequest(text)) if text.contains("--until waiting"))
    );
    is_refused(
        &site.nightlatch(&["approve", "asks"]),
        &[
            "no request of asks for its boot secret waits",
            "nightlatch wait --until waiting asks",
        ],
    );
    let (waits, number) = boot(&machine, &site, &[]);
    assert_eq!(server.requests(None).await.unwrap()[0].number, number);
    waits.kill();
}
