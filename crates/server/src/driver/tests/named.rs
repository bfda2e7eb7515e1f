//! Named secrets: what waits for the disk because of them, and what Mandos's interface shows of them.

use nightlatch_core::key_id::KeyId;
use nightlatch_core::registry::NamedQuery;
use nightlatch_core::sealed_secret::{SealedSecret, SecretHeader};
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::time::Wall;

use super::super::view::view;
use super::*;

fn pin() -> SecretName {
    SecretName::new("pin").unwrap()
}

fn sealed(host: KeyId) -> SealedSecret {
    let header = SecretHeader {
        host,
        name: pin(),
        serial: 5,
        created: Wall::from_unix_micros(0),
        expires: None,
    };
    SealedSecret::new(&header, b"message").unwrap()
}

/// The clients, and the host key of `a`.
fn with_host_key(keys: &[RawKey]) -> (Vec<ClientConfig>, RawKey) {
    let host = RawKey::generate(RawKeyKind::Ed25519).unwrap();
    let mut clients = configured(keys, |_| {});
    clients[0].settings.host_key_id = Some(host.key_id());
    (clients, host)
}

/// A put that finds the disk full must not keep the machine down.
#[tokio::test]
async fn a_put_on_a_full_disk_keeps_no_machine_from_its_boot() {
    let driver = TestDriver::new().await;
    let (clients, host) = with_host_key(&driver.keys);
    assert!(driver.take_over(clients).await);
    let mut updates = driver.handle.subscribe();
    let a = match timeout(PATIENCE, updates.next()).await.unwrap().unwrap() {
        Update::AllClients(all) => all[0].0,
        _ => panic!("expected all clients first"),
    };
    driver.store.set_failing(true);
    let put = ClientAction::PutSecret {
        sealed: sealed(host.key_id()),
        approval: None,
        dry_run: false,
    };
    let put = AdminCommand::Client(a, put);
    driver.handle.command(put, Who::User("uid 7".into()), 1);
    let done = command_done(&mut updates).await;
    assert_eq!(done.1, Err(AdminError::NotDurable));
    driver.permit(0).await.delivered();
    // The named secret itself waits until it is written.
    let request = request(1000, &host).for_secret(pin());
    let handle = driver.handle.clone();
    let mut named = Box::pin(async move { handle.decide(request, None).await });
    assert!(timeout(A_MOMENT, &mut named).await.is_err());
    driver.store.set_failing(false);
    let permit = timeout(PATIENCE, named).await.unwrap().unwrap();
    assert_eq!(permit.label(), (pin(), 5));
    drop(permit);
    driver.end().await;
}

/// Whoever sees `ApprovalPending` and approves means a boot.
#[tokio::test]
async fn a_named_request_that_waits_is_none_of_mandos() {
    let keys = keys();
    let (clients, host) = with_host_key(&keys);
    let mut registry = registry(&keys, |_| {});
    let now = clock::now();
    registry
        .reload(clients, true, now, &mut |most| most)
        .unwrap();
    let a = registry.by_name("a").unwrap();
    registry
        .handle_put_secret(a, sealed(host.key_id()), Some(true), now)
        .unwrap();
    let query = NamedQuery {
        name: pin(),
        claims: RequestClaims::default(),
        may_wait: true,
    };
    registry.handle_named_request(RequestId(1), &host.key_id(), query, now);
    let shown = view(&registry, a).unwrap();
    assert!(!shown.approval_pending);
    assert_eq!(shown.guard.waiting_secrets, "pin");
    assert!(shown.request_waits());
}
