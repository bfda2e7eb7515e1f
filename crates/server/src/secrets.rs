//! Keeps the clients' encrypted secrets out of swap.

use nightlatch_core::secret::Secret;
use nightlatch_sys::memory;
use tracing::warn;

/// Locks the secrets into memory: swapped pages can be read from the disk later. A failure is logged only, as
/// the secrets are encrypted.
pub(crate) fn lock_secrets<'a>(secrets: impl IntoIterator<Item = &'a Secret>) {
    let failed = secrets
        .into_iter()
        .find_map(|secret| memory::lock(secret.expose()).err());
    if let Some(error) = failed {
        warn!(%error, limit = memory::lock_limit(), "cannot lock all secrets into memory; raise LimitMEMLOCK");
    }
}
