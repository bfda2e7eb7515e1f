//! What an administrator may order, and what comes of it.

use nightlatch_core::client::setting::{Setting, SettingError};
use nightlatch_core::registry::{AddError, ClientId, Registry};
use nightlatch_core::settings::client::ClientConfig;
use nightlatch_core::time::Now;

use crate::random;

/// An order over the bus.
#[derive(Debug)]
pub(crate) enum Order {
    /// Something about a client.
    Client(ClientId, Act),
    /// A new client.
    Add(Box<ClientConfig>),
    /// The same, without doing it.
    TryAdd(Box<ClientConfig>),
}

/// What is to be done with a client.
#[derive(Debug)]
pub(crate) enum Act {
    Enable,
    Disable,
    Remove,
    Set(Setting),
    /// A decision on whoever waits, and for `approval_duration`.
    Decide(bool),
    CheckedOk,
    StartChecker,
    StopChecker,
}

/// Why an order was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// The client is gone.
    #[error("there is no such client any more")]
    NoSuchClient,
    /// A value that cannot be.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A client that cannot be added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// It is in force, but would be lost if the server ended now.
    #[error("the state cannot be written to the disk now: this is in force, but not yet durable")]
    NotDurable,
}

impl Order {
    /// Puts the order to the registry; the client it is about, where there is one.
    pub(super) fn carry_out(
        self,
        registry: &mut Registry,
        now: Now,
    ) -> Result<Option<ClientId>, OrderError> {
        let (id, act) = match self {
            Self::Client(id, act) => (id, act),
            Self::Add(config) => {
                return Ok(Some(registry.handle_add(
                    *config,
                    now,
                    &mut random::up_to,
                )?));
            }
            Self::TryAdd(config) => {
                registry.can_add(&config)?;
                return Ok(None);
            }
        };
        if registry.client(id).is_none() {
            return Err(OrderError::NoSuchClient);
        }
        match act {
            Act::Enable => registry.handle_enable(id, now),
            Act::Disable => registry.handle_disable(id, now),
            Act::Remove => registry.handle_remove(id, now),
            Act::Set(setting) => registry.handle_set(id, setting, now)?,
            Act::Decide(approved) => registry.handle_approve(id, approved, now),
            Act::CheckedOk => registry.handle_checked_ok(id, now),
            Act::StartChecker => registry.handle_start_checker(id, now),
            Act::StopChecker => registry.handle_stop_checker(id, now),
        }
        Ok(Some(id))
    }
}
