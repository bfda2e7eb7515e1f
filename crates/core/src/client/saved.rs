//! The form of clients in the store: enough to continue after a crash as if nothing had happened.

use std::sync::Arc;

use crate::boot_nonce::BootNonce;
use crate::checker::LastCheck;
pub use crate::deadline::SavedDeadline;
use crate::guard::saved::SavedGuard;
use crate::key_id::KeyId;
use crate::name::ClientName;
use crate::record::RecordEntry;
use crate::sealed_secret::SealedSecret;
use crate::secret::{Secret, SecretDigest};
use crate::secret_name::SecretName;
use crate::settings::client::ClientSettings;
use crate::time::{BootId, Wall};

/// Everything the store holds.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// Every client known when it was written, in no particular order.
    pub clients: Vec<SavedClient>,
    /// Clients whose sections left the configuration.
    pub tombstones: Vec<Tombstone>,
    /// Named secrets that were put at run time, and what is remembered of those that were removed.
    pub secrets: Vec<SavedSecret>,
    /// Number of named secrets that could not be read, and are missing.
    pub lost_secrets: usize,
    /// The end of the run that wrote it.
    pub end: End,
    /// True when it can be believed.
    pub trust: Trust,
}

/// The end of the run that wrote the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum End {
    /// Everything that it decided is in the state.
    Clean,
    /// It was cut short in this boot of the host: killed, or with the host.
    Cut(BootId),
    /// Nothing is known of it.
    #[default]
    Unknown,
}

impl End {
    /// True when a client whose deadline passed since may get another timeout in the boot `boot`: only where
    /// the end explains why nobody checked it. A server that is killed is started again at once; one that
    /// went down with its host could do nothing until now. After a run whose commits failed the state has
    /// [`Trust::None`] instead, whichever way it ended.
    pub fn allows_renewal(self, boot: BootId) -> bool {
        match self {
            Self::Clean => true,
            Self::Cut(then) => then != boot,
            Self::Unknown => false,
        }
    }
}

/// True when the state can be believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Trust {
    /// It is whole.
    #[default]
    Full,
    /// Some of it was lost. The clients in it know of that; of others nothing is known.
    Partial,
    /// It was lost, or is older than it has been: nothing in it says that a client may have its secret.
    None,
}

/// The owner of a client's state, whatever the name of its section.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StateOwner {
    /// The key that it proves.
    Key(KeyId),
    /// Its name, where the section has no key id and so serves nobody.
    Name(ClientName),
}

/// A client whose section left the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// Since when it is gone.
    pub since: Wall,
    /// Its row at that time.
    pub client: SavedClient,
}

impl Tombstone {
    /// The owner of the state.
    pub fn owner(&self) -> StateOwner {
        match self.client.key() {
            Some(key) => StateOwner::Key(*key),
            None => StateOwner::Name(self.client.name.clone()),
        }
    }
}

/// One client's row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedClient {
    /// Its name, the row's key.
    pub name: ClientName,
    /// The settings in `clients.conf` when it was last read: distinguishes a changed file from a changed client.
    pub configured: ClientSettings,
    /// The digest of the secret that `clients.conf` had then. The secret itself is not kept.
    pub configured_secret: SecretDigest,
    /// The configured secret of a client that was added at run time: it stands in no file, and nor
    /// does its section.
    pub added: Option<Arc<Secret>>,
    /// Its state, while it exists.
    pub presence: ClientPresence,
}

impl SavedClient {
    /// The key id in its section.
    pub fn key(&self) -> Option<&KeyId> {
        self.configured.key_id.as_ref()
    }
}

/// A named secret that was put at run time. It belongs to the host key, whatever client has that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedSecret {
    /// The host key; the row's key with the name.
    pub host: KeyId,
    /// Its name.
    pub name: SecretName,
    /// Its serial, or the last one of a secret that was removed.
    pub serial: u64,
    /// `None` once it was removed: the serial is kept, so that no older value can be put.
    pub sealed: Option<Arc<SealedSecret>>,
    /// Each request for it waits for a person.
    pub approval: bool,
    /// Time at which it was put or removed.
    pub put: Wall,
}

