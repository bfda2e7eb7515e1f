use std::sync::Arc;

use super::*;
use crate::checker::Checker;
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::secret::Secret;
use crate::time::{Monotonic, Wall};

const BOOT: BootId = BootId::from_bytes([1; 16]);

fn now() -> Now {
    Now {
        mono: Monotonic::from_boot(Duration::from_secs(1000)),
        wall: Wall::from_unix_micros(1_700_000_000_000_000),
    }
}

fn config(secret: &[u8]) -> ClientConfig {
    ClientConfig {
        named: crate::settings::client::ConfiguredSecrets::default(),
        name: ClientName::new("foo").unwrap(),
        settings: ClientSettings {
            key_id: Some(KeyId::from_bytes([7; 32]).unwrap()),
            fingerprint: None,
            host: "localhost".to_owned(),
            checker: Checker::new("true").unwrap(),
            timeout: Duration::from_secs(300),
            extended_timeout: Duration::from_secs(900),
            interval: Duration::from_secs(120),
            approval_delay: Duration::ZERO,
            approval_duration: Duration::from_secs(1),
            approved_by_default: true,
            enabled: true,
            ..ClientSettings::default()
        },
        secret: Secret::new(secret.to_vec()),
    }
}

fn client(secret: &[u8]) -> Client {
    Client::fresh(config(secret), 0, now())
}

/// The row of a client, with what the test changes.
fn restored(
    digest: SecretDigest,
    adjust: impl FnOnce(&mut PresentClient),
) -> (Client, ConfigChanges) {
    let client = client(b"file");
    let mut present = PresentClient {
        settings: ClientSettings::clone(client.settings()),
        secret: None,
        state: client.to_state(BOOT, now()),
    };
    adjust(&mut present);
    let row = config(b"file").settings;
    Client::restored(config(b"file"), row, digest, present, 0, (BOOT, now()))
}

#[test]
fn a_secret_of_the_file_replaces_one_set_at_run_time_and_is_told_once() {
    let mut client = client(b"old");
    client.secret = Arc::new(Secret::new(b"run time".to_vec()));
    client.own_secret = true;
    let changes = client.secret_changes;
    let told = client.reconfigure(config(b"new"), now());
    assert!(told.row);
    assert_eq!(told.settings, ["secret"]);
    assert_eq!(client.secret.expose(), b"new");
    assert_eq!(client.secret_changes, changes + 1);
    assert!(!client.own_secret);
    // The same file again changes nothing.
    let told = client.reconfigure(config(b"new"), now());
    assert_eq!(told, ConfigChanges::default());
}

#[test]
fn a_secret_of_the_file_that_is_in_force_already_is_no_change_of_it() {
    let mut client = client(b"old");
    client.secret = Arc::new(Secret::new(b"new".to_vec()));
    client.own_secret = true;
    let told = client.reconfigure(config(b"new"), now());
    assert!(told.row && told.settings.is_empty());
    assert!(!client.own_secret);
}

#[test]
fn a_secret_that_the_file_changed_while_the_server_was_down_counts() {
    let run_time = |present: &mut PresentClient| {
        present.secret = Some(Arc::new(Secret::new(b"run time".to_vec())));
    };
    let same = Secret::new(b"file".to_vec()).digest();
    let (client, told) = restored(same, run_time);
    assert_eq!(client.secret.expose(), b"run time");
    assert!(client.own_secret && !told.row);
    let other = Secret::new(b"before".to_vec()).digest();
    let (client, told) = restored(other, run_time);
    assert_eq!(client.secret.expose(), b"file");
    assert!(!client.own_secret && told.row);
}

#[test]
fn a_client_that_is_enabled_waits_for_no_proof() {
    let same = Secret::new(b"file".to_vec()).digest();
    for enabled in [false, true] {
        let (client, _) = restored(same, |present| {
            present.state.enabled = enabled;
            present.state.needs_proof = true;
        });
        assert_eq!(client.needs_proof, !enabled);
    }
}

#[test]
fn a_row_that_is_enabled_without_a_deadline_has_no_time_left() {
    let same = Secret::new(b"file".to_vec()).digest();
    let (client, _) = restored(same, |present| {
        present.state.enabled = true;
        present.state.deadline = None;
    });
    assert!(
        client
            .deadline
            .is_some_and(|deadline| deadline.passed(now()))
    );
}

/// Whatever it was at run time: it is a state of its own, which the deadline tells.
#[test]
fn enabled_is_as_in_the_file() {
    let file = config(b"file").settings;
    let current = ClientSettings {
        enabled: !file.enabled,
        ..file.clone()
    };
    assert_eq!(merge(&file, &file, &current).enabled, file.enabled);
}
