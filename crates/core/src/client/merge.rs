//! Merging a client's configuration with its saved state: settings that the file changed since it was last read count,
//! all others stay as they were (mandos-behaviour 3.1).

use std::sync::Arc;
use std::time::Duration;

use super::Client;
use crate::client::saved::{PresentClient, SavedState};
use crate::deadline::{self, Deadline};
use crate::guard::Guard;
use crate::secret::SecretDigest;
use crate::settings::client::{ClientConfig, ClientSettings, Setting};
use crate::time::{BootId, Now};

/// The effect of a changed file on a client.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ConfigChanges {
    /// The row in the store is another.
    pub(crate) row: bool,
    /// The keys of the settings in force that are others now, the secret's too.
    pub(crate) settings: Vec<&'static str>,
    /// `enabled` in the file, when that changed.
    pub(crate) enabled: Option<bool>,
}

/// `current` with each setting that differs between `old` and `new` as in `new`, and `enabled`, which is a state of
/// its own once the client exists.
fn merge(old: &ClientSettings, new: &ClientSettings, current: &ClientSettings) -> ClientSettings {
    let mut merged = current.clone();
    for setting in Setting::ALL {
        if setting.differs(old, new) || *setting == Setting::Enabled {
            setting.copy(new, &mut merged);
        }
    }
    merged
}

impl Client {
    /// Merges its section as it is now. Its deadline follows a changed timeout; to enable or disable it is left to the
    /// caller.
    pub(crate) fn reconfigure(&mut self, config: ClientConfig, now: Now) -> ConfigChanges {
        self.named = config.named;
        let mut changed = self.adopt(Arc::new(config.settings), Duration::ZERO, now);
        let digest = config.secret.digest();
        if digest != self.configured_secret {
            changed.row = true;
            if *self.secret != config.secret {
                changed.settings.push("secret");
                self.secret_changes += 1;
            }
            self.configured_secret = digest;
            self.secret = Arc::new(config.secret);
            self.own_secret = false;
        }
        changed
    }

    /// The client of this section with the past that was saved. `row` and `digest` are what the
    /// section said then.
    pub(crate) fn restored(
        config: ClientConfig,
        row: ClientSettings,
        digest: SecretDigest,
        present: PresentClient,
        place: u32,
        clock: (BootId, Now),
    ) -> (Self, ConfigChanges) {
        let (boot, now) = clock;
        let mut client = Self::fresh(config, place, now);
        let file = std::mem::replace(&mut client.configured, Arc::new(row));
        client.settings = if present.settings == *client.configured {
            Arc::clone(&client.configured)
        } else {
            Arc::new(present.settings)
        };
        let overdue = client.resume(present.state, boot, now);
        let mut changed = client.adopt(file, overdue, now);
        if digest != client.configured_secret {
            changed.row = true;
        } else if let Some(secret) = present.secret {
            client.secret = secret;
            client.own_secret = true;
        }
        (client, changed)
    }

    /// Takes over the saved state. Silence counts anew. Returns how long ago the deadline passed, as far as `deadline` cannot say so.
    fn resume(&mut self, state: SavedState, boot: BootId, now: Now) -> Duration {
        self.created = state.created;
        self.last_enabled = state.last_enabled;
        self.last_checked_ok = state.last_checked_ok;
        self.last_approval_request = state.last_approval_request;
        self.last_check = state.last_check;
        self.released = state.released;
        self.released_boot = state.released_boot;
        self.renewed = state.renewed;
        self.needs_proof = state.needs_proof && !state.enabled;
        self.guard = Guard::of_saved(state.guard.as_ref(), boot, now);
        self.guard.handle_gap(&self.guard_settings(now), now.mono);
        // Enabled without a deadline is a row that nobody wrote: it has no time left.
        let (deadline, overdue) = match &state.deadline {
            Some(saved) => deadline::restore(saved, boot, now),
            None => (now.mono, Duration::MAX),
        };
        self.deadline = state.enabled.then(|| Deadline::at(deadline, now));
        self.denied = state
            .denied
            .map(|saved| deadline::restore(&saved, boot, now).0);
        overdue
    }

    /// A deadline that passed `overdue` ago is alive again only if the timeout grew by more than that.
    fn adopt(&mut self, file: Arc<ClientSettings>, overdue: Duration, now: Now) -> ConfigChanges {
        let mut changed = ConfigChanges::default();
        if self.configured == file {
            return changed;
        }
        changed.row = true;
        if self.configured.enabled != file.enabled {
            changed.enabled = Some(file.enabled);
        }
        let merged = merge(&self.configured, &file, &self.settings);
        changed.settings = merged.differences(&self.settings);
        if merged.key_id != self.settings.key_id {
            self.guard.boot_key_changed();
        }
        if merged.host_key_id != self.settings.host_key_id {
            self.guard.host_key_changed();
            self.pokeable = false;
        }
        let (old, new) = (self.settings.timeout, merged.timeout);
        if old != new {
            let old = old.saturating_add(overdue);
            self.deadline = self.deadline.map(|it| it.shifted(old, new, now));
        }
        self.settings = if merged == *file {
            Arc::clone(&file)
        } else {
            Arc::new(merged)
        };
        self.configured = file;
        changed
    }
}

#[cfg(test)]
mod tests;
