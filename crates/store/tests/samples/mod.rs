//! Clients and states for the tests of the store, with every field set and different for each seed.

use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::boot_nonce::BootNonce;
use nightlatch_core::checker::{Checker, LastCheck};
use nightlatch_core::client::saved::{
    ClientPresence, PresentClient, SavedClient, SavedDeadline, SavedState,
};
use nightlatch_core::guard::saved::SavedGuard;
use nightlatch_core::guard::{Guard, GuardSettings, Life, Unannounced};
use nightlatch_core::key_id::{Fingerprint, KeyId};
use nightlatch_core::name::ClientName;
use nightlatch_core::openpgp_public_key::OpenPgpPublicKey;
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::ClientSettings;
use nightlatch_core::time::{BootId, Monotonic, Now, Wall};

/// A present client named `name`.
pub(crate) fn client(name: &str, seed: u8) -> SavedClient {
    let secret = Secret::new(vec![seed; 300]);
    SavedClient {
        name: ClientName::new(name).unwrap(),
        configured: settings(seed),
        configured_secret: secret.digest(),
        added: seed
            .is_multiple_of(2)
            .then(|| Arc::new(Secret::new(vec![seed; 200]))),
        presence: ClientPresence::Present(Box::new(PresentClient {
            settings: settings(seed.wrapping_add(100)),
            secret: Some(Arc::new(secret)),
            state: state(seed),
        })),
    }
}

pub(crate) fn state(seed: u8) -> SavedState {
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
        deadline: Some(deadline(seed)),
        denied: seed
            .is_multiple_of(2)
            .then(|| deadline(seed.wrapping_add(1))),
        released: seed.is_multiple_of(3),
        released_boot: seed
            .is_multiple_of(5)
            .then_some(BootNonce::from_bytes([seed; 16])),
        renewed: seed.is_multiple_of(7),
        needs_proof: seed.is_multiple_of(11),
        guard: seed.is_multiple_of(2).then(|| guard(seed)),
    }
}

fn guard(seed: u8) -> SavedGuard {
    let moment = Monotonic::from_boot(Duration::from_secs(seed.into()));
    let now = Now {
        mono: moment,
        wall: Wall::from_unix_micros(0),
    };
    let settings = GuardSettings {
        unannounced: Unannounced::Release,
        guard_wait: Duration::ZERO,
        reboot_window: Duration::from_secs(60),
        grace: Duration::from_secs(60),
    };
    let life = Life {
        boot: BootNonce::from_bytes([seed; 16]),
        resumes: 0,
        earlier_boots: Vec::new(),
        opened: moment,
        next: Duration::from_secs(15),
        goodbye: None,
    };
    let mut guard = Guard::default();
    let _ = guard.life(&life, &[], moment, &settings, moment);
    SavedGuard::from_bytes(guard.to_bytes(BootId::from_bytes([seed; 16]), now)).unwrap()
}

fn deadline(seed: u8) -> SavedDeadline {
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
        checker: Checker::new(format!("fping -q -- %(host)s; exit {seed}")).unwrap(),
        timeout: seconds(1),
        extended_timeout: seconds(2),
        interval: seconds(3),
        approval_delay: seconds(4),
        approval_duration: seconds(5),
        approved_by_default: seed.is_multiple_of(2),
        enabled: !seed.is_multiple_of(3),
        host_key_id: KeyId::from_bytes([!seed; 32]).ok(),
        guard: seed.is_multiple_of(3),
        unannounced: match seed % 2 {
            0 => Unannounced::Release,
            _ => Unannounced::Approve,
        },
        guard_wait: seconds(6),
        reboot_window: seconds(7),
        host_openpgp: seed
            .is_multiple_of(2)
            .then(|| OpenPgpPublicKey::from_bytes(&[seed; 40]).unwrap()),
    }
}
