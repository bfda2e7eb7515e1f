//! Putting and removing named secrets, at run time and by the configuration.

use std::sync::Arc;
use std::time::Duration;

use super::NamedSecrets;
use crate::calendar::DateTime;
use crate::client::Client;
use crate::client::saved::{Change, SavedSecret};
use crate::event::{ClientId, Durability, Event, PutApproval, Refusal};
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::registry::{Action, Registry};
use crate::sealed_secret::SealedSecret;
use crate::secret_name::SecretName;
use crate::settings::client::ConfiguredSecrets;
use crate::time::{Now, Wall};

/// The greatest number of named secrets of one host key that are put at run time.
pub const MAX_SECRETS: usize = 64;

/// The serials of so many removed secrets of one host key are remembered. Machines remember those that they have seen.
const MAX_REMOVED: usize = 256;

/// No serial may be further ahead of the server's clock: the next one, of an administrator whose clock is right, would
/// be refused.
const MOST_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// An order about a named secret was refused. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NamedSecretError {
    /// The client is gone.
    #[error("the client does not exist")]
    NoSuchClient,
    /// No agent, so nobody to give it to.
    #[error(
        "[{0}] has no host_key_id, and named secrets are for host keys: run nightlatch enroll --host-key on the machine, \
         and put the host_key_id that it prints into the section"
    )]
    NoHostKey(ClientName),
    /// It is sealed for another machine.
    #[error(
        "the secret is sealed for the host key {found}, and [{client}] has host_key_id = {host}: seal it again for this \
         machine (nightlatch secret seal)"
    )]
    OtherHost {
        /// The client.
        client: ClientName,
        /// The host key in the header.
        found: KeyId,
        /// The host key of the client.
        host: KeyId,
    },
    /// The section has it.
    #[error(
        "the section [{client}] has secret.{name}, which wins: change it there, and run nightlatch reload"
    )]
    InFile {
        /// The client.
        client: ClientName,
        /// The name of the secret.
        name: SecretName,
    },
    /// It is not newer than what is known.
    #[error(
        "the serial {serial} of {name} is not greater than {known}, the last one: an older value is never put back; seal \
         the value again (nightlatch secret seal)"
    )]
    NotNewer {
        /// The name of the secret.
        name: SecretName,
        /// Its serial.
        serial: u64,
        /// The greatest serial that is known.
        known: u64,
    },
    /// Its serial is in the future.
    #[error(
        "the serial {serial} of {name} is more than a day ahead of this server's clock, {clock}: set the clocks, and seal \
         the value again"
    )]
    Ahead {
        /// The name of the secret.
        name: SecretName,
        /// Its serial.
        serial: u64,
        /// The server's time.
        clock: DateTime,
    },
    /// Its time is over, or has not come.
    #[error(
        "{name} has expired, or the server's clock, {clock}, is before its creation: seal it with a later --expires"
    )]
    Expired {
        /// The name of the secret.
        name: SecretName,
        /// The server's time.
        clock: DateTime,
    },
    /// Too many of one machine.
    #[error(
        "[{0}] has {MAX_SECRETS} named secrets already, the most that can be put: remove one (nightlatch secret remove)"
    )]
    TooMany(ClientName),
    /// Another value was to be removed than the one that is there.
    #[error(
        "{name} has the serial {found} now, and not {expected}: it was put since; look at what is there (nightlatch secret \
         list), and remove it again if that is still meant"
    )]
    OtherSerial {
        /// The name of the secret.
        name: SecretName,
        /// The serial that was to be removed.
        expected: u64,
        /// Its serial.
        found: u64,
    },
    /// No host key without a client has one of this name.
    #[error(
        "no host key {host} without a client has a secret {name}: nightlatch secret list shows those that are there"
    )]
    NoOrphan {
        /// The host key.
        host: KeyId,
        /// The name of the secret.
        name: SecretName,
    },
    /// There is none of this name.
    #[error("[{client}] has no secret {name}: nightlatch secret list shows those that it has")]
    NoSuchSecret {
        /// The client.
        client: ClientName,
        /// The name of the secret.
        name: SecretName,
    },
}

