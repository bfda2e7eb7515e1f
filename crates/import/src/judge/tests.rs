//! The safety rule, through the registry that a server starts with.

use std::time::Duration;

use nightlatch_core::checker::LastCheck;
use nightlatch_core::client::saved::{End, Saved};
use nightlatch_core::name::ClientName;
use nightlatch_core::registry::{Registry, RegistryLimits};
use nightlatch_core::time::{BootId, Monotonic, Now, Wall};
use proptest::prelude::*;

use super::*;

const BOOT: BootId = BootId::from_bytes([7; 16]);

const SECOND: i64 = 1_000_000;

fn clock() -> ImportTime {
    ImportTime {
        now: at(0),
        boot: BOOT,
    }
}

/// `seconds` after the import.
fn at(seconds: i64) -> Now {
    Now {
        mono: Monotonic::from_boot(Duration::from_secs(1000 + seconds.unsigned_abs())),
        wall: Wall::from_unix_micros((1_800_000_000 + seconds) * SECOND),
    }
}

fn config(enabled: bool) -> ClientConfig {
    ClientConfig {
        named: nightlatch_core::settings::client::ConfiguredSecrets::default(),
        name: ClientName::new("one").unwrap(),
        settings: ClientSettings {
            host: "host".to_owned(),
            enabled,
            ..ClientSettings::default()
        },
        secret: Secret::new(b"configured".to_vec()),
    }
}

fn stock_settings(enabled: bool) -> StockSettings {
    let minutes = |minutes: i128| minutes * 60_000_000;
    StockSettings {
        key_id: String::new(),
        fingerprint: String::new(),
        host: "host".to_owned(),
        checker: Checker::default().as_str().to_owned(),
        timeout: minutes(5),
        extended_timeout: minutes(15),
        interval: minutes(2),
        approval_delay: 0,
        approval_duration: 1_000_000,
        approved_by_default: true,
        enabled,
    }
}

/// A client that stands like that; `expires` in seconds after the import.
fn stock(enabled: bool, expires: Option<i64>, last_check: LastCheck) -> StockClient {
    StockClient {
        settings: stock_settings(enabled),
        encrypted_secret: Vec::new(),
        expires: expires.map(|seconds| at(seconds).wall),
        created: Wall::from_unix_micros(1),
        last_enabled: None,
        last_checked_ok: None,
        last_approval_request: None,
        last_check,
        denied: false,
    }
}

fn judge(config: &ClientConfig, client: &StockClient, configured: bool) -> ImportedClient {
    let secret = Ok(Secret::new(b"configured".to_vec()));
    present(config, client, &stock_settings(configured), secret, clock()).unwrap()
}

/// True when the client is enabled in a server that starts `seconds` after the import.
fn enabled_at_start(config: ClientConfig, judged: ImportedClient, seconds: i64) -> bool {
    let saved = Saved {
        clients: judged.saved.into_iter().collect(),
        // As an import leaves it.
        end: End::Clean,
        ..Saved::default()
    };
    let limits = RegistryLimits {
        concurrent_checks: 1,
        check_on_release: false,
        allow_rehearsals: false,
    };
    let now = at(seconds);
    let registry = Registry::load(vec![config], saved, limits, BOOT, now, &mut |_| {
        Duration::ZERO
    });
    registry.iter().any(|(_, client)| client.is_enabled())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever else is the case, in the file then and now too.
    #[test]
    fn nobody_is_enabled_who_was_not(
        enabled in any::<bool>(),
        expires in proptest::option::of(-1000..1000_i64),
        last_check in prop_oneof![
            Just(LastCheck::None), Just(LastCheck::Exited(0)), Just(LastCheck::Exited(1)),
            Just(LastCheck::Signaled(9)),
        ],
        configured_then in any::<bool>(),
        configured_now in any::<bool>(),
        start in 0..100_i64,
    ) {
        let config = config(configured_now);
        let judged = judge(&config, &stock(enabled, expires, last_check), configured_then);
        let had_time = enabled && expires.is_some_and(|at| at > 0);
        let stands = enabled_at_start(config, judged, start);
        prop_assert!(had_time || !stands);
        // And whoever had time keeps it.
        let has_time = had_time && expires.is_some_and(|at| at > start);
        prop_assert!(!has_time || stands);
    }
}

#[test]
fn a_removed_client_stays_removed() {
    let config = config(true);
    let judged = removed(&config, &stock_settings(true));
    assert!(!enabled_at_start(config, judged, 0));
}

#[test]
fn a_deadline_is_kept_and_an_impossible_one_cut() {
    let config = config(true);
    let kept = judge(&config, &stock(true, Some(600), LastCheck::None), true);
    assert_eq!(kept.standing, ImportedState::Enabled(at(600).wall));
    assert!(kept.remarks.is_empty());
    let cut = judge(
        &config,
        &stock(true, Some(1_000_000), LastCheck::None),
        true,
    );
    assert_eq!(cut.standing, ImportedState::Enabled(at(15 * 60).wall));
    assert_eq!(cut.remarks.len(), 1);
}

#[test]
fn what_was_changed_at_run_time_is_kept_and_told() {
    let config = config(true);
    let mut client = stock(true, Some(60), LastCheck::Exited(0));
    client.settings.host = "other".to_owned();
    client.settings.interval = 1;
    let secret = Ok(Secret::new(b"new".to_vec()));
    let judged = present(&config, &client, &stock_settings(true), secret, clock()).unwrap();
    assert_eq!(judged.changed, ["host", "interval", "secret"]);
    let Some(ClientPresence::Present(saved)) = judged.saved.map(|saved| saved.presence) else {
        panic!("not present");
    };
    assert_eq!(saved.settings.host, "other");
    assert_eq!(saved.secret.unwrap().expose(), b"new");
}

#[test]
fn what_cannot_be_used_is_told_and_the_file_counts() {
    let config = config(true);
    let mut client = stock(true, Some(60), LastCheck::Exited(0));
    client.settings.checker = "fping %(nothing)s".to_owned();
    client.settings.host = "a\0b".to_owned();
    let wrong = Err(Error::WrongPassphrase);
    let judged = present(&config, &client, &stock_settings(true), wrong, clock()).unwrap();
    assert_eq!(judged.remarks.len(), 3, "{:?}", judged.remarks);
    assert!(judged.changed.is_empty());
    let damaged = Err(Error::Unprotected);
    assert!(present(&config, &client, &stock_settings(true), damaged, clock()).is_err());
}

#[test]
fn a_denial_in_force_is_renewed() {
    let config = config(true);
    let mut client = stock(true, Some(60), LastCheck::Exited(0));
    client.denied = true;
    let judged = judge(&config, &client, true);
    let Some(ClientPresence::Present(saved)) = judged.saved.map(|saved| saved.presence) else {
        panic!("not present");
    };
    assert_eq!(saved.state.denied.unwrap().wall, at(1).wall);
}
