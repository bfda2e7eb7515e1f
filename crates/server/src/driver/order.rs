//! What an administrator may order, and what comes of it.

use std::time::Duration;

use nightlatch_core::event::{ClientId, RequestId};
use nightlatch_core::registry::{AddError, DecisionError, Registry};
use nightlatch_core::settings::client::ClientConfig;
use nightlatch_core::settings::client::{Setting, SettingError};
use nightlatch_core::time::Now;

use super::requests::WaitingRequest;
use crate::random;

/// An order over the bus.
#[derive(Debug)]
pub(crate) enum Order {
    /// Something about a client.
    Client(ClientId, Act),
    /// A decision on one request that waits.
    Decide { request: RequestId, approved: bool },
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
    /// Approves the one request that waits.
    Approve,
    /// Allows rehearsals without an alarm for a while.
    AllowRehearsals(Duration),
    /// Denies whatever waits, and what comes within `approval_duration`.
    Deny,
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
    /// Nothing was decided.
    #[error("{0}")]
    NoneWaits(String),
    /// Nothing was decided: the person has to say on which of these.
    #[error("{}", super::requests::several(.0))]
    SeveralWait(Vec<WaitingRequest>),
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
            Self::Decide { request, approved } => {
                let decided = registry.handle_decide(request, approved, now);
                return decided.map(Some).map_err(|_| {
                    let RequestId(number) = request;
                    OrderError::NoneWaits(format!(
                        "no request {number} waits: it was decided, its machine went away, or its time \
                         is over; a machine that comes back has a new number (nightlatch list --state \
                         waiting)"
                    ))
                });
            }
            Self::Add(config) => {
                return Ok(Some(registry.handle_add(
                    *config,
                    now,
                    &mut random::up_to,
                )?));
            }
            Self::TryAdd(config) => {
                registry.check_add(&config)?;
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
            Act::Approve => approve(registry, id, now)?,
            Act::Deny => registry.handle_deny(id, now),
            Act::AllowRehearsals(length) => registry.handle_allow_rehearsals(id, length, now),
            Act::CheckedOk => registry.handle_checked_ok(id, now),
            Act::StartChecker => registry.handle_start_checker(id, now),
            Act::StopChecker => registry.handle_stop_checker(id, now),
        }
        Ok(Some(id))
    }
}

/// Approves the one request that waits. Which ones do where several wait is the driver's to add.
fn approve(registry: &mut Registry, id: ClientId, now: Now) -> Result<(), OrderError> {
    let name = registry.name(id).map(ToString::to_string);
    let name = name.unwrap_or_default();
    registry.handle_approve(id, now).map_err(|error| match error {
        DecisionError::SeveralWait => OrderError::SeveralWait(Vec::new()),
        DecisionError::NoneWaits | DecisionError::NoSuchRequest => OrderError::NoneWaits(format!(
            "no request of {name} waits, and an approval is for one request: it cannot be given ahead. \
             Wait until it asks: nightlatch wait {name} --until waiting"
        )),
    })
}
