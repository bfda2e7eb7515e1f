//! The driver with a store that fails on command: what must be durable before what, and what a disable stops.

mod lives;
mod named;
mod records;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nightlatch_core::client::saved::{ClientPresence, Saved};
use nightlatch_core::event::{ClientId, DisableReason, Event, Refusal, RequestClaims, RequestId};
use nightlatch_core::name::ClientName;
use nightlatch_core::registry::{Registry, RegistryLimits};
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{ClientConfig, ClientSettings, ConfiguredSecrets};
use nightlatch_core::time::BootId;
use nightlatch_proto::tls::{RawKey, RawKeyKind, authenticate_in_memory};
use nightlatch_store::{MemoryStore, Store};
use nightlatch_sys::clock;
use nightlatch_sys::spawner::Spawner;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{
    AdminCommand, AdminError, ClientAction, Driver, DriverError, DriverOptions, Handle, Reloaded,
    Subscription, Update,
};
use crate::audit::Who;
use crate::checker::Runner;
use crate::session::{Gatekeeper, Permit, SecretRequest};
use crate::warnings::Warnings;

/// Only a test that hangs takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for an answer that must not come.
const A_MOMENT: Duration = Duration::from_millis(50);

type Decision = Result<Permit, Refusal>;

struct TestDriver {
    keys: Vec<RawKey>,
    store: MemoryStore,
    handle: Handle,
    task: JoinHandle<Result<(), DriverError>>,
    requests: AtomicU64,
}

