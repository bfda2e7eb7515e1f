//! The record: what happened, one entry each, chained so that a change to any shows.
//!
//! An entry's text is JSON; nothing here looks into it. Its hash is SHA-256 over the hash of the entry
//! before it, its number and its text, so who knows the last hash can tell whether anything before was
//! changed, left out, added or moved.

mod chain;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use chain::{Broken, Chain, Line, Link, NotALine};

use crate::name::ClientName;
use crate::time::Wall;

/// One entry on its way into the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When it happened.
    pub time: Wall,
    /// What happened.
    pub kind: Kind,
    /// To whom; `None` for what concerns the server, or a key that is no client's.
    pub client: Option<ClientName>,
    /// Whether an administrator should look at it.
    pub alarm: bool,
    /// All of it, as a JSON object without line breaks.
    pub text: Arc<str>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal $(, $attribute:ident)*;)*) => {
        /// What an entry is about.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its word in an entry's text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            const fn attributes(self) -> Attributes {
                match self {
                    $(Self::$kind => Attributes {
                        $($attribute: true,)*
                        ..Attributes::NONE
                    },)*
                }
            }
        }
    };
}

/// What follows from a kind of entry.
struct Attributes {
    /// It happens as often as a peer wants it to. All else is done by a person, by the configuration or by the server
    /// itself.
    peers: bool,
    /// A person must see it at once, though it is no alarm.
    person: bool,
    /// An alarm by itself, whatever else the entry says.
    alarm: bool,
}

impl Attributes {
    const NONE: Self = Self {
        peers: false,
        person: false,
        alarm: false,
    };
}

kinds! {
    /// A secret was released.
    Released = "released", peers;
    /// A request got nothing.
    Refused = "refused", peers;
    /// A secret that was released did not reach the machine.
    Undelivered = "undelivered", peers;
    /// A release was taken back before it was reported delivered.
    Revoked = "revoked", peers;
    /// A machine that is up tried whether it would get its secret, and did.
    Rehearsed = "rehearsed", peers;
    /// A person allowed a machine to rehearse for a while without an alarm.
    RehearsalsAllowed = "rehearsals-allowed";
    /// A request waits for a person.
    Waits = "waits", peers, person;
    /// A request that waited went away.
    Abandoned = "abandoned", peers;
    /// A person approved.
    Approved = "approved";
    /// A person denied.
    Denied = "denied";
    /// A person took a denial back before its end.
    DenialLifted = "denial-lifted";
    /// A client was enabled.
    Enabled = "enabled";
    /// A client was disabled.
    Disabled = "disabled";
    /// A client was disabled because it was not seen in time. It happens once for each time that it was enabled.
    Expired = "expired";
    /// A person declared that the machine is up.
    CheckedOk = "checked-ok";
    /// A check failed or was killed.
    CheckFailed = "check-failed", peers;
    /// A client came into being.
    Added = "added";
    /// A client is no more.
    Removed = "removed";
    /// Settings of a client changed.
    Changed = "changed";
    /// The configuration was read anew.
    Reloaded = "reloaded";
    /// A state was taken over from elsewhere.
    Imported = "imported";
    /// The server started.
    Started = "started";
    /// The server stopped.
    Stopped = "stopped";
    /// Records that could not be written: the disk took nothing for too long.
    Lost = "lost", alarm;
    /// Entries that a quota left out, announced or counted.
    LeftOut = "left-out";
    /// Something that somebody should look at.
    Alarm = "alarm", peers;
}

impl Kind {
    /// True for what happens as often as a peer wants it to, and so has a quota.
    pub const fn is_caused_by_peers(self) -> bool {
        self.attributes().peers
    }

    /// True when a person must see it at once, though it is no alarm.
    pub const fn calls_for_person(self) -> bool {
        self.attributes().person
    }

    /// True for an alarm by itself, whatever else the entry says.
    pub const fn is_alarm(self) -> bool {
        self.attributes().alarm
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let known = Self::ALL.iter().find(|kind| kind.as_str() == text);
        known.copied().ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A word that is no [`Kind`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown kind of record {0:?}; known are {known}", known = known_kinds())]
pub struct UnknownKind(String);

fn known_kinds() -> String {
    let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    words.join(", ")
}

/// Which entries are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Only those with a higher number.
    pub after: u64,
    /// Only those of this client.
    pub client: Option<String>,
    /// Only those from the first one on that is not older.
    pub since: Option<Wall>,
    /// Only these kinds; all when empty.
    pub kinds: Vec<Kind>,
    /// Only alarms.
    pub alarms: bool,
    /// At most so many.
    pub limit: u32,
    /// The newest that match instead of the oldest.
    pub newest: bool,
}

impl Query {
    /// No answer is longer than this.
    pub const MOST: u32 = 1000;
}

impl Default for Query {
    fn default() -> Self {
        Self {
            after: 0,
            client: None,
            since: None,
            kinds: Vec::new(),
            alarms: false,
            limit: Self::MOST,
            newest: false,
        }
    }
}

/// Some entries, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The entries.
    pub lines: Vec<Line>,
    /// What [`Query::after`] must be to go on; `None` when there is no more.
    pub next: Option<u64>,
}

/// Where the record begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ends {
    /// The last entry that was dropped for its age; the start of the chain before any was.
    pub anchor: Chain,
    /// The last entry.
    pub head: Chain,
}
