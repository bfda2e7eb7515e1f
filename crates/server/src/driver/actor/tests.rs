//! Messages of one batch, whose order no program outside can choose.

use nightlatch_core::event::Refusal;
use nightlatch_proto::tls::RawKey;
use nightlatch_store::MemoryStore;
use tokio::sync::oneshot;

use super::*;
use crate::driver::tests::{keys, options, registry, request};

/// A driver whose client `a` was granted its secret, and has no answer yet.
struct GrantedRequest {
    driver: Driver,
    _handle: Handle,
    keys: Vec<RawKey>,
    client: ClientId,
    answered: oneshot::Receiver<Result<Permit, Refusal>>,
}

impl GrantedRequest {
    fn new() -> Self {
        let keys = keys();
        let store = Box::new(MemoryStore::default());
        let (mut driver, handle) = Driver::new(registry(&keys, |_| {}), store, options());
        let client = driver.registry.by_name("a").unwrap();
        let (answer, answered) = oneshot::channel();
        driver.handle(DriverMessage::Request(request(1, &keys[0]), answer, None));
        Self {
            driver,
            _handle: handle,
            keys,
            client,
            answered,
        }
    }

    /// The refusal that it gets now.
    fn refusal(&mut self) -> Refusal {
        self.driver.collect();
        self.driver.act();
        let decision = self.answered.try_recv().unwrap();
        decision.expect_err("refused")
    }
}

#[tokio::test]
async fn a_grant_whose_deadline_passes_before_its_answer_is_refused_and_no_longer_under_way() {
    let mut granted = GrantedRequest::new();
    // As the next message of the batch does.
    let mut later = clock::now();
    later.mono = later.mono.after(Duration::from_secs(24 * 60 * 60));
    granted.driver.registry.handle_timeout(later);
    assert_eq!(granted.refusal(), Refusal::Disabled);
    let GrantedRequest {
        mut driver,
        keys,
        client,
        ..
    } = granted;
    let report = driver.messages.try_recv().unwrap();
    driver.handle(report);
    assert!(driver.requests.is_empty());
    // Otherwise the next request would raise the alarm of a second one.
    driver.registry.handle_enable(client, later);
    driver.registry.handle_checked_ok(client, later).unwrap();
    let (answer, _answered) = oneshot::channel();
    driver.handle(DriverMessage::Request(request(2, &keys[0]), answer, None));
    driver.collect();
    assert!(!driver.requests[&RequestId(2)].alarmed);
}

#[tokio::test]
async fn a_grant_that_is_revoked_before_its_answer_is_refused_for_the_cause_of_that() {
    let mut granted = GrantedRequest::new();
    let client = granted.client;
    granted.driver.registry.handle_remove(client, clock::now());
    assert_eq!(granted.refusal(), Refusal::Removed);
}
