//! A store in memory, for tests of the server: durable as long as its process runs, with failures on demand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nightlatch_core::client::saved::{
    Change, ClientPresence, End, Saved, SavedClient, SavedSecret, StateOwner, Tombstone, Trust,
};
use nightlatch_core::key_id::KeyId;
use nightlatch_core::name::ClientName;
use nightlatch_core::record::{
    ChainEnds, ChainPosition, RecordEntry, RecordExcerpt, RecordLine, RecordSelection,
};
use nightlatch_core::secret_name::SecretName;

use crate::{Store, StoreError};

/// A store in memory. A clone is the same store, as if opened again.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    clients: HashMap<ClientName, SavedClient>,
    tombstones: HashMap<StateOwner, Tombstone>,
    secrets: HashMap<(KeyId, SecretName), SavedSecret>,
    trust: Trust,
    record: Vec<(RecordLine, RecordEntry)>,
    ends: ChainEnds,
    commits: usize,
    failing: bool,
}

impl MemoryStore {
    /// Makes every further commit fail as on a full disk, or succeed again.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// Number of successful commits with changes.
    pub fn commits(&self) -> usize {
        self.lock().commits
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        let inner = self.lock();
        Ok(Saved {
            clients: inner.clients.values().cloned().collect(),
            tombstones: inner.tombstones.values().cloned().collect(),
            secrets: inner.secrets.values().cloned().collect(),
            lost_secrets: 0,
            end: End::Clean,
            trust: inner.trust,
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<RecordLine>, StoreError> {
        let mut inner = self.lock();
        if inner.failing {
            return Err(StoreError::Full("memory".into()));
        }
        inner.commits += usize::from(!changes.is_empty());
        let head = inner.ends.head.seq;
        changes.iter().for_each(|change| inner.apply(change));
        let added = inner.record.iter().filter(|(line, _)| line.seq > head);
        Ok(added.map(|(line, _)| line.clone()).collect())
    }

    fn records(&mut self, query: &RecordSelection) -> Result<RecordExcerpt, StoreError> {
        let inner = self.lock();
        let matching = |(line, entry): &&(RecordLine, RecordEntry)| {
            line.seq > query.after
                && query.client.as_ref().is_none_or(|wanted| {
                    let client = entry.client.as_ref();
                    client.is_some_and(|client| client.as_str() == wanted)
                })
                && query.since.is_none_or(|since| entry.time >= since)
                && (query.kinds.is_empty() || query.kinds.contains(&entry.kind))
                && (entry.alarm || !query.alarms)
        };
        let lines = inner.record.iter().filter(matching);
        let mut lines: Vec<RecordLine> = lines.map(|(line, _)| line.clone()).collect();
        let limit = query.limit.clamp(1, RecordSelection::MAX_LIMIT) as usize;
        let more = lines.len() > limit && !query.newest;
        if query.newest {
            lines.drain(..lines.len().saturating_sub(limit));
        } else {
            lines.truncate(limit);
        }
        let next = lines.last().filter(|_| more).map(|line| line.seq);
        Ok(RecordExcerpt { lines, next })
    }

    fn ends(&self) -> ChainEnds {
        self.lock().ends
    }

    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Inner {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(client) => {
                self.clients.insert(client.name.clone(), (**client).clone());
            }
            Change::State(name, state) => {
                if let Some(client) = self.clients.get_mut(name)
                    && let ClientPresence::Present(present) = &mut client.presence
                {
                    present.state = (**state).clone();
                }
            }
            Change::Forget(name) => {
                self.clients.remove(name);
            }
            Change::PutTombstone(tombstone) => {
                let tombstone = (**tombstone).clone();
                self.tombstones.insert(tombstone.owner(), tombstone);
            }
            Change::DeleteTombstone(holder) => {
                self.tombstones.remove(holder);
            }
            Change::PutSecret { secret, .. } => {
                let key = (secret.host, secret.name.clone());
                self.secrets.insert(key, (**secret).clone());
            }
            Change::DeleteSecret(host, name) => {
                self.secrets.remove(&(*host, name.clone()));
            }
            Change::ForgetSecrets => self.secrets.clear(),
            Change::Trust(trust) => self.trust = *trust,
            Change::Record(entry) => {
                self.ends.head = self.ends.head.next(&entry.text);
                let ChainPosition { seq, hash } = self.ends.head;
                let text = entry.text.clone();
                let line = RecordLine { seq, hash, text };
                self.record.push((line, (**entry).clone()));
            }
            Change::DropRecords(before) => {
                let old = self.record.iter().take_while(|(_, it)| it.time < *before);
                for (line, _) in self.record.drain(..old.count()) {
                    self.ends.anchor = ChainPosition {
                        seq: line.seq,
                        hash: line.hash,
                    };
                }
            }
        }
    }
}
