//! The commands of administrators, and their results.

use std::time::Duration;

use nightlatch_core::event::{ClientId, RequestId};
use nightlatch_core::explanation::several_pending;
use nightlatch_core::key_id::KeyId;
use nightlatch_core::name::shell_word;
use nightlatch_core::registry::{AddError, CheckError, DecisionError, NamedSecretError, Registry};
use nightlatch_core::sealed_secret::SealedSecret;
use nightlatch_core::secret_name::SecretName;
use nightlatch_core::settings::client::{ClientConfig, SettingChange, SettingError};
use nightlatch_core::time::Now;

use super::requests::WaitingRequest;
use crate::random;

/// A command that came over D-Bus.
#[derive(Debug)]
pub(crate) enum AdminCommand {
    Client(ClientId, ClientAction),
    /// Decides on one request that waits for approval.
    Decide {
        request: RequestId,
        approved: bool,
    },
    /// Removes a named secret of a host key that no client has.
    RemoveOrphanedSecret {
        host: KeyId,
        name: SecretName,
        serial: Option<u64>,
    },
    /// Adds a client.
    Add(Box<ClientConfig>),
    /// Checks that the client could be added.
    TryAdd(Box<ClientConfig>),
}

#[derive(Debug)]
pub(crate) enum ClientAction {
    Enable,
    Disable,
    /// Trusts a machine again that was suspect.
    Trust,
    Remove,
    Set(SettingChange),
    /// Puts a named secret; with `dry_run` only checks that it could be put.
    PutSecret {
        sealed: SealedSecret,
        /// `None`: as before.
        approval: Option<bool>,
        dry_run: bool,
    },
    /// Removes a named secret, of this serial if there is one.
    RemoveSecret(SecretName, Option<u64>),
    /// Approves the one request for the boot secret that waits.
    Approve,
    /// Allows rehearsals without an alarm for a while.
    AllowRehearsals(Duration),
    /// Denies all requests that wait, and those of the next `approval_duration`.
    Deny,
    CheckedOk,
    StartChecker,
    StopChecker,
}

/// A command was not carried out, or is not durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("there is no such client any more")]
    NoSuchClient,
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Add(#[from] AddError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Secret(#[from] NamedSecretError),
    /// Nothing was decided: no request waits.
    #[error("{0}")]
    NoneWaits(String),
    /// Nothing was decided: the administrator has to choose one of these.
    #[error("{}", several(.0))]
    SeveralWait(Vec<WaitingRequest>),
    /// The command is in force, but would be lost if the server ended now.
    #[error("the state cannot be written to the disk now: this is in force, but not yet durable")]
    NotDurable,
}

fn several(waiting: &[WaitingRequest]) -> String {
    let name = waiting.first().map_or("it", |it| it.client.as_str());
    let descriptions: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    // The list has those for boot secrets only.
    several_pending(name, &descriptions, 0)
}

impl AdminCommand {
    /// Has the registry carry the command out. Returns the client that it concerns, if there is one.
    pub(super) fn execute(
        self,
        registry: &mut Registry,
        now: Now,
    ) -> Result<Option<ClientId>, AdminError> {
        let (id, act) = match self {
            Self::Client(id, act) => (id, act),
            Self::Decide { request, approved } => {
                let decided = registry.handle_decide(request, approved, now);
                return decided.map(Some).map_err(|_| {
                    let RequestId(number) = request;
                    AdminError::NoneWaits(format!(
                        "no request {number} waits: it was decided, its machine went away, or its time \
                         is over; a machine that comes back has a new number (nightlatch list --state \
                         waiting)"
                    ))
                });
            }
            Self::RemoveOrphanedSecret { host, name, serial } => {
                registry.handle_remove_orphaned_secret(&host, &name, serial, now)?;
                return Ok(None);
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
            return Err(AdminError::NoSuchClient);
        }
        match act {
            ClientAction::Enable => registry.handle_enable(id, now),
            ClientAction::Trust => registry.handle_trust(id, now),
            ClientAction::Disable => registry.handle_disable(id, now),
            ClientAction::Remove => registry.handle_remove(id, now),
            ClientAction::Set(setting) => registry.handle_set(id, setting, now)?,
            ClientAction::PutSecret {
                sealed,
                dry_run: true,
                ..
            } => {
                registry.check_put_secret(id, &sealed, now)?;
                // Nothing of it is to be durable.
                return Ok(None);
            }
            ClientAction::PutSecret {
                sealed,
                approval,
                dry_run: false,
            } => registry.handle_put_secret(id, sealed, approval, now)?,
            ClientAction::RemoveSecret(name, serial) => {
                registry.handle_remove_secret(id, &name, serial, now)?
            }
            ClientAction::Approve => approve(registry, id, now)?,
            ClientAction::Deny => registry.handle_deny(id, now),
            ClientAction::AllowRehearsals(length) => {
                registry.handle_allow_rehearsals(id, length, now)
            }
            ClientAction::CheckedOk => registry.handle_checked_ok(id, now)?,
            ClientAction::StartChecker => registry.handle_start_checker(id, now)?,
            ClientAction::StopChecker => registry.handle_stop_checker(id, now),
        }
        Ok(Some(id))
    }
}

/// Approves the one request that waits. Where several wait, the driver adds the list of them.
fn approve(registry: &mut Registry, id: ClientId, now: Now) -> Result<(), AdminError> {
    let name = registry.name(id).map(ToString::to_string);
    let name = name.unwrap_or_default();
    registry.handle_approve(id, now).map_err(|error| match error {
        DecisionError::SeveralWait => AdminError::SeveralWait(Vec::new()),
        DecisionError::NoneWaits | DecisionError::NoSuchRequest => AdminError::NoneWaits(format!(
            "no request of {name} for its boot secret waits, and an approval is for one request: it cannot be given ahead. \
             Wait until it asks: nightlatch wait --until waiting {}",
            shell_word(&name)
        )),
    })
}
