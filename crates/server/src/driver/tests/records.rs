//! The entries of the record: order, durability, bounds.

use std::collections::BTreeMap;

use nightlatch_core::event::{Alarm, Grant, RequestId};
use nightlatch_core::record::{Kind, Line, Query};

use super::*;

/// Kind, client and author of each entry.
pub(super) async fn record(house: &House) -> Vec<String> {
    let read = house.handle.records(Query::default());
    let page = timeout(PATIENCE, read).await.unwrap().unwrap().unwrap();
    let words = |line: &Line| {
        let text: serde_json::Value = serde_json::from_str(&line.text).unwrap();
        let word = |key: &str| text[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", word("kind"), word("client"), word("who"))
    };
    page.lines.iter().map(words).collect()
}

#[tokio::test]
async fn a_secret_is_in_the_record_before_it_leaves() {
    let house = House::new().await;
    let entries = |house: &House| {
        let mut store = house.store.clone();
        store.records(&Query::default()).unwrap().lines.len()
    };
    let before = entries(&house);
    let permit = house.permit(0).await;
    assert_eq!(entries(&house), before + 1);
    drop(permit);
    let record = record(&house).await;
    assert_eq!(
        record[record.len() - 2..],
        ["released a server", "undelivered a server"]
    );
    house.end().await;
}

#[tokio::test]
async fn of_two_releases_in_one_moment_the_second_is_an_alarm() {
    let house = House::new().await;
    let (first, second) = (house.permit(0).await, house.permit(0).await);
    // Should the server end now, the next one knows that a secret may have left.
    let saved = house.store.clone().load().unwrap();
    let a = saved.clients.into_iter().find(|it| it.name.as_str() == "a");
    let a = a.map(|it| it.life);
    assert!(matches!(a, Some(Life::Present(present)) if present.state.released));
    let alarms = Query {
        alarms: true,
        ..Query::default()
    };
    let page = house.store.clone().records(&alarms).unwrap();
    let [line] = &page.lines[..] else {
        panic!("not one alarm: {page:?}");
    };
    assert!(line.text.contains("second-request"), "{line:?}");
    drop((first, second));
    house.end().await;
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_from_booting_and_the_record_follows() {
    let house = House::new().await;
    house.store.set_failing(true);
    for _ in 0..2 {
        drop(house.permit(0).await);
    }
    drop(house.permit(1).await);
    house.store.set_failing(false);
    let record = loop {
        let record = record(&house).await;
        if record.contains(&"undelivered b server".to_owned()) {
            break record;
        }
    };
    let released = record
        .iter()
        .filter(|entry| entry.starts_with("released a"));
    assert_eq!(released.count(), 2);
    house.end().await;
}

/// The number of entries of each kind and client in the store, and the sum of those left out of each.
fn counts(store: &MemoryStore) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let (mut recorded, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    for line in store.clone().records(&Query::default()).unwrap().lines {
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
async fn the_records_of_one_machine_are_bounded_and_none_is_missing_from_the_numbers() {
    const ASKED: u64 = 60;
    let house = House::new().await;
    for _ in 0..ASKED {
        drop(house.permit(0).await);
    }
    drop(house.permit(1).await);
    let store = house.store.clone();
    house.end().await;
    let (recorded, left_out) = counts(&store);
    let few = ["released a", "undelivered a"];
    for kind in few {
        assert_eq!(recorded[kind], 10, "{recorded:?}");
        assert_eq!(left_out.get(kind), Some(&(ASKED - 10)), "{left_out:?}");
    }
    // Each is announced, and then counted.
    assert_eq!(recorded["left-out a"], 4);
    // Another machine does not suffer from it.
    for kind in ["released b", "undelivered b"] {
        assert_eq!(recorded[kind], 1, "{recorded:?}");
    }
    assert_eq!(recorded.get("left-out b"), None);
}

#[tokio::test]
async fn a_release_that_was_delivered_is_recorded_whatever_was_abandoned_before() {
    let house = House::new().await;
    for _ in 0..12 {
        drop(house.permit(0).await);
    }
    house.permit(0).await.delivered();
    let store = house.store.clone();
    house.end().await;
    assert_eq!(counts(&store).0["released a"], 11);
}

#[tokio::test]
async fn what_is_known_of_a_machine_is_durable_before_a_release_that_is_not_recorded() {
    let house = House::new().await;
    for _ in 0..15 {
        drop(house.permit(0).await);
    }
    // Reading waits for all that came before it to be written.
    record(&house).await;
    let is_released = |house: &House| {
        let saved = house.store.clone().load().unwrap();
        let a = saved.clients.into_iter().find(|it| it.name.as_str() == "a");
        matches!(a.unwrap().life, Life::Present(present) if present.state.released)
    };
    assert!(!is_released(&house));
    let permit = house.permit(0).await;
    assert!(is_released(&house));
    drop(permit);
    house.end().await;
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
    let options = Options {
        alarm_command: Some("true".to_owned()),
        ..options()
    };
    let (mut driver, _) = Driver::new(registry, Box::new(MemoryStore::default()), options);
    // Nothing else runs before this test waits.
    for request in 0..30 {
        driver.report(Event::Granted {
            client,
            request: RequestId(request),
            grant: Grant::NotNeeded,
            rehearsal: false,
            alarm: Some(Alarm::SecondRequest),
        });
    }
    assert_eq!(driver.journal.outbox.unwritten_records(), 11);
    assert_eq!(driver.notifier.alarms.unwrap().count_waiting(), 30);
}

#[tokio::test]
async fn what_is_left_out_of_alarms_is_an_alarm() {
    const ASKED: usize = 15;
    let house = House::new().await;
    let mut permits = Vec::new();
    for _ in 0..ASKED {
        permits.push(house.permit(0).await);
    }
    drop(permits);
    let store = house.store.clone();
    house.end().await;
    let alarms = Query {
        alarms: true,
        kinds: vec![Kind::LeftOut],
        ..Query::default()
    };
    let lines = store.clone().records(&alarms).unwrap().lines;
    let [announced, counted] = &lines[..] else {
        panic!("not two: {lines:?}");
    };
    let word = "\"alarm\":\"second-request\"";
    assert!(announced.text.contains(word) && counted.text.contains(word));
    // The first of them is no alarm.
    assert!(counted.text.contains("left out: 4"), "{counted:?}");
}
