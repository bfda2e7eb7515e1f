//! The driver with a store that fails when told to: what waits for what, and what a disable stops.

mod records;

use std::time::Duration;

use nightlatch_core::client::saved::{Life, Saved};
use nightlatch_core::event::{ClientId, DisableReason, Event, Refusal};
use nightlatch_core::name::ClientName;
use nightlatch_core::registry::{Registry, RegistryLimits};
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{ClientConfig, ClientSettings};
use nightlatch_core::time::BootId;
use nightlatch_proto::greeting::GreetingOptions;
use nightlatch_proto::tls::{RawKey, RawKeyKind, authenticate_in_memory};
use nightlatch_store::{MemoryStore, Store};
use nightlatch_sys::clock;
use nightlatch_sys::spawner::Spawner;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{
    Act, Driver, DriverError, Handle, Heard, Options, Order, OrderError, Reloaded, Told, Verdict,
};
use crate::audit::Who;
use crate::checker::Runner;
use crate::session::{Gatekeeper, Peer, Permit, Request as _};
use crate::warnings::Warnings;

/// Only a hang ever takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for what must not come to come if it would.
const A_MOMENT: Duration = Duration::from_millis(50);

struct House {
    keys: Vec<RawKey>,
    store: MemoryStore,
    handle: Handle,
    driver: JoinHandle<Result<(), DriverError>>,
}

impl House {
    /// A running driver with two clients, `a` and `b`, both enabled and written.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: fn(&mut ClientSettings)) -> Self {
        let keys: Vec<RawKey> = (0..2)
            .map(|_| RawKey::generate(RawKeyKind::Ed25519).unwrap())
            .collect();
        let store = MemoryStore::default();
        let registry = Registry::load(
            configured(&keys, adjust),
            Saved::default(),
            RegistryLimits {
                concurrent_checks: 8,
                check_on_release: false,
                allow_rehearsals: false,
            },
            BootId::from_bytes([7; 16]),
            clock::now(),
            &mut |most| most,
        );
        let (driver, handle) = Driver::new(registry, Box::new(store.clone()), options());
        let driver = tokio::spawn(driver.run());
        let house = Self {
            keys,
            store,
            handle,
            driver,
        };
        assert!(house.reload(adjust).await);
        house
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

    async fn ask(&self, client: usize) -> super::Request {
        let who = authenticate_in_memory(&self.keys[client]).unwrap();
        let peer = Peer {
            address: "[::1]:1".parse().unwrap(),
            words: GreetingOptions::default(),
        };
        self.handle.request(who, peer).await
    }

    async fn verdict(&self, client: usize) -> Verdict {
        let mut request = self.ask(client).await;
        timeout(PATIENCE, request.verdict()).await.unwrap()
    }

    async fn permit(&self, client: usize) -> super::DriverPermit {
        match self.verdict(client).await {
            Verdict::Release(permit) => permit,
            Verdict::Refuse(reason) => panic!("refused: {reason:?}"),
        }
    }

    async fn is_refused(&self, client: usize, reason: Refusal) {
        match self.verdict(client).await {
            Verdict::Refuse(given) => assert_eq!(given, reason),
            Verdict::Release(_) => panic!("released"),
        }
    }

    /// What the store says of whether a client is enabled.
    fn saved_enabled(&self, name: &str) -> bool {
        let saved = self.store.clone().load().unwrap();
        saved.clients.iter().any(|client| {
            client.name.as_str() == name
                && matches!(&client.life, Life::Present(present) if present.state.enabled)
        })
    }