impl Registry {
    /// An administrator gives a client a named secret, in place of the one of its name. `approval`: each request for it
    /// waits for a person; `None` leaves that as it is. To put the very same sealed secret again only changes that.
    pub fn handle_put_secret(
        &mut self,
        id: ClientId,
        sealed: SealedSecret,
        approval: Option<bool>,
        now: Now,
    ) -> Result<(), NamedSecretError> {
        self.handle_timeout(now);
        self.check_put_secret(id, &sealed, now)?;
        let header = sealed.header();
        let (name, serial) = (header.name.clone(), header.serial);
        let before = self.named.row(&header.host, &name);
        let needed_approval = before.is_some_and(|row| row.approval);
        let approval = approval.unwrap_or(needed_approval);
        let row = SavedSecret {
            host: header.host,
            name: name.clone(),
            serial,
            sealed: Some(Arc::new(sealed)),
            approval,
            put: now.wall,
        };
        self.end_requests_for(id, &name, now);
        self.store_secret(Some(id), row, Durability::Before);
        self.emit(Event::SecretPut {
            client: id,
            name,
            serial,
            approval: PutApproval::of(needed_approval, approval),
        });
        Ok(())
    }

    /// Returns the error of [`Self::handle_put_secret`] without putting the secret.
    pub fn check_put_secret(
        &self,
        id: ClientId,
        sealed: &SealedSecret,
        now: Now,
    ) -> Result<(), NamedSecretError> {
        let (client, host) = self.holder(id)?;
        let header = sealed.header();
        let (name, serial) = (header.name.clone(), header.serial);
        if header.host != host {
            return Err(NamedSecretError::OtherHost {
                client: client.name.clone(),
                found: header.host,
                host,
            });
        }
        refuse_configured(client, &name)?;
        let clock = || DateTime::from(now.wall);
        if header.is_expired(now.wall) {
            return Err(NamedSecretError::Expired {
                name,
                clock: clock(),
            });
        }
        let latest = now.wall.after(MOST_AHEAD).unix_micros() / 1000;
        if i128::from(serial) > i128::from(latest) {
            return Err(NamedSecretError::Ahead {
                name,
                serial,
                clock: clock(),
            });
        }
        let known = self.named.row(&host, &name);
        let is_same = |row: &SavedSecret| row.sealed.as_deref() == Some(sealed);
        if let Some(row) = known.filter(|row| serial <= row.serial && !is_same(row)) {
            let known = row.serial;
            return Err(NamedSecretError::NotNewer {
                name,
                serial,
                known,
            });
        }
        let is_new = known.is_none_or(|row| row.sealed.is_none());
        let in_force = self.named.of_host(&host).filter(|it| it.sealed.is_some());
        if is_new && in_force.count() >= MAX_SECRETS {
            return Err(NamedSecretError::TooMany(client.name.clone()));
        }
        Ok(())
    }

    /// An administrator removes a named secret that was put at run time: the value of this serial, unless it is `None`.
    /// Its serial stays, so that no older value can come back.
    pub fn handle_remove_secret(
        &mut self,
        id: ClientId,
        name: &SecretName,
        serial: Option<u64>,
        now: Now,
    ) -> Result<(), NamedSecretError> {
        self.handle_timeout(now);
        let (client, host) = self.holder(id)?;
        refuse_configured(client, name)?;
        let row = self.named.row(&host, name);
        let row = row.filter(|row| row.sealed.is_some()).cloned();
        let row = row.ok_or_else(|| NamedSecretError::NoSuchSecret {
            client: client.name.clone(),
            name: name.clone(),
        })?;
        refuse_other_serial(&row, serial)?;
        self.remove_row(Some(id), row, now);
        Ok(())
    }

