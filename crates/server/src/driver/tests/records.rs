//! The records of the audit log: order, durability, bounds.

use std::collections::BTreeMap;

use nightlatch_core::event::{Alarm, Grant, KeyRole, RequestId};
use nightlatch_core::record::{RecordKind, RecordLine, RecordSelection};

use super::*;

/// Kind, client and author of each entry.
pub(super) async fn record(driver: &TestDriver) -> Vec<String> {
    let read = driver.handle.records(RecordSelection::default());
    let page = timeout(PATIENCE, read).await.unwrap().unwrap().unwrap();
    let words = |line: &RecordLine| {
        let text: serde_json::Value = serde_json::from_str(&line.text).unwrap();
        let word = |key: &str| text[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", word("kind"), word("client"), word("who"))
    };
    page.lines.iter().map(words).collect()
}

#[tokio::test]
async fn a_secret_is_in_the_record_before_it_leaves() {
    let driver = TestDriver::new().await;
    let entries = |driver: &TestDriver| {
        let mut store = driver.store.clone();
        store
            .records(&RecordSelection::default())
            .unwrap()
            .lines
            .len()
    };
    let before = entries(&driver);
    let permit = driver.permit(0).await;
    assert_eq!(entries(&driver), before + 1);
    drop(permit);
    let record = record(&driver).await;
    assert_eq!(
        record[record.len() - 2..],
        ["released a server", "undelivered a server"]
    );
    driver.end().await;
}

#[tokio::test]
async fn of_two_releases_at_once_the_second_is_an_alarm() {
    let driver = TestDriver::new().await;
    let (first, second) = (driver.permit(0).await, driver.permit(0).await);
    // If the server ended now, the next start would know that a secret may have left.
    let saved = driver.store.clone().load().unwrap();
    let a = saved.clients.into_iter().find(|it| it.name.as_str() == "a");
    let a = a.map(|it| it.presence);
    assert!(matches!(a, Some(ClientPresence::Present(present)) if present.state.released));
    let alarms = RecordSelection {
        alarms: true,
        ..RecordSelection::default()
    };
    let page = driver.store.clone().records(&alarms).unwrap();
    let [line] = &page.lines[..] else {
        panic!("not one alarm: {page:?}");
    };
    assert!(line.text.contains("second-request"), "{line:?}");
    drop((first, second));
    driver.end().await;
}

#[tokio::test]
async fn a_full_disk_keeps_no_machine_from_booting_and_the_records_follow() {
    let driver = TestDriver::new().await;
    driver.store.set_failing(true);
    for _ in 0..2 {
        drop(driver.permit(0).await);
    }
    drop(driver.permit(1).await);
    driver.store.set_failing(false);
    let record = loop {
        let record = record(&driver).await;
        if record.contains(&"undelivered b server".to_owned()) {
            break record;
        }
    };
    let released = record
        .iter()
        .filter(|entry| entry.starts_with("released a"));
    assert_eq!(released.count(), 2);
    driver.end().await;
}

#[tokio::test]
async fn the_record_of_a_peer_that_left_just_before_its_release_has_its_key() {
    let driver = TestDriver::new().await;
    let mut request = driver.request(0);
    assert!(timeout(Duration::ZERO, &mut request).await.is_err());
    // The driver handles everything in order: it has released the secret, which nobody received.
    drop(driver.permit(1).await);
    drop(request);
    let store = driver.store.clone();
    let key = driver.keys[0].key_id().to_string();
    driver.end().await;
    let lines = store
        .clone()
        .records(&RecordSelection::default())
        .unwrap()
        .lines;
    let undelivered =
        |line: &&RecordLine| line.text.contains("undelivered") && line.text.contains("\"a\"");
    let line = lines.iter().find(undelivered).unwrap();
    assert!(line.text.contains(&key), "{line:?}");
}

/// The numbers of records by kind and client: those in the store, and those left out.
fn counts(store: &MemoryStore) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let (mut recorded, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    for line in store
        .clone()
        .records(&RecordSelection::default())
        .unwrap()
        .lines
    {
        let text: serde_json::Value = serde_json::from_str(&line.text).unwrap();
        let word = |key: &str| text[key].as_str().unwrap_or("-").to_owned();
        let client = word("client");
        *recorded
            .entry(format!("{} {client}", word("kind")))
            .or_default() += 1;
        let detail = word("detail");
        if let Some((kind, count)) = detail
            .strip_prefix("entries of the kind ")
            .and_then(|rest| rest.split_once(" that were left out: "))
        {
            *left_out.entry(format!("{kind} {client}")).or_default() +=
                count.parse::<u64>().unwrap();
        }
    }
    (recorded, left_out)
}

#[tokio::test]
async fn the_records_of_one_machine_are_bounded_and_those_left_out_are_counted() {
    const REQUESTS: u64 = 60;
    let driver = TestDriver::new().await;
    for _ in 0..REQUESTS {
        drop(driver.permit(0).await);
    }
    drop(driver.permit(1).await);
    let store = driver.store.clone();
    driver.end().await;
    let (recorded, left_out) = counts(&store);
    let few = ["released a", "undelivered a"];
    for kind in few {
        assert_eq!(recorded[kind], 10, "{recorded:?}");
        assert_eq!(left_out.get(kind), Some(&(REQUESTS - 10)), "{left_out:?}");
    }
    // For each kind, one announces that records are left out, and one has their number.
    assert_eq!(recorded["left-out a"], 4);
    // The records of the other machine are complete.
    for kind in ["released b", "undelivered b"] {
        assert_eq!(recorded[kind], 1, "{recorded:?}");
    }
    assert_eq!(recorded.get("left-out b"), None);
}

#[tokio::test]
async fn a_release_that_was_delivered_is_recorded_whatever_was_abandoned_before() {
    let driver = TestDriver::new().await;
    for _ in 0..12 {
        drop(driver.permit(0).await);
    }
    driver.permit(0).await.delivered();
    let store = driver.store.clone();
    driver.end().await;
    assert_eq!(counts(&store).0["released a"], 11);
}

#[tokio::test]
async fn the_state_of_a_machine_is_durable_before_a_release_that_is_not_recorded() {
    let driver = TestDriver::new().await;
    for _ in 0..15 {
        drop(driver.permit(0).await);
    }
    // A read comes after all changes before it were written.
    record(&driver).await;
    let is_released = |driver: &TestDriver| {
        let saved = driver.store.clone().load().unwrap();
        let a = saved.clients.into_iter().find(|it| it.name.as_str() == "a");
        matches!(a.unwrap().presence, ClientPresence::Present(present) if present.state.released)
    };
    assert!(!is_released(&driver));
    let permit = driver.permit(0).await;
    assert!(is_released(&driver));
    drop(permit);
    driver.end().await;
}

#[tokio::test]
async fn an_alarm_that_is_not_recorded_reaches_the_alarm_command() {
    let keys = [RawKey::generate(RawKeyKind::Ed25519).unwrap()];
    let limits = RegistryLimits {
        concurrent_checks: 8,
        check_on_release: false,
        allow_rehearsals: false,
    };
    let registry = Registry::load(
        configured(&keys, |_| {}),
        Saved::default(),
        limits,
        BootId::from_bytes([7; 16]),
        clock::now(),
        &mut |most| most,
    );
    let client = registry.by_name("a").unwrap();
    let options = DriverOptions {
        alarm_command: Some("true".to_owned()),
        ..options()
    };
    let (mut driver, _) = Driver::new(registry, Box::new(MemoryStore::default()), options);
    // No other task runs before this test awaits something.
    for request in 0..30 {
        driver.report(Event::Granted {
            secret: None,
            client,
            request: RequestId(request),
            grant: Grant::NotNeeded,
            role: KeyRole::Boot,
            passage: None,
            downgrade: false,
            rehearsal: false,
            alarm: Some(Alarm::SecondRequest),
        });
    }
    assert_eq!(driver.journal.outbox.unwritten_records(), 11);
    assert_eq!(driver.notifier.alarms.unwrap().count_waiting(), 30);
}

#[tokio::test]
async fn records_about_alarms_left_out_are_alarms() {
    const REQUESTS: usize = 15;
    let driver = TestDriver::new().await;
    let mut permits = Vec::new();
    for _ in 0..REQUESTS {
        permits.push(driver.permit(0).await);
    }
    drop(permits);
    let store = driver.store.clone();
    driver.end().await;
    let alarms = RecordSelection {
        alarms: true,
        kinds: vec![RecordKind::LeftOut],
        ..RecordSelection::default()
    };
    let lines = store.clone().records(&alarms).unwrap().lines;
    let [announced, counted] = &lines[..] else {
        panic!("not two: {lines:?}");
    };
    let word = "\"alarm\":\"second-request\"";
    assert!(announced.text.contains(word) && counted.text.contains(word));
    // The first release is no alarm.
    assert!(counted.text.contains("left out: 4"), "{counted:?}");
}
