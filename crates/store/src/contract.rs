//! What every store must do, as assertions that any implementation is tested with.
//!
//! `open` opens the same store again and again, after the one given out before was dropped.

use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::checker::CheckerTemplate;
use nightlatch_core::client::saved::{
    Change, LastCheck, Life, Present, Saved, SavedClient, SavedDeadline, SavedState,
};
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::name::ClientName;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::{BootId, Monotonic, Wall};

use crate::{Store, StoreError};

/// Runs every check of the contract on a store that is empty at first.
///
/// # Panics
/// When the store breaks the contract.
pub fn check<S: Store>(mut open: impl FnMut() -> S) -> Result<(), StoreError> {
    let mut reopened = |changes: &[Change]| {
        open().commit(changes)?;
        let mut saved = open().load()?;
        saved.clients.sort_by(|a, b| a.name.cmp(&b.name));
        Ok::<_, StoreError>(saved)
    };
    let whole = client("whole.example.org", 1);
    let other = client("name with blanks, ünïcode and 'quotes'", 2);

    assert_eq!(reopened(&[])?, Saved::default(), "a new store is empty");

    let both = [
        Change::Put(whole.clone().into()),
        Change::Put(other.clone().into()),
    ];
    let expected = vec![other.clone(), whole.clone()];
    assert_eq!(
        reopened(&both)?.clients,
        expected,
        "what is put is there, in full"
    );
    assert_eq!(
        reopened(&both)?.clients,
        expected,
        "putting again changes nothing"
    );

    let mut disabled = whole.clone();
    if let Life::Present(present) = &mut disabled.life {
        present.state.enabled = false;
        present.state.deadline = None;
        present.state.last_check = LastCheck::None;
        let state = Change::State(whole.name.clone(), present.state.clone().into());
        let expected = vec![other.clone(), disabled.clone()];
        assert_eq!(
            reopened(&[state])?.clients,
            expected,
            "a state alone is replaced"
        );
    }

    let removed = SavedClient {
        life: Life::Removed,
        ..whole.clone()
    };
    let (name, state) = (whole.name.clone(), state(9));
    let changes = [
        Change::Put(removed.clone().into()),
        Change::State(name.clone(), state.clone().into()),
    ];
    let expected = vec![other.clone(), removed];
    assert_eq!(
        reopened(&changes)?.clients,
        expected,
        "the removed have no state"
    );

    let changes = [
        Change::Forget(name.clone()),
        Change::State(name.clone(), state.into()),
    ];
    let expected = vec![other.clone()];
    assert_eq!(
        reopened(&changes)?.clients,
        expected,
        "the forgotten do not come back"
    );
    assert_eq!(
        reopened(&[Change::Forget(name)])?.clients,
        expected,
        "forgetting twice is fine"
    );

    let changes = [
        Change::Forget(other.name.clone()),
        Change::Put(other.clone().into()),
        Change::Put(whole.clone().into()),
    ];
    let expected = vec![other, whole];
    assert_eq!(
        reopened(&changes)?.clients,
        expected,
        "a batch is carried out in order"
    );
    Ok(())
}

/// A client with every field filled in, told apart by `seed`.
pub fn client(name: &str, seed: u8) -> SavedClient {
    let secret = Secret::new(vec![seed; 300]);
    SavedClient {
        name: ClientName::new(name).expect("a valid name"),
        configured: settings(seed),
        configured_secret: secret.digest(),
        life: Life::Present(Box::new(Present {
            settings: settings(seed.wrapping_add(100)),
            secret: Some(Arc::new(secret)),
            state: state(seed),
        })),
    }
}

/// A state with every field filled in, told apart by `seed`.
pub fn state(seed: u8) -> SavedState {
    let number = i64::from(seed);
    SavedState {
        enabled: true,
        created: Wall::from_unix_micros(-number),
        last_enabled: Some(Wall::from_unix_micros(number)),
        last_checked_ok: Some(Wall::from_unix_micros(number + 1)),
        last_approval_request: Some(Wall::from_unix_micros(number + 2)),
        last_check: match seed % 2 {
            0 => LastCheck::Exited(seed),
            _ => LastCheck::Signaled(seed.into()),
        },
        deadline: Some(moment(seed)),
        denied: seed.is_multiple_of(2).then(|| moment(seed.wrapping_add(1))),
    }
}

fn moment(seed: u8) -> SavedDeadline {
    let span = Duration::from_micros(u64::from(seed) * 1_000_001);
    SavedDeadline {
        boot: BootId::from_bytes([seed; 16]),
        mono: Monotonic::from_boot(span),
        wall: Wall::from_unix_micros(seed.into()),
        remaining: span,
    }
}

fn settings(seed: u8) -> ClientSettings {
    let seconds = |n: u64| Duration::from_secs(u64::from(seed) + n);
    ClientSettings {
        key_id: KeyId::from_bytes([seed; 32]).ok(),
        fingerprint: Some(Fingerprint::from_bytes([seed; 20])),
        host: format!("host-{seed}"),
        checker: CheckerTemplate::new(format!("fping -q -- %(host)s; exit {seed}"))
            .expect("a valid checker"),
        timeout: seconds(1),
        extended_timeout: seconds(2),
        interval: seconds(3),
        approval_delay: seconds(4),
        approval_duration: seconds(5),
        approved_by_default: seed.is_multiple_of(2),
        enabled: !seed.is_multiple_of(3),
    }
}