    async fn end(self) {
        timeout(PATIENCE, self.handle.stop()).await.unwrap();
        timeout(PATIENCE, self.driver)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

fn options() -> Options {
    let socket = Spawner::start_in_thread(Vec::new()).unwrap();
    let (runner, lost) = Runner::new(socket).unwrap();
    tokio::spawn(lost);
    Options {
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
            name: ClientName::new(name).unwrap(),
            settings,
            secret: Secret::new(name.as_bytes().to_vec()),
        }
    };
    ["a", "b"].into_iter().zip(keys).map(client).collect()
}

#[tokio::test]
async fn a_secret_is_released_to_its_own_client() {
    let house = House::new().await;
    for (client, secret) in [b"a", b"b"].into_iter().enumerate() {
        let permit = house.permit(client).await;
        assert_eq!(permit.begin().unwrap().expose(), secret);
        assert!(permit.begin().is_none(), "a permit is for one sending");
        permit.delivered();
    }
    house.end().await;
}

#[tokio::test]
async fn a_release_waits_for_what_it_depends_on() {
    let house = House::new().await;
    assert!(house.disable_a().await);
    house.store.set_failing(true);
    let enabled = house.reload(|_| {});
    let mut request = house.ask(0).await;
    assert!(timeout(A_MOMENT, request.verdict()).await.is_err());
    assert!(!house.saved_enabled("a"));
    house.store.set_failing(false);
    assert!(timeout(PATIENCE, enabled).await.unwrap());
    let verdict = timeout(PATIENCE, request.verdict()).await.unwrap();
    assert!(matches!(verdict, Verdict::Release(_)));
    assert!(house.saved_enabled("a"));
    drop(verdict);
    house.end().await;
}

#[tokio::test]
async fn a_disable_wins_over_a_release_that_has_not_begun() {
    let house = House::new().await;
    let permit = house.permit(0).await;
    assert!(house.disable_a().await);
    assert!(permit.begin().is_none());
    drop(permit);
    house.is_refused(0, Refusal::Disabled).await;
    house.end().await;
}

#[tokio::test]
async fn a_disable_does_not_wait_for_the_disk_to_take_a_release_back() {
    let house = House::new().await;
    let permit = house.permit(0).await;
    house.store.set_failing(true);
    let disabled = house.disable_a();
    // Whoever asks next is decided after the disable.
    drop(house.permit(1).await);
    assert!(permit.begin().is_none());
    drop(permit);
    house.store.set_failing(false);
    assert!(timeout(PATIENCE, disabled).await.unwrap());
    house.end().await;
}

#[tokio::test]
async fn a_release_that_has_begun_goes_through() {
    let house = House::new().await;
    let permit = house.permit(0).await;
    let secret = permit.begin().unwrap();
    assert!(house.disable_a().await);
    assert_eq!(secret.expose(), b"a");
    permit.delivered();
    // What was delivered late enables nobody.
    house.is_refused(0, Refusal::Disabled).await;
    house.end().await;
}

#[tokio::test]
async fn only_a_delivery_that_was_reported_counts() {
    let house = House::with(|settings| settings.extended_timeout = Duration::from_secs(7200)).await;
    let remaining = |house: &House| {
        let saved = house.store.clone().load().unwrap();
        let mut clients = saved.clients.into_iter();
        let a = clients.find(|it| it.name.as_str() == "a").unwrap();
        match a.life {
            Life::Present(present) => present.state.deadline.unwrap().remaining,
            Life::Removed => panic!("removed"),
        }
    };
    let hour = Duration::from_secs(3600);
    drop(house.permit(0).await);
    let begun = house.permit(0).await;
    assert!(begun.begin().is_some());
    drop(begun);
    house.permit(0).await.failed();
    // The driver hears everything in order: these have been heard.
    drop(house.permit(1).await);
    assert!(remaining(&house) < hour);
    let permit = house.permit(0).await;
    assert!(permit.begin().is_some());
    permit.delivered();
    // Its next answer waits for the delivery to be durable.
    drop(house.permit(0).await);
    assert!(remaining(&house) > hour);
    house.end().await;
}

#[tokio::test]
async fn a_request_whose_peer_is_gone_waits_no_more() {
    let house = House::with(|settings| {
        settings.approval_delay = Duration::from_secs(3600);
        settings.approved_by_default = false;
    })
    .await;
    let mut request = house.ask(0).await;
    assert!(timeout(A_MOMENT, request.verdict()).await.is_err());
    drop(request);
    let mut kept = house.ask(0).await;
    assert!(timeout(A_MOMENT, kept.verdict()).await.is_err());
    // It is the other one that is still there to be refused.
    assert!(house.take_over(Vec::new()).await);
    let verdict = timeout(PATIENCE, kept.verdict()).await.unwrap();
    assert!(matches!(verdict, Verdict::Refuse(Refusal::Removed)));
    house.end().await;
}

#[tokio::test]
async fn a_failing_store_holds_up_its_own_clients_only() {
    let house = House::new().await;
    house.store.set_failing(true);
    let disabled = house.disable_a();
    let mut held = house.ask(1).await;
    let verdict = timeout(PATIENCE, held.verdict()).await.unwrap();
    assert!(matches!(verdict, Verdict::Release(_)));
    drop(verdict);
    house.store.set_failing(false);
    assert!(timeout(PATIENCE, disabled).await.unwrap());
    assert!(!house.saved_enabled("a") && house.saved_enabled("b"));
    house.is_refused(0, Refusal::Disabled).await;
    house.end().await;
}

#[tokio::test]
async fn what_was_not_written_yet_is_written_at_the_end() {
    let house = House::new().await;
    house.store.set_failing(true);
    let disabled = house.disable_a();
    drop(house.permit(1).await);
    house.store.set_failing(false);
    let (store, commits) = (house.store.clone(), house.store.commits());
    timeout(PATIENCE, house.handle.stop()).await.unwrap();
    assert!(timeout(PATIENCE, disabled).await.unwrap());
    assert!(store.commits() > commits);
    assert!(!house.saved_enabled("a"));
    house.driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_store_that_fails_to_the_end_keeps_nobody() {
    let house = House::new().await;
    house.store.set_failing(true);
    let disabled = house.disable_a();
    timeout(PATIENCE, house.handle.stop()).await.unwrap();
    assert!(
        !timeout(PATIENCE, disabled).await.unwrap(),
        "called durable"
    );
    assert!(house.saved_enabled("a"));
    house.driver.await.unwrap().unwrap();
}

/// What came of the order, after the events before it.
async fn outcome(heard: &mut Heard) -> (Vec<Event>, Result<Option<ClientId>, OrderError>) {
    let mut events = Vec::new();
    loop {
        match timeout(PATIENCE, heard.next()).await.unwrap().unwrap() {
            Told::Done(_, result) => return (events, result),
            Told::Event(notice) => events.push(notice.event),
            Told::All(_) | Told::Recorded(_) => {}
        }
    }
}

#[tokio::test]
async fn an_order_is_answered_when_it_is_durable_and_after_its_events() {
    let house = House::new().await;
    let mut heard = house.handle.listen();
    let Some(Told::All(all)) = heard.next().await else {
        panic!("no picture of all");
    };
    let a = all[0].0;
    let who = Who::User("uid 7".into());
    let disable = Order::Client(a, Act::Disable);
    house.handle.order(disable, who.clone(), 1);
    let (events, result) = outcome(&mut heard).await;
    assert_eq!(result, Ok(Some(a)));
    assert_eq!(events, [Event::Disabled(a, DisableReason::Administrator)]);
    assert!(!house.saved_enabled("a"));
    house.store.set_failing(true);
    let enable = Order::Client(a, Act::Enable);
    house.handle.order(enable, who.clone(), 2);
    let (_, result) = outcome(&mut heard).await;
    assert_eq!(result, Err(OrderError::NotDurable));
    assert!(!house.saved_enabled("a"));
    house.store.set_failing(false);
    let record = records::record(&house).await;
    assert!(
        record.contains(&"disabled a uid 7".to_owned()),
        "{record:?}"
    );
    house
        .handle
        .order(Order::Client(a, Act::Remove), who.clone(), 3);
    assert_eq!(outcome(&mut heard).await.1, Ok(Some(a)));
    house.handle.order(Order::Client(a, Act::Enable), who, 4);
    assert_eq!(outcome(&mut heard).await.1, Err(OrderError::NoSuchClient));
    house.end().await;
}

#[tokio::test]
async fn a_reload_that_would_drop_all_is_refused_unless_that_is_meant() {
    let house = House::new().await;
    let refused = timeout(PATIENCE, house.handle.reload(Vec::new().into(), false)).await;
    match refused.unwrap() {
        Reloaded::Refused(drops) => assert_eq!(drops.missing.len(), 2),
        other => panic!("{other:?}"),
    }
    drop(house.permit(0).await);
    let meant = timeout(PATIENCE, house.handle.reload(Vec::new().into(), true)).await;
    assert_eq!(meant.unwrap(), Reloaded::Durable);
    house.is_refused(0, Refusal::UnknownKey).await;
    house.end().await;
}

#[tokio::test]
async fn a_failing_store_holds_up_neither_what_is_told_nor_a_machine_that_boots_again() {
    let house = House::new().await;
    let mut heard = house.handle.listen();
    let Some(Told::All(all)) = heard.next().await else {
        panic!("no picture of all");
    };
    let (a, b) = (all[0].0, all[1].0);
    house.store.set_failing(true);
    // What it did is to be written; it boots again before it can be.
    for _ in 0..2 {
        let permit = house.permit(0).await;
        assert!(permit.begin().is_some());
        permit.delivered();
    }
    let disable = Order::Client(b, Act::Disable);
    house.handle.order(disable, Who::User("uid 7".into()), 1);
    let mut told = Vec::new();
    while !told.contains(&Event::Disabled(b, DisableReason::Administrator)) {
        if let Told::Event(notice) = timeout(PATIENCE, heard.next()).await.unwrap().unwrap() {
            told.push(notice.event);
        }
    }
    let deliveries = told
        .iter()
        .filter(|it| matches!(it, Event::Delivered { client, .. } if *client == a));
    assert_eq!(deliveries.count(), 2);
    house.is_refused(1, Refusal::Disabled).await;
    house.store.set_failing(false);
    house.end().await;
}
