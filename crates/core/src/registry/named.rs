//! Named secrets: those that were put at run time by host key id, and the right to one (docs/decisions/0173).
//!
//! What a section has is with its client, and wins. Nothing here reads a value: a machine believes only what its
//! administrator has signed.

mod put;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use put::{MAX_SECRETS, NamedSecretError};

use super::judgement::{Judgement, wait_for_person};
use super::requests::{OpenRequest, RefusedRequest, RequestStage};
use super::{ClientId, Event, Grant, Refusal, Registry, RequestClaims, RequestId};
use crate::client::Client;
use crate::client::saved::SavedSecret;
use crate::event::KeyRole;
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::sealed_secret::SealedSecret;
use crate::secret_name::SecretName;
use crate::secret_rejection::Rejection;
use crate::time::{Now, Wall};

/// A person gets at least this time to approve a request for a named secret, also where the boot secret needs no approval.
pub const LEAST_APPROVAL_DELAY: Duration = Duration::from_secs(60);

/// The secrets that were put at run time, and the serials of those that were removed.
#[derive(Debug, Default)]
pub(super) struct NamedSecrets {
    by_host: HashMap<KeyId, BTreeMap<SecretName, SavedSecret>>,
}

/// A question for a named secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedQuery {
    /// Its name.
    pub name: SecretName,
    /// The claims of the peer.
    pub claims: RequestClaims,
    /// False where its connection must not wait for a person: it is refused then.
    pub may_wait: bool,
}

/// A secret in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundSecret<'a> {
    pub(super) sealed: &'a Arc<SealedSecret>,
    /// Each request for it waits for a person.
    approval: bool,
    source: SecretPlace,
}

/// The place where a named secret stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretPlace {
    /// A section of the configuration.
    File,
    /// The store: it was put at run time.
    Runtime,
}

impl SecretPlace {
    /// The word on D-Bus.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Runtime => "runtime",
        }
    }
}

/// A named secret without its value.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields are those of its header")]
pub struct NamedSecretInfo {
    /// `None` where no client has its host key any more.
    pub client: Option<ClientName>,
    pub host: KeyId,
    pub name: SecretName,
    pub serial: u64,
    pub created: Wall,
    pub expires: Option<Wall>,
    /// Each request for it waits for a person.
    pub approval: bool,
    /// The length of the sealed secret in bytes.
    pub size: usize,
    pub source: SecretPlace,
}

impl NamedSecrets {
    pub(super) fn new(rows: Vec<SavedSecret>) -> Self {
        let mut secrets = Self::default();
        for row in rows {
            secrets.insert(row);
        }
        secrets
    }

    fn insert(&mut self, row: SavedSecret) {
        let of_host = self.by_host.entry(row.host).or_default();
        of_host.insert(row.name.clone(), row);
    }

    fn of_host(&self, host: &KeyId) -> impl Iterator<Item = &SavedSecret> {
        self.by_host
            .get(host)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    fn row(&self, host: &KeyId, name: &SecretName) -> Option<&SavedSecret> {
        self.by_host.get(host)?.get(name)
    }

    /// The secret `name` of `client`: that of its section, or else the one that was put.
    pub(super) fn find<'a>(
        &'a self,
        client: &'a Client,
        name: &SecretName,
    ) -> Option<FoundSecret<'a>> {
        let host = client.settings.host_key_id?;
        let by_policy = client.named.needs_approval(name);
        if let Some(sealed) = client.named.sealed.get(name) {
            let found = FoundSecret {
                sealed,
                approval: by_policy,
                source: SecretPlace::File,
            };
            return Some(found).filter(|it| it.sealed.header().host == host);
        }
        let row = self.row(&host, name)?;
        Some(FoundSecret {
            sealed: row.sealed.as_ref()?,
            approval: row.approval || by_policy,
            source: SecretPlace::Runtime,
        })
    }

    /// After a loss of the state: the secrets that were put need approval until one is put that lifts it, as some may have
    /// been removed since. So do those that were removed, once they are put again. Returns the changed rows.
    pub(super) fn distrust(&mut self) -> Vec<SavedSecret> {
        let rows = self.by_host.values_mut().flat_map(BTreeMap::values_mut);
        let without = rows.filter(|row| !row.approval);
        let distrusted = without.map(|row| {
            row.approval = true;
            row.clone()
        });
        distrusted.collect()
    }
}

/// Judges a request for a named secret by a client that nothing refuses: `found` is the secret of that name.
pub(super) fn judge(
    client: &Client,
    found: Option<FoundSecret<'_>>,
    request: &OpenRequest,
    now: Now,
) -> Judgement {
    if client.guard.suspect().is_some() {
        // Not even whether there is one is told before a person has decided.
        return wait_or_tell(request, wait_for_person(client, now));
    }
    match available(found, now) {
        Err(reason) => return Judgement::Refuse(reason),
        Ok(found) if !found.approval => return Judgement::Release(Grant::NotNeeded, None),
        Ok(_) => {}
    }
    let since = request.waiting_since().unwrap_or(now.mono);
    let delay = client.settings.approval_delay.max(LEAST_APPROVAL_DELAY);
    let until = since.after(delay);
    if now.mono >= until {
        return Judgement::Refuse(Refusal::ApprovalTimedOut);
    }
    let wait = Judgement::Wait {
        until,
        approved_by_default: false,
    };
    wait_or_tell(request, wait)
}

