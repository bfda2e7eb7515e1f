//! The clients' encrypted secrets in memory.

use nightlatch_core::secret::Secret;
use nightlatch_sys::memory;
use tracing::warn;

/// What is swapped out can be read from the disk later. A limit on locked memory is no reason not
/// to serve: the secrets are encrypted.
pub(crate) fn lock_secrets<'a>(secrets: impl IntoIterator<Item = &'a Secret>) {
    let failed = secrets
        .into_iter()
        .find_map(|secret| memory::lock(secret.expose()).err());
    if let Some(error) = failed {
        warn!(%error, limit = memory::lock_limit(), "cannot lock all secrets into memory; raise LimitMEMLOCK");
    }
}
