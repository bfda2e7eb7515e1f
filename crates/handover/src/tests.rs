#![allow(clippy::unwrap_used, reason = "in a test it is the assertion itself")]

use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::checker::Checker;
use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::{
    ClientPresence, PresentClient, Saved, SavedClient, SavedDeadline, SavedState,
};
use nightlatch_core::guard::Unannounced;
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::name::ClientName;
use nightlatch_core::openpgp_public_key::OpenPgpPublicKey;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::{BootId, Monotonic, Wall};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::{HandoverError, read, write};

fn written(saved: &Saved) -> Vec<u8> {
    let mut text = Vec::new();
    write(saved, &mut text).unwrap();
    text
}

prop_compose! {
    fn settings()(
        key_id in proptest::option::of(any::<[u8; 32]>()),
        fingerprint in proptest::option::of(any::<[u8; 20]>()),
        host in any::<String>(),
        checker in "[^%\0]*",
        spans in any::<[u64; 5]>(),
        approved_by_default in any::<bool>(),
        enabled in any::<bool>(),
    ) -> ClientSettings {
        let [timeout, extended_timeout, interval, approval_delay, approval_duration] =
            spans.map(Duration::from_micros);
        ClientSettings {
            key_id: key_id.and_then(|bytes| KeyId::from_bytes(bytes).ok()),
            fingerprint: fingerprint.map(Fingerprint::from_bytes),
            host,
            checker: Checker::new(checker).unwrap(),
            timeout,
            extended_timeout,
            interval,
            approval_delay,
            approval_duration,
            approved_by_default,
            enabled,
            host_key_id: key_id.and_then(|bytes| KeyId::from_bytes(bytes.map(|it| !it)).ok()),
            guard: !enabled,
            unannounced: if approved_by_default { Unannounced::Release } else { Unannounced::Approve },
            guard_wait: interval,
            reboot_window: timeout,
        host_openpgp: OpenPgpPublicKey::from_bytes(&[1; 40]).ok(),
        }
    }
}

prop_compose! {
    fn moment()(boot in any::<[u8; 16]>(), since in any::<u64>(), wall in any::<i64>(), left in any::<u64>())
        -> SavedDeadline
    {
        SavedDeadline {
            boot: BootId::from_bytes(boot),
            mono: Monotonic::from_boot(Duration::from_micros(since)),
            wall: Wall::from_unix_micros(wall),
            remaining: Duration::from_micros(left),
        }
    }
}

fn last_check() -> impl Strategy<Value = LastCheck> {
    prop_oneof![
        Just(LastCheck::None),
        any::<u8>().prop_map(LastCheck::Exited),
        any::<i32>().prop_map(LastCheck::Signaled),
    ]
}

prop_compose! {
    fn present()(
        settings in settings(),
        secret in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..50)),
        times in any::<[Option<i64>; 4]>(),
        last_check in last_check(),
        deadline in proptest::option::of(moment()),
        denied in proptest::option::of(moment()),
        released in any::<bool>(),
        released_boot in proptest::option::of(any::<[u8; 16]>().prop_map(BootNonce::from_bytes)),
    ) -> PresentClient {
        let [created, last_enabled, last_checked_ok, last_approval_request] =
            times.map(|time| time.map(Wall::from_unix_micros));
        PresentClient {
            settings,
            secret: secret.map(|bytes| Arc::new(Secret::new(bytes))),
            state: SavedState {
                enabled: deadline.is_some(),
                created: created.unwrap_or_default(),
                last_enabled,
                last_checked_ok,
                last_approval_request,
                last_check,
                deadline,
                denied,
                released,
                released_boot,
                renewed: released,
                needs_proof: deadline.is_none() && released,
                guard: None,
            },
        }
    }
}

prop_compose! {
    fn client()(
        name in "[a-z \"\\\\ü]{1,20}",
        configured in settings(),
        secret in any::<[u8; 8]>(),
        added in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..50)),
        present in proptest::option::of(present()),
    ) -> SavedClient {
        SavedClient {
            name: ClientName::new(&name).unwrap(),
            configured,
            configured_secret: Secret::new(secret.to_vec()).digest(),
            added: added.map(|bytes| Arc::new(Secret::new(bytes))),
            presence: present.map_or(ClientPresence::Removed, |it| ClientPresence::Present(Box::new(it))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_the_same(
        clients in proptest::collection::hash_map("[a-z]{3}", client(), 0..4),
    ) {
        let clients = clients.into_iter().map(|(name, client)| SavedClient {
            name: ClientName::new(&format!("{name} {}", client.name)).unwrap(),
            ..client
        });
        let saved = Saved { clients: clients.collect(), ..Saved::default() };
        prop_assert_eq!(read(&written(&saved)).unwrap(), saved);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }
}

fn one(change: impl FnOnce(&mut serde_json::Value)) -> Result<Saved, HandoverError> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut client = client().new_tree(&mut runner).unwrap().current();
    client.name = ClientName::new("one").unwrap();
    let mut present = present().new_tree(&mut runner).unwrap().current();
    present.state.enabled = false;
    present.state.deadline = None;
    client.presence = ClientPresence::Present(Box::new(present));
    let saved = Saved {
        clients: vec![client],
        ..Saved::default()
    };
    let mut json: serde_json::Value = serde_json::from_slice(&written(&saved)).unwrap();
    change(&mut json);
    read(json.to_string().as_bytes())
}

#[test]
fn nobody_is_enabled_without_a_deadline() {
    let enabled = one(|json| json["clients"][0]["present"]["enabled"] = true.into());
    assert!(matches!(enabled, Err(HandoverError::Deadline(name)) if name == "one"));
}

#[test]
fn a_client_stands_in_it_once() {
    let twice = one(|json| {
        let again = json["clients"][0].clone();
        json["clients"].as_array_mut().unwrap().push(again);
    });
    assert!(matches!(twice, Err(HandoverError::Twice(name)) if name == "one"));
}

#[test]
fn a_named_secret_of_a_host_key_stands_in_it_once() {
    let secret = |serial: u64| {
        serde_json::json!({
            "host_key_id": "a1".repeat(32),
            "name": "pin",
            "serial": serial,
            "sealed": null,
            "approval": false,
            "put": 0,
        })
    };
    let saved = one(|json| json["secrets"] = vec![secret(1)].into()).unwrap();
    assert_eq!(saved.secrets.len(), 1);
    let twice = one(|json| json["secrets"] = vec![secret(1), secret(2)].into());
    assert!(
        matches!(&twice, Err(HandoverError::Secret { secret, what })
            if secret.starts_with("pin of a1") && what.contains("twice")),
        "{twice:?}"
    );
}

#[test]
fn other_documents_are_told_apart() {
    let foreign = one(|json| json["format"] = "shopping".into());
    assert!(matches!(foreign, Err(HandoverError::Foreign(_))));
    let newer = one(|json| {
        json["version"] = 2.into();
        json["more"] = true.into();
    });
    assert!(matches!(newer, Err(HandoverError::Newer(2))));
    let unknown = one(|json| json["clients"][0]["more"] = true.into());
    assert!(matches!(unknown, Err(HandoverError::Form { .. })));
}

#[test]
fn a_fault_names_client_and_field() {
    let short = one(|json| json["clients"][0]["configured_secret"] = "ab".into());
    assert_eq!(
        short.unwrap_err().to_string(),
        "client \"one\": configured_secret: expected 64 hexadecimal digits"
    );
    let secret = one(|json| json["clients"][0]["present"]["secret"] = "not base64".into());
    assert_eq!(
        secret.unwrap_err().to_string(),
        "client \"one\": secret: expected base64"
    );
}
