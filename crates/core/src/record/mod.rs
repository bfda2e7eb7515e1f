//! The audit log: its entries are chained, so that a change to any shows.
//!
//! An entry's text is JSON; nothing here looks into it. Its hash is SHA-256 over the hash of the entry
//! before it, its number and its text, so who knows the last hash can tell whether anything before was
//! changed, left out, added or moved.

mod chain;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use chain::{ChainError, ChainHash, ChainPosition, RecordLine, RecordLineError};

use crate::name::ClientName;
use crate::time::Wall;

/// An entry before it has a place in the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordEntry {
    /// The time of the event.
    pub time: Wall,
    /// The kind of the event.
    pub kind: RecordKind,
    /// The client; `None` for an event of the server, or of a key that is no client's.
    pub client: Option<ClientName>,
    /// True when an administrator should look at it.
    pub alarm: bool,
    /// The entry as a JSON object without line breaks.
    pub text: Arc<str>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal, $cause:ident $(, $attribute:ident)*;)*) => {
        /// The kind of an entry.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum RecordKind {
            $($(#[$doc])* $kind,)*
        }

        impl RecordKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its word in an entry's text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            const fn attributes(self) -> KindAttributes {
                match self {
                    $(Self::$kind => KindAttributes {
                        cause: Cause::$cause,
                        $($attribute: true,)*
                        ..KindAttributes::NONE
                    },)*
                }
            }
        }
    };
}

/// The cause of a kind. Each kind must name it: it decides on its quota.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Peers cause it, as often as they want.
    Peers,
    /// A person, the configuration, or the server itself.
    Host,
}

/// Properties of a kind.
struct KindAttributes {
    cause: Cause,
    /// It goes to `alarm_command`, though it is no alarm.
    person: bool,
    /// An alarm by itself, whatever else the entry has.
    alarm: bool,
}

impl KindAttributes {
    const NONE: Self = Self {
        cause: Cause::Host,
        person: false,
        alarm: false,
    };
}

kinds! {
    /// A secret was released.
    Released = "released", Peers;
    /// A request got nothing.
    Refused = "refused", Peers;
    /// A secret that was released did not reach the machine.
    Undelivered = "undelivered", Peers;
    /// A grant was revoked before its delivery was reported.
    Revoked = "revoked", Peers;
    /// A rehearsal got the secret.
    Rehearsed = "rehearsed", Peers;
    /// A person allowed a machine to rehearse for a while without an alarm.
    RehearsalsAllowed = "rehearsals-allowed", Host;
    /// A request waits for a person.
    Waits = "waits", Peers, person;
    /// A request ended while it waited.
    Abandoned = "abandoned", Peers;
    /// A person approved.
    Approved = "approved", Host;
    /// A person denied.
    Denied = "denied", Host;
    /// A person lifted a denial before its end.
    DenialLifted = "denial-lifted", Host;
    /// A client was enabled.
    Enabled = "enabled", Host;
    /// A client was disabled.
    Disabled = "disabled", Host;
    /// A client was disabled because its deadline passed. It happens once for each time that it was enabled.
    Expired = "expired", Host;
    /// A person declared that the machine is up.
    CheckedOk = "checked-ok", Host;
    /// A check failed or was killed.
    CheckFailed = "check-failed", Peers;
    /// A client was added, or is new in the configuration.
    Added = "added", Host;
    /// A client was removed, or left the configuration.
    Removed = "removed", Host;
    /// Settings of a client changed.
    Changed = "changed", Host;
    /// The configuration was read again.
    Reloaded = "reloaded", Host;
    /// A state was imported.
    Imported = "imported", Host;
    /// The server started.
    Started = "started", Host;
    /// The server stopped.
    Stopped = "stopped", Host;
    /// Number of records that could not be written.
    Lost = "lost", Host, alarm;
    /// Entries that a quota left out, announced or counted.
    LeftOut = "left-out", Host;
    /// A request with the boot key is held while the agent is asked.
    Held = "held", Peers;
    /// An agent was heard for the first time.
    Armed = "armed", Host;
    /// A machine said goodbye.
    Goodbye = "goodbye", Peers;
    /// An agent was not heard when it should have been.
    Silent = "silent", Peers;
    /// A person trusts a machine again.
    Trusted = "trusted", Host;
    /// A named secret was put, or its policy changed.
    SecretPut = "secret-put", Host;
    /// A named secret was removed.
    SecretRemoved = "secret-removed", Host;
    /// An agent refused a sealed secret.
    SecretRejected = "secret-rejected", Peers;
    /// An alarm that belongs to no request.
    Alarm = "alarm", Peers;
}

impl RecordKind {
    /// True when peers cause it, as often as they want: it has a quota.
    pub const fn is_caused_by_peers(self) -> bool {
        matches!(self.attributes().cause, Cause::Peers)
    }

    /// True when it goes to `alarm_command`, though it is no alarm.
    pub const fn calls_for_person(self) -> bool {
        self.attributes().person
    }

    /// True for an alarm by itself, whatever else the entry has.
    pub const fn is_alarm(self) -> bool {
        self.attributes().alarm
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordKind {
    type Err = UnknownRecordKind;

    fn from_str(text: &str) -> Result<Self, UnknownRecordKind> {
        let known = Self::ALL.iter().find(|kind| kind.as_str() == text);
        known
            .copied()
            .ok_or_else(|| UnknownRecordKind(text.to_owned()))
    }
}

/// A word that is no [`RecordKind`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown kind of record {0:?}; known are {known}", known = known_kinds())]
pub struct UnknownRecordKind(String);

fn known_kinds() -> String {
    let words: Vec<&str> = RecordKind::ALL.iter().map(|kind| kind.as_str()).collect();
    words.join(", ")
}

/// A selection of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordSelection {
    /// Only those with a higher number.
    pub after: u64,
    /// Only those of this client.
    pub client: Option<String>,
    /// Only those from the first one on that is not older.
    pub since: Option<Wall>,
    /// Only these kinds; all when empty.
    pub kinds: Vec<RecordKind>,
    /// True for alarms only.
    pub alarms: bool,
    /// At most so many.
    pub limit: u32,
    /// The newest that match instead of the oldest.
    pub newest: bool,
}

impl RecordSelection {
    /// No answer is longer than this.
    pub const MAX_LIMIT: u32 = 1000;
}

impl Default for RecordSelection {
    fn default() -> Self {
        Self {
            after: 0,
            client: None,
            since: None,
            kinds: Vec::new(),
            alarms: false,
            limit: Self::MAX_LIMIT,
            newest: false,
        }
    }
}

/// Some entries, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordExcerpt {
    /// The records that match, with their hashes.
    pub lines: Vec<RecordLine>,
    /// [`RecordSelection::after`] of the next page; `None` when there is none.
    pub next: Option<u64>,
}

/// Begin and end of the audit log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChainEnds {
    /// The last entry that was dropped for its age; the start of the chain before any was.
    pub anchor: ChainPosition,
    /// The last entry.
    pub head: ChainPosition,
}