    /// An administrator removes a named secret of a host key that no client has any more.
    pub fn handle_remove_orphaned_secret(
        &mut self,
        host: &KeyId,
        name: &SecretName,
        serial: Option<u64>,
        now: Now,
    ) -> Result<(), NamedSecretError> {
        self.handle_timeout(now);
        let row = self.named.row(host, name);
        let row = row.filter(|row| row.sealed.is_some() && self.by_host_key(host).is_none());
        let row = row.cloned().ok_or_else(|| NamedSecretError::NoOrphan {
            host: *host,
            name: name.clone(),
        })?;
        refuse_other_serial(&row, serial)?;
        self.remove_row(None, row, now);
        Ok(())
    }

    fn remove_row(&mut self, client: Option<ClientId>, row: SavedSecret, now: Now) {
        let (host, name) = (row.host, row.name.clone());
        if let Some(id) = client {
            self.end_requests_for(id, &name, now);
        }
        // Whether a person is asked stays, for the next value too.
        let removed = SavedSecret {
            sealed: None,
            put: self.named.after_all(&row.host, now),
            ..row
        };
        self.store_secret(client, removed, Durability::BeforeUnlessFailing);
        let host = Some(host);
        self.emit(Event::SecretRemoved { client, host, name });
    }

    /// The file changed a client's section: requests for what it changed end, and values that were put before are gone.
    /// Returns true where its policies are others; what waits is to be judged again.
    pub(in crate::registry) fn configured_secrets_changed(
        &mut self,
        id: ClientId,
        before: &ConfiguredSecrets,
        now: Now,
    ) -> bool {
        let Some(client) = self.clients.get(&id) else {
            return false;
        };
        let other_policies = before.policies != client.named.policies;
        let changed = before.changed_names(&client.named);
        let names = client.named.policies.keys();
        let is_stricter =
            |name: &&SecretName| client.named.needs_approval(name) && !before.needs_approval(name);
        let stricter: Vec<SecretName> = names.filter(is_stricter).cloned().collect();
        for name in stricter {
            // Also what a person has approved and is not sent: the request is judged by one policy as a whole.
            self.revoke_named(id, &name, Refusal::SecretChanged);
        }
        for name in changed {
            self.end_requests_for(id, &name, now);
            let Some(client) = self.clients.get(&id) else {
                return false;
            };
            let event = match client.named.sealed.get(&name) {
                Some(sealed) => {
                    let header = sealed.header();
                    let put = self.named.row(&header.host, &name);
                    let put = put.is_some_and(|row| row.approval);
                    let needed = put || before.needs_approval(&name);
                    Event::SecretPut {
                        client: id,
                        serial: header.serial,
                        approval: PutApproval::of(needed, client.named.needs_approval(&name)),
                        name,
                    }
                }
                None => Event::SecretRemoved {
                    client: Some(id),
                    host: before.sealed.get(&name).map(|it| it.header().host),
                    name,
                },
            };
            self.emit(event);
        }
        // Told above.
        self.drop_superseded(id, now);
        if other_policies {
            self.emit(Event::Changed(id, vec!["policy"]));
        }
        other_policies
    }