fn available(found: Option<FoundSecret<'_>>, now: Now) -> Result<FoundSecret<'_>, Refusal> {
    let found = found.ok_or(Refusal::NoSuchSecret)?;
    match found.sealed.header().is_expired(now.wall) {
        true => Err(Refusal::SecretExpired),
        false => Ok(found),
    }
}

/// A rehearsal never waits.
fn wait_or_tell(request: &OpenRequest, wait: Judgement) -> Judgement {
    match request.claims.rehearsal {
        true => Judgement::Refuse(Refusal::RehearsalNeedsApproval),
        false => wait,
    }
}

impl Registry {
    /// A peer that proved the key `key` requests a named secret. Only a host key may: not even the boot key
    /// with the nonce of the boot that is up.
    pub fn handle_named_request(
        &mut self,
        request: RequestId,
        key: &KeyId,
        query: NamedQuery,
        now: Now,
    ) {
        self.handle_timeout(now);
        let NamedQuery {
            name,
            claims,
            may_wait,
        } = query;
        if self.requests.contains_key(&request) {
            return;
        }
        if let Some(id) = self.by_key(key) {
            let refused = RefusedRequest {
                secret: Some(name),
                ..RefusedRequest::of(id, Refusal::NamedByBootKey)
            };
            return self.refuse(request, refused);
        }
        let Some(id) = self.by_host_key(key) else {
            return self.refuse_unknown_key(request, Some(name), now);
        };
        let open = OpenRequest {
            client: id,
            secret: Some(name),
            by_host_key: true,
            role: KeyRole::Host,
            claims,
            accepted: now.mono,
            may_wait,
            stage: RequestStage::New,
            held_again: 0,
            told: false,
            is_remembered: false,
        };
        self.settle(request, open, now);
    }

    /// The agent of a client refused a sealed secret that a server gave it.
    pub fn handle_rejected(
        &mut self,
        id: ClientId,
        Rejection { name, reason }: Rejection,
        now: Now,
    ) {
        self.handle_timeout(now);
        if self.clients.contains_key(&id) {
            self.emit(Event::SecretRejected {
                client: id,
                name,
                reason,
            });
        }
    }

    /// The refusal of an approved request whose secret is missing or expired.
    pub(super) fn refusal_of_approved(&self, open: &OpenRequest, now: Now) -> Option<Refusal> {
        let name = open.secret.as_ref()?;
        let client = self.clients.get(&open.client)?;
        available(self.named.find(client, name), now).err()
    }

    /// The named secrets that requests of a client wait for, in order.
    pub fn waiting_secrets(&self, id: ClientId) -> Vec<SecretName> {
        let waiting = self
            .clients
            .get(&id)
            .into_iter()
            .flat_map(|it| it.waiting.iter());
        let names = waiting.filter_map(|(request, _)| self.requests.get(&request)?.secret.clone());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The named secrets of a client, or of all, in the order of clients and names.
    pub fn named_secrets(&self, of: Option<ClientId>) -> Vec<NamedSecretInfo> {
        let clients = self.clients.iter();
        let wanted = clients.filter(|(id, _)| of.is_none_or(|of| **id == of));
        let mut infos: Vec<_> = wanted
            .flat_map(|(_, client)| self.secrets_of(client))
            .collect();
        if of.is_none() {
            let hosts = self.named.by_host.keys();
            let mut orphans: Vec<_> = hosts.filter(|it| self.by_host_key(it).is_none()).collect();
            orphans.sort_unstable();
            let rows = orphans
                .into_iter()
                .flat_map(|host| self.named.of_host(host));
            infos.extend(rows.filter_map(|row| {
                let found = FoundSecret {
                    sealed: row.sealed.as_ref()?,
                    approval: row.approval,
                    source: SecretPlace::Runtime,
                };
                Some(info(None, found))
            }));
        }
        infos
    }

    fn secrets_of(&self, client: &Client) -> Vec<NamedSecretInfo> {
        let host = client.settings.host_key_id;
        let runtime = host.iter().flat_map(|host| self.named.of_host(host));
        let mut names: Vec<_> = runtime.map(|row| &row.name).collect();
        names.extend(client.named.sealed.keys());
        names.sort_unstable();
        names.dedup();
        let found = names
            .into_iter()
            .filter_map(|name| self.named.find(client, name));
        found.map(|it| info(Some(&client.name), it)).collect()
    }
}

fn info(client: Option<&ClientName>, found: FoundSecret<'_>) -> NamedSecretInfo {
    let header = found.sealed.header();
    NamedSecretInfo {
        client: client.cloned(),
        host: header.host,
        name: header.name.clone(),
        serial: header.serial,
        created: header.created,
        expires: header.expires,
        approval: found.approval,
        size: found.sealed.as_bytes().len(),
        source: found.source,
    }
}