impl TestDriver {
    /// A running driver with two clients, `a` and `b`, both enabled and written.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: fn(&mut ClientSettings)) -> Self {
        let keys = keys();
        let store = MemoryStore::default();
        let registry = registry(&keys, adjust);
        let (driver, handle) = Driver::new(registry, Box::new(store.clone()), options());
        let task = tokio::spawn(driver.run());
        let started = Self {
            keys,
            store,
            handle,
            task,
            requests: AtomicU64::new(1),
        };
        assert!(started.reload(adjust).await);
        started
    }

    fn reload(&self, adjust: fn(&mut ClientSettings)) -> impl Future<Output = bool> + use<> {
        self.take_over(configured(&self.keys, adjust))
    }

    fn take_over(&self, clients: Vec<ClientConfig>) -> impl Future<Output = bool> + use<> {
        let reloaded = self.handle.reload(clients.into(), true);
        async move { reloaded.await == Reloaded::Durable }
    }

    /// Disables `a` by its configuration; ready when that is durable.
    fn disable_a(&self) -> impl Future<Output = bool> + use<> {
        let mut clients = configured(&self.keys, |_| {});
        clients[0].settings.enabled = false;
        self.take_over(clients)
    }

    /// A request of `client`, which the driver gets when the future is polled first.
    fn request(&self, client: usize) -> Pin<Box<impl Future<Output = Decision> + use<>>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request = request(number, &self.keys[client]);
        let handle = self.handle.clone();
        Box::pin(async move { handle.decide(request, None).await })
    }

    async fn decision(&self, client: usize) -> Decision {
        timeout(PATIENCE, self.request(client)).await.unwrap()
    }

    async fn permit(&self, client: usize) -> Permit {
        self.decision(client).await.expect("released")
    }

    async fn is_refused(&self, client: usize, reason: Refusal) {
        assert_eq!(self.decision(client).await.expect_err("refused"), reason);
    }

    /// True when the client is enabled in the store.
    fn saved_enabled(&self, name: &str) -> bool {
        let saved = self.store.clone().load().unwrap();
        saved.clients.iter().any(|client| {
            client.name.as_str() == name
                && matches!(&client.presence, ClientPresence::Present(present) if present.state.enabled)
        })
    }

    async fn end(self) {
        timeout(PATIENCE, self.handle.stop()).await.unwrap();
        timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub(super) fn keys() -> Vec<RawKey> {
    let key = |_| RawKey::generate(RawKeyKind::Ed25519).unwrap();
    (0..2).map(key).collect()
}

pub(super) fn registry(keys: &[RawKey], adjust: fn(&mut ClientSettings)) -> Registry {
    Registry::load(
        configured(keys, adjust),
        Saved::default(),
        RegistryLimits {
            concurrent_checks: 8,
            check_on_release: false,
            allow_rehearsals: false,
        },
        BootId::from_bytes([7; 16]),
        clock::now(),
        &mut |most| most,
    )
}

pub(super) fn request(number: u64, key: &RawKey) -> SecretRequest {
    let proved = authenticate_in_memory(key).unwrap();
    let address = "[::1]:1".parse().unwrap();
    SecretRequest::new(
        RequestId(number),
        &proved,
        address,
        RequestClaims::default(),
    )
}

pub(super) fn options() -> DriverOptions {
    let socket = Spawner::start_in_thread(Vec::new()).unwrap();
    let (runner, lost) = Runner::new(socket).unwrap();
    tokio::spawn(lost);
    DriverOptions {
        runner,
        alarm_command: None,
        keep_records: Duration::from_secs(3600),
        warnings: Warnings::default(),
    }
}

fn configured(keys: &[RawKey], adjust: fn(&mut ClientSettings)) -> Vec<ClientConfig> {
    let client = |(name, key): (&str, &RawKey)| {
        let mut settings = ClientSettings {
            key_id: Some(key.key_id()),
            ..ClientSettings::default()
        };
        adjust(&mut settings);
        ClientConfig {
            named: ConfiguredSecrets::default(),
            name: ClientName::new(name).unwrap(),
            settings,
            secret: Secret::new(name.as_bytes().to_vec()),
        }
    };
    ["a", "b"].into_iter().zip(keys).map(client).collect()
}

#[tokio::test]
async fn a_secret_is_released_to_its_own_client() {
    let driver = TestDriver::new().await;
    for (client, secret) in [b"a", b"b"].into_iter().enumerate() {
        let permit = driver.permit(client).await;
        assert_eq!(permit.begin().unwrap().expose(), secret);
        assert!(permit.begin().is_none(), "a permit is for one sending");
        permit.delivered();
    }
    driver.end().await;
}

#[tokio::test]
async fn a_release_waits_for_what_it_depends_on() {
    let driver = TestDriver::new().await;
    assert!(driver.disable_a().await);
    driver.store.set_failing(true);
    let enabled = driver.reload(|_| {});
    let mut request = driver.request(0);
    assert!(timeout(A_MOMENT, &mut request).await.is_err());
    assert!(!driver.saved_enabled("a"));
    driver.store.set_failing(false);
    assert!(timeout(PATIENCE, enabled).await.unwrap());
    let decision = timeout(PATIENCE, request).await.unwrap();
    assert!(decision.is_ok());
    assert!(driver.saved_enabled("a"));
    drop(decision);
    driver.end().await;
}

#[tokio::test]
async fn a_disable_wins_over_a_release_that_has_not_begun() {
    let driver = TestDriver::new().await;
    let permit = driver.permit(0).await;
    assert!(driver.disable_a().await);
    assert!(permit.begin().is_none());
    drop(permit);
    driver.is_refused(0, Refusal::Disabled).await;
    driver.end().await;
}

#[tokio::test]
async fn a_disable_does_not_wait_for_the_disk_to_take_a_release_back() {
    let driver = TestDriver::new().await;
    let permit = driver.permit(0).await;
    driver.store.set_failing(true);
    let disabled = driver.disable_a();
    // The next request is decided after the disable.
    drop(driver.permit(1).await);
    assert!(permit.begin().is_none());
    drop(permit);
    driver.store.set_failing(false);
    assert!(timeout(PATIENCE, disabled).await.unwrap());
    driver.end().await;
}

#[tokio::test]
async fn a_release_that_has_begun_goes_through() {
    let driver = TestDriver::new().await;
    let permit = driver.permit(0).await;
    let secret = permit.begin().unwrap();
    assert!(driver.disable_a().await);
    assert_eq!(secret.expose(), b"a");
    permit.delivered();
    // A late delivery does not enable the client.
    driver.is_refused(0, Refusal::Disabled).await;
    driver.end().await;
}

#[tokio::test]
async fn only_a_delivery_that_was_reported_counts() {
    let driver =
        TestDriver::with(|settings| settings.extended_timeout = Duration::from_secs(7200)).await;
    let remaining = |driver: &TestDriver| {
        let saved = driver.store.clone().load().unwrap();
        let mut clients = saved.clients.into_iter();
        let a = clients.find(|it| it.name.as_str() == "a").unwrap();
        match a.presence {
            ClientPresence::Present(present) => present.state.deadline.unwrap().remaining,
            ClientPresence::Removed => panic!("removed"),
        }
    };
    let hour = Duration::from_secs(3600);
    drop(driver.permit(0).await);
    let begun = driver.permit(0).await;
    assert!(begun.begin().is_some());
    drop(begun);
    // The driver handles everything in order: it has handled these.
    drop(driver.permit(1).await);
    assert!(remaining(&driver) < hour);
    let permit = driver.permit(0).await;
    assert!(permit.begin().is_some());
    permit.delivered();
    // Its next answer waits for the delivery to be durable.
    drop(driver.permit(0).await);
    assert!(remaining(&driver) > hour);
    driver.end().await;
}

#[tokio::test]
async fn a_request_whose_peer_is_gone_stops_waiting() {
    let driver = TestDriver::with(|settings| {
        settings.approval_delay = Duration::from_secs(3600);
        settings.approved_by_default = false;
    })
    .await;
    let mut request = driver.request(0);
    assert!(timeout(A_MOMENT, &mut request).await.is_err());
    drop(request);
    let mut kept = driver.request(0);
    assert!(timeout(A_MOMENT, &mut kept).await.is_err());
    // The other request is still there to be refused.
    assert!(driver.take_over(Vec::new()).await);
    let decision = timeout(PATIENCE, kept).await.unwrap();
    assert!(matches!(decision, Err(Refusal::Removed)));
    driver.end().await;
}

#[tokio::test]
async fn a_machine_is_told_that_a_person_decides() {
    let driver = TestDriver::with(|settings| {
        settings.approval_delay = Duration::from_secs(3600);
    })
    .await;
    let (notifier, mut notices) = watch::channel(None);
    let (handle, request) = (driver.handle.clone(), request(1, &driver.keys[0]));
    let deciding = tokio::spawn(async move { handle.decide(request, Some(notifier)).await });
    timeout(PATIENCE, notices.changed()).await.unwrap().unwrap();
    let until = notices.borrow().unwrap();
    let left = until.since(clock::now().mono);
    assert!(left > Duration::from_secs(1800) && left <= Duration::from_secs(3600));
    deciding.abort();
    driver.end().await;
}

#[tokio::test]
async fn a_failing_store_holds_up_its_own_clients_only() {
    let driver = TestDriver::new().await;
    driver.store.set_failing(true);
    let disabled = driver.disable_a();
    let decision = timeout(PATIENCE, driver.request(1)).await.unwrap();
    assert!(decision.is_ok());
    drop(decision);
    driver.store.set_failing(false);
    assert!(timeout(PATIENCE, disabled).await.unwrap());
    assert!(!driver.saved_enabled("a") && driver.saved_enabled("b"));
    driver.is_refused(0, Refusal::Disabled).await;
    driver.end().await;
}

#[tokio::test]
async fn unwritten_changes_are_written_at_the_end() {
    let driver = TestDriver::new().await;
    driver.store.set_failing(true);
    let disabled = driver.disable_a();
    drop(driver.permit(1).await);
    driver.store.set_failing(false);
    let (store, commits) = (driver.store.clone(), driver.store.commits());
    timeout(PATIENCE, driver.handle.stop()).await.unwrap();
    assert!(timeout(PATIENCE, disabled).await.unwrap());
    assert!(store.commits() > commits);
    assert!(!driver.saved_enabled("a"));
    driver.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_store_that_fails_to_the_end_does_not_delay_it() {
    let driver = TestDriver::new().await;
    driver.store.set_failing(true);
    let disabled = driver.disable_a();
    timeout(PATIENCE, driver.handle.stop()).await.unwrap();
    assert!(
        !timeout(PATIENCE, disabled).await.unwrap(),
        "called durable"
    );
    assert!(driver.saved_enabled("a"));
    driver.task.await.unwrap().unwrap();
}

/// The result of the next command, and the events before it.
async fn command_done(
    updates: &mut Subscription,
) -> (Vec<Event>, Result<Option<ClientId>, AdminError>) {
    let mut events = Vec::new();
    loop {
        match timeout(PATIENCE, updates.next()).await.unwrap().unwrap() {
            Update::CommandDone(_, result) => return (events, result),
            Update::Event(notice) => events.push(notice.report.event),
            Update::AllClients(_) | Update::Recorded(_) => {}
        }
    }
}

#[tokio::test]
async fn a_command_is_answered_when_it_is_durable_and_after_its_events() {
    let driver = TestDriver::new().await;
    let mut updates = driver.handle.subscribe();
    let Some(Update::AllClients(all)) = updates.next().await else {
        panic!("not the state of all clients");
    };
    let a = all[0].0;
    let who = Who::User("uid 7".into());
    let disable = AdminCommand::Client(a, ClientAction::Disable);
    driver.handle.command(disable, who.clone(), 1);
    let (events, result) = command_done(&mut updates).await;
    assert_eq!(result, Ok(Some(a)));
    assert_eq!(events, [Event::Disabled(a, DisableReason::Administrator)]);
    assert!(!driver.saved_enabled("a"));
    driver.store.set_failing(true);
    let enable = AdminCommand::Client(a, ClientAction::Enable);
    driver.handle.command(enable, who.clone(), 2);
    let (_, result) = command_done(&mut updates).await;
    assert_eq!(result, Err(AdminError::NotDurable));
    assert!(!driver.saved_enabled("a"));
    driver.store.set_failing(false);
    let record = records::record(&driver).await;
    assert!(
        record.contains(&"disabled a uid 7".to_owned()),
        "{record:?}"
    );
    driver.handle.command(
        AdminCommand::Client(a, ClientAction::Remove),
        who.clone(),
        3,
    );
    assert_eq!(command_done(&mut updates).await.1, Ok(Some(a)));
    driver
        .handle
        .command(AdminCommand::Client(a, ClientAction::Enable), who, 4);
    assert_eq!(
        command_done(&mut updates).await.1,
        Err(AdminError::NoSuchClient)
    );
    driver.end().await;
}

#[tokio::test]
async fn a_reload_that_would_drop_all_clients_is_refused_unless_allowed() {
    let driver = TestDriver::new().await;
    let refused = timeout(PATIENCE, driver.handle.reload(Vec::new().into(), false)).await;
    match refused.unwrap() {
        Reloaded::Refused(drops) => assert_eq!(drops.missing.len(), 2),
        other => panic!("{other:?}"),
    }
    drop(driver.permit(0).await);
    let meant = timeout(PATIENCE, driver.handle.reload(Vec::new().into(), true)).await;
    assert_eq!(meant.unwrap(), Reloaded::Durable);
    driver.is_refused(0, Refusal::UnknownKey).await;
    driver.end().await;
}

#[tokio::test]
async fn a_failing_store_delays_neither_updates_nor_a_machine_that_boots_again() {
    let driver = TestDriver::new().await;
    let mut updates = driver.handle.subscribe();
    let Some(Update::AllClients(all)) = updates.next().await else {
        panic!("not the state of all clients");
    };
    let (a, b) = (all[0].0, all[1].0);
    driver.store.set_failing(true);
    // It boots again before its first release can be written.
    for _ in 0..2 {
        let permit = driver.permit(0).await;
        assert!(permit.begin().is_some());
        permit.delivered();
    }
    let disable = AdminCommand::Client(b, ClientAction::Disable);
    driver.handle.command(disable, Who::User("uid 7".into()), 1);
    let mut events = Vec::new();
    while !events.contains(&Event::Disabled(b, DisableReason::Administrator)) {
        if let Update::Event(notice) = timeout(PATIENCE, updates.next()).await.unwrap().unwrap() {
            events.push(notice.report.event);
        }
    }
    let deliveries = events
        .iter()
        .filter(|it| matches!(it, Event::Delivered { client, .. } if *client == a));
    assert_eq!(deliveries.count(), 2);
    driver.is_refused(1, Refusal::Disabled).await;
    driver.store.set_failing(false);
    driver.end().await;
}