/// The state of a client, while it exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientPresence {
    /// The client exists.
    Present(Box<PresentClient>),
    /// An administrator removed it while its section is still in `clients.conf`. It stays removed,
    /// and nothing of its secret is kept.
    Removed,
}

/// A client that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresentClient {
    /// The settings in force, changes at run time included.
    pub settings: ClientSettings,
    /// A secret set at run time, in place of the configured one.
    pub secret: Option<Arc<Secret>>,
    /// The part that changes with every proof of life.
    pub state: SavedState,
}

/// The state of a client: the part that changes with every proof of life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedState {
    /// True when releases to it are possible.
    pub enabled: bool,
    /// Time at which the server first knew it.
    pub created: Wall,
    /// Time at which it was last enabled.
    pub last_enabled: Option<Wall>,
    /// Time of the last proof of life.
    pub last_checked_ok: Option<Wall>,
    /// Time of the last request that needed approval.
    pub last_approval_request: Option<Wall>,
    /// The result of the last completed check.
    pub last_check: LastCheck,
    /// `None` unless enabled.
    pub deadline: Option<SavedDeadline>,
    /// The end of a denial, if there is one.
    pub denied: Option<SavedDeadline>,
    /// Its secret was released, or granted with no report yet, since it was last proved to be up.
    pub released: bool,
    /// The boot of the machine that its secret was last released to, where it said which.
    pub released_boot: Option<BootNonce>,
    /// True when it got another timeout at a start, and was not proved to be up since.
    pub renewed: bool,
    /// True when it is disabled because the state was lost, until a person enables it or a check proves that
    /// the machine has its private key.
    pub needs_proof: bool,
    /// Its guard; `None` for a client that no agent was ever heard for.
    pub guard: Option<SavedGuard>,
}

/// One change to the store. A batch of changes is written in one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Writes the whole row, new or not.
    Put(Box<SavedClient>),
    /// Writes the state of a client that exists; nothing when it has no row or is removed.
    State(ClientName, Box<SavedState>),
    /// Deletes the row: no client of this name is configured any more.
    Forget(ClientName),
    /// Remembers a client whose section left the configuration, in place of what was remembered of it.
    PutTombstone(Box<Tombstone>),
    /// Deletes what is remembered of a client that left the configuration.
    DeleteTombstone(StateOwner),
    /// Writes a named secret, new or not. `client` is the one that has its host key.
    PutSecret {
        /// `None` where no client has the host key any more.
        client: Option<ClientName>,
        /// The whole row.
        secret: Box<SavedSecret>,
    },
    /// Deletes what is remembered of a named secret that was removed.
    DeleteSecret(KeyId, SecretName),
    /// Deletes everything about named secrets, and with it the rows that cannot be read.
    ForgetSecrets,
    /// Says from now on whether the state can be believed.
    Trust(Trust),
    /// Adds an entry to the audit log.
    Record(Box<RecordEntry>),
    /// Drops the oldest entries of the audit log: those before the first one that is not older than
    /// this.
    DropRecords(Wall),
}

impl Change {
    /// The client it is about, where it is a change of one.
    pub fn client(&self) -> Option<&ClientName> {
        match self {
            Self::Put(client) => Some(&client.name),
            Self::State(name, _) | Self::Forget(name) => Some(name),
            Self::PutTombstone(tombstone) => Some(&tombstone.client.name),
            Self::PutSecret { client, .. } => client.as_ref(),
            Self::DeleteTombstone(_)
            | Self::DeleteSecret(..)
            | Self::ForgetSecrets
            | Self::Trust(_)
            | Self::Record(_)
            | Self::DropRecords(_) => None,
        }
    }
}
