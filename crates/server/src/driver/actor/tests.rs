//! Messages of one batch, whose order no program outside can choose.

use nightlatch_core::event::Refusal;
use nightlatch_store::MemoryStore;
use tokio::sync::oneshot;

use super::*;
use crate::driver::tests::{keys, options, registry, request};

#[tokio::test]
async fn a_grant_whose_deadline_passes_before_its_answer_is_refused_and_no_longer_under_way() {
    let keys = keys();
    let store = Box::new(MemoryStore::default());
    let (mut driver, _handle) = Driver::new(registry(&keys, |_| {}), store, options());
    let client = driver.registry.by_name("a").unwrap();
    let (answer, mut answered) = oneshot::channel();
    driver.handle(DriverMessage::Request(request(1, &keys[0]), answer, None));
    // As the next message of the batch does.
    let mut later = clock::now();
    later.mono = later.mono.after(Duration::from_secs(24 * 60 * 60));
    driver.registry.handle_timeout(later);
    driver.collect();
    driver.act();
    let decision = answered.try_recv().unwrap();
    assert_eq!(decision.expect_err("refused"), Refusal::Disabled);
    let report = driver.messages.try_recv().unwrap();
    driver.handle(report);
    assert!(driver.requests.is_empty());
    // Otherwise the next request would raise the alarm of a second one.
    driver.registry.handle_enable(client, later);
    driver.registry.handle_checked_ok(client, later);
    let (answer, _answered) = oneshot::channel();
    driver.handle(DriverMessage::Request(request(2, &keys[0]), answer, None));
    driver.collect();
    assert!(!driver.requests[&RequestId(2)].alarmed);
}

#[tokio::test]
async fn a_grant_that_is_revoked_before_its_answer_is_refused_for_the_cause_of_that() {
    let keys = keys();
    let store = Box::new(MemoryStore::default());
    let (mut driver, _handle) = Driver::new(registry(&keys, |_| {}), store, options());
    let client = driver.registry.by_name("a").unwrap();
    let (answer, mut answered) = oneshot::channel();
    driver.handle(DriverMessage::Request(request(1, &keys[0]), answer, None));
    driver.registry.handle_remove(client, clock::now());
    driver.collect();
    driver.act();
    let decision = answered.try_recv().unwrap();
    assert_eq!(decision.expect_err("refused"), Refusal::Removed);
}
