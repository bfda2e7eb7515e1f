//! The rules of an import for each client (docs/decisions/0065). Pure: the time is an argument.
//!
//! Never enables a client that was disabled or removed, or whose deadline had passed.

use std::sync::Arc;
use std::time::Duration;

use nightlatch_core::checker::Checker;
use nightlatch_core::client::saved::{
    ClientPresence, PresentClient, SavedClient, SavedDeadline, SavedState,
};
use nightlatch_core::secret::Secret;
use nightlatch_core::settings::client::{ClientConfig, ClientSettings};
use nightlatch_core::time::{BootId, Now, Wall};
use nightlatch_openpgp::Error;

use super::state::{StockClient, StockSettings};

/// The state of a client after the import.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ImportedState {
    /// The stock server never knew it: it starts as `clients.conf` says.
    New {
        enabled: bool,
    },
    /// An administrator removed it.
    Removed,
    Disabled,
    /// Its time ran out.
    Expired(Wall),
    /// It is enabled until then.
    Enabled(Wall),
}

/// The result for one client.
pub(crate) struct ImportedClient {
    pub(crate) standing: ImportedState,
    /// The settings that were changed at run time.
    pub(crate) changed: Vec<&'static str>,
    /// Differences from the state before, each a sentence without a full stop.
    pub(crate) remarks: Vec<String>,
    /// The state for the store; `None` for a new client.
    pub(crate) saved: Option<SavedClient>,
}

/// The time of the import, and the boot that it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct ImportTime {
    pub(crate) now: Now,
    pub(crate) boot: BootId,
}

/// A client in `clients.conf` of which the state knows nothing.
pub(crate) fn unknown(config: &ClientConfig) -> ImportedClient {
    ImportedClient {
        standing: ImportedState::New {
            enabled: config.settings.enabled,
        },
        changed: Vec::new(),
        remarks: Vec::new(),
        saved: None,
    }
}

/// A client in `clients.conf` that an administrator removed.
pub(crate) fn removed(config: &ClientConfig, configured: &StockSettings) -> ImportedClient {
    ImportedClient {
        standing: ImportedState::Removed,
        changed: Vec::new(),
        remarks: Vec::new(),
        saved: Some(SavedClient {
            name: config.name.clone(),
            configured: settings(configured, config, &mut Vec::new()),
            configured_secret: config.secret.digest(),
            added: None,
            presence: ClientPresence::Removed,
        }),
    }
}

/// A client that exists. `secret` is what came out of its encrypted secret.
pub(crate) fn present(
    config: &ClientConfig,
    client: &StockClient,
    configured: &StockSettings,
    secret: Result<Secret, Error>,
    clock: ImportTime,
) -> Result<ImportedClient, Error> {
    let mut remarks = Vec::new();
    let configured = settings(configured, config, &mut Vec::new());
    let in_force = settings(&client.settings, config, &mut remarks);
    let mut changed = configured.differences(&in_force);
    let secret = own_secret(secret, config, &mut remarks)?;
    if secret.is_some() {
        changed.push("secret");
    }
    let (standing, deadline) = standing(client, &in_force, clock, &mut remarks);
    let denied = client.denied.then(|| {
        remarks.push("is denied; that counts for its approval_duration from now".to_owned());
        moment(in_force.approval_duration, clock)
    });
    let state = SavedState {
        enabled: deadline.is_some(),
        created: client.created,
        last_enabled: client.last_enabled,
        last_checked_ok: client.last_checked_ok,
        last_approval_request: client.last_approval_request,
        last_check: client.last_check,
        deadline,
        denied,
        // Mandos does not keep when a secret was released.
        released: false,
        released_boot: None,
        renewed: false,
        needs_proof: false,
        guard: None,
    };
    let presence = ClientPresence::Present(Box::new(PresentClient {
        settings: in_force,
        secret: secret.map(Arc::new),
        state,
    }));
    Ok(ImportedClient {
        standing,
        changed,
        remarks,
        saved: Some(SavedClient {
            name: config.name.clone(),
            configured,
            configured_secret: config.secret.digest(),
            added: None,
            presence,
        }),
    })
}

fn standing(
    client: &StockClient,
    settings: &ClientSettings,
    clock: ImportTime,
    remarks: &mut Vec<String>,
) -> (ImportedState, Option<SavedDeadline>) {
    if !client.settings.enabled {
        return (ImportedState::Disabled, None);
    }
    // Enabled without a deadline is a state that no server writes: it has no time left.
    let Some(expires) = client.expires else {
        return (ImportedState::Expired(clock.now.wall), None);
    };
    let left = expires.since(clock.now.wall);
    if left.is_zero() {
        return (ImportedState::Expired(expires), None);
    }
    let longest = longest(settings);
    if left > longest {
        remarks
            .push("its deadline was later than its settings can give, and is cut to that".into());
    }
    let deadline = moment(left.min(longest), clock);
    (ImportedState::Enabled(deadline.wall), Some(deadline))
}

/// The most that is ever left: after a proof of life, after a delivery, or after the stock server
/// enabled it or was started.
fn longest(settings: &ClientSettings) -> Duration {
    let started = settings.interval.saturating_mul(2);
    settings.timeout.max(settings.extended_timeout).max(started)
}

fn moment(left: Duration, clock: ImportTime) -> SavedDeadline {
    SavedDeadline {
        boot: clock.boot,
        mono: clock.now.mono.after(left),
        wall: clock.now.wall.after(left),
        remaining: left,
    }
}

/// The secret that was set at run time, if one was.
fn own_secret(
    opened: Result<Secret, Error>,
    config: &ClientConfig,
    remarks: &mut Vec<String>,
) -> Result<Option<Secret>, Error> {
    match opened {
        Ok(secret) if secret == config.secret => Ok(None),
        Ok(secret) if secret.is_empty() => {
            remarks.push("its secret was set to nothing; the configured one counts".to_owned());
            Ok(None)
        }
        Ok(secret) => Ok(Some(secret)),
        Err(Error::WrongPassphrase) => {
            remarks.push("its secret in clients.conf was changed since, and counts".to_owned());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Settings as ours. What `clients.conf` says about `enabled` is taken as it is now, so that a change
/// of it while no server ran is none: it would enable what was disabled.
fn settings(
    stock: &StockSettings,
    config: &ClientConfig,
    remarks: &mut Vec<String>,
) -> ClientSettings {
    let checker = Checker::new(stock.checker.as_str()).unwrap_or_else(|error| {
        remarks.push(format!(
            "its checker was set to what cannot be run ({error}); the configured one counts"
        ));
        config.settings.checker.clone()
    });
    let host = if stock.host.contains('\0') {
        remarks.push("its host was set to no host name; the configured one counts".to_owned());
        config.settings.host.clone()
    } else {
        stock.host.clone()
    };
    ClientSettings {
        key_id: stock.key_id.parse().ok(),
        fingerprint: stock.fingerprint.parse().ok(),
        host,
        checker,
        timeout: span(stock.timeout),
        extended_timeout: span(stock.extended_timeout),
        interval: span(stock.interval),
        approval_delay: span(stock.approval_delay),
        approval_duration: span(stock.approval_duration),
        approved_by_default: stock.approved_by_default,
        // Mandos knows none of the others.
        ..config.settings.clone()
    }
}

/// Mandos reads negative spans, which mean what none means.
fn span(micros: i128) -> Duration {
    Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
