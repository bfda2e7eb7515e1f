//! What the store keeps of a client: enough to go on after a crash as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use crate::name::ClientName;
use crate::record::Entry;
use crate::secret::{Secret, SecretDigest};
use crate::settings::client::ClientSettings;
use crate::time::{BootId, Monotonic, Wall};

/// Everything the store holds.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// Every client known when it was written, in no particular order.
    pub clients: Vec<SavedClient>,
}

/// One client's row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedClient {
    /// Its name, the row's key.
    pub name: ClientName,
    /// What `clients.conf` said when it was last read: tells a changed file from a changed client.
    pub configured: ClientSettings,
    /// The digest of the secret that `clients.conf` had then. The secret itself is not kept.
    pub configured_secret: SecretDigest,
    /// The configured secret of a client that was added at run time: it stands in no file, and nor
    /// does its section.
    pub added: Option<Arc<Secret>>,
    /// Whether it still exists.
    pub life: Life,
}

/// Whether a client still exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Life {
    /// It does; this is how it stands.
    Present(Box<Present>),
    /// An administrator removed it while its section is still in `clients.conf`. It stays removed,
    /// and nothing of its secret is kept.
    Removed,
}

/// A client that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Present {
    /// The settings in force, changes at run time included.
    pub settings: ClientSettings,
    /// A secret set at run time, in place of the configured one.
    pub secret: Option<Arc<Secret>>,
    /// How it stands.
    pub state: SavedState,
}

/// How a client stands: the part that changes with every proof of life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedState {
    /// Whether it may have its secret at all.
    pub enabled: bool,
    /// When it was first seen.
    pub created: Wall,
    /// When it was last enabled.
    pub last_enabled: Option<Wall>,
    /// When it was last proved to be up.
    pub last_checked_ok: Option<Wall>,
    /// When a request last asked for approval.
    pub last_approval_request: Option<Wall>,
    /// How the last completed check ended.
    pub last_check: LastCheck,
    /// When it will be disabled; `None` unless enabled.
    pub deadline: Option<SavedDeadline>,
    /// Until when a person's denial counts; `None` when there is none.
    pub denied: Option<SavedDeadline>,
    /// Its secret was released, or granted with no report yet, since it was last proved to be up.
    pub released: bool,
    /// The boot of the machine that its secret was last released to, where it said which.
    pub released_boot: Option<[u8; 16]>,
}

/// How a client's last completed check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastCheck {
    /// None has completed yet.
    None,
    /// The command ended with this exit status.
    Exited(u8),
    /// The command was killed by this signal.
    Signaled(i32),
}

/// A deadline on both clocks. The monotonic one counts within the same boot of the host, the wall
/// clock's after a reboot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedDeadline {
    /// The boot in which `mono` counts.
    pub boot: BootId,
    /// The deadline on the monotonic clock of that boot.
    pub mono: Monotonic,
    /// The same moment on the wall clock.
    pub wall: Wall,
    /// How far away the deadline was when it was written: after a reboot it is never further.
    pub remaining: Duration,
}

/// One change to the store. A batch of changes is written in one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Writes the whole row, new or not.
    Put(Box<SavedClient>),
    /// Writes the state of a client that exists; nothing when it has no row or is removed.
    State(ClientName, Box<SavedState>),
    /// Deletes the row: the client is neither configured nor remembered any more.
    Forget(ClientName),
    /// Adds an entry to the record.
    Record(Box<Entry>),
    /// Drops the oldest entries of the record: those before the first one that is not older than
    /// this.
    DropRecords(Wall),
}

impl Change {
    /// The client it is about, where it is a change of one.
    pub fn client(&self) -> Option<&ClientName> {
        match self {
            Self::Put(client) => Some(&client.name),
            Self::State(name, _) | Self::Forget(name) => Some(name),
            Self::Record(_) | Self::DropRecords(_) => None,
        }
    }
}