    /// After any change of the sections: [`Self::drop_superseded`] of all clients, told for each value of a section that
    /// replaced one.
    pub(in crate::registry) fn drop_all_superseded(&mut self, now: Now) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            for row in self.drop_superseded(id, now) {
                let client = self.clients.get(&id);
                let approval = client.is_some_and(|it| it.named.needs_approval(&row.name));
                self.emit(Event::SecretPut {
                    client: id,
                    name: row.name,
                    serial: row.serial,
                    approval: PutApproval::of(row.approval, approval),
                });
            }
        }
    }

    /// After a loss a person decides on each request for what was put before.
    pub(in crate::registry) fn distrust_secrets(&mut self) {
        // No client is known yet.
        for row in self.named.distrust() {
            self.store_secret(None, row, Durability::Before);
        }
    }

    /// Removes what was put at run time and is not newer than what the section has: it must not come back when it
    /// leaves the section. Returns what is remembered of it.
    fn drop_superseded(&mut self, id: ClientId, now: Now) -> Vec<SavedSecret> {
        let Some(client) = self.clients.get(&id) else {
            return Vec::new();
        };
        let superseded = client.named.sealed.values().filter_map(|sealed| {
            let header = sealed.header();
            let row = self.named.row(&header.host, &header.name)?;
            let is_older = row.sealed.is_some() && row.serial <= header.serial;
            is_older.then(|| SavedSecret {
                serial: header.serial,
                sealed: None,
                put: self.named.after_all(&row.host, now),
                ..row.clone()
            })
        });
        let superseded: Vec<_> = superseded.collect();
        for row in &superseded {
            self.store_secret(Some(id), row.clone(), Durability::BeforeUnlessFailing);
        }
        superseded
    }

    /// The client with this handle, and its host key.
    fn holder(&self, id: ClientId) -> Result<(&Client, KeyId), NamedSecretError> {
        let client = self.clients.get(&id);
        let client = client.ok_or(NamedSecretError::NoSuchClient)?;
        let host = client.settings.host_key_id;
        let host = host.ok_or_else(|| NamedSecretError::NoHostKey(client.name.clone()))?;
        Ok((client, host))
    }

    fn store_secret(&mut self, id: Option<ClientId>, row: SavedSecret, durability: Durability) {
        let client = id.and_then(|id| self.name(id)).cloned();
        let (host, name) = (row.host, row.name.clone());
        self.named.insert(row.clone());
        let secret = Box::new(row);
        let change = Change::PutSecret { client, secret };
        self.push_action(Action::Persist(change, durability));
        while let Some(oldest) = self.named.drop_removed(&host, &name) {
            let change = Change::DeleteSecret(host, oldest);
            self.push_action(Action::Persist(change, Durability::Soon));
        }
    }

    /// Takes back what was granted and refuses what waits for the secret `name`: its value is about to be another one,
    /// and a person decided on the one before.
    fn end_requests_for(&mut self, id: ClientId, name: &SecretName, now: Now) {
        let reason = Refusal::SecretChanged;
        self.revoke_named(id, name, reason);
        let waiting = self
            .clients
            .get(&id)
            .into_iter()
            .flat_map(|it| it.waiting.iter());
        for (request, _) in waiting.collect::<Vec<_>>() {
            let open = self.requests.get(&request);
            let open = open.filter(|it| it.secret.as_ref() == Some(name)).cloned();
            if let Some(open) = open {
                self.take_from_queues(request, &open);
                self.refuse(request, open.refused(reason));
            }
        }
        self.set_request_timers(id, now);
    }
}

impl NamedSecrets {
    /// The time of a change now: after that of each earlier one, though the clock was set back.
    fn after_all(&self, host: &KeyId, now: Now) -> Wall {
        let latest = self.of_host(host).map(|row| row.put).max();
        let next = latest.map(|latest| latest.after(Duration::from_micros(1)));
        next.map_or(now.wall, |next| next.max(now.wall))
    }

    /// Forgets the secret that was removed first, where too many are remembered; never `newest`, whatever the clock says.
    fn drop_removed(&mut self, host: &KeyId, newest: &SecretName) -> Option<SecretName> {
        let removed = || self.of_host(host).filter(|row| row.sealed.is_none());
        if removed().count() <= MAX_REMOVED {
            return None;
        }
        let others = removed().filter(|row| row.name != *newest);
        let oldest = others.min_by_key(|row| row.put)?;
        let name = oldest.name.clone();
        self.by_host.get_mut(host)?.remove(&name);
        Some(name)
    }
}

fn refuse_other_serial(row: &SavedSecret, expected: Option<u64>) -> Result<(), NamedSecretError> {
    match expected.filter(|expected| *expected != row.serial) {
        Some(expected) => Err(NamedSecretError::OtherSerial {
            name: row.name.clone(),
            expected,
            found: row.serial,
        }),
        None => Ok(()),
    }
}

fn refuse_configured(client: &Client, name: &SecretName) -> Result<(), NamedSecretError> {
    match client.named.sealed.contains_key(name) {
        true => Err(NamedSecretError::InFile {
            client: client.name.clone(),
            name: name.clone(),
        }),
        false => Ok(()),
    }
}
