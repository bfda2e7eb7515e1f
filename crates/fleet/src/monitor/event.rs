//! What can happen to the screen, and what it orders. Everything from outside comes as an [`Event`] with
//! the time it came at, so that a recording of them plays the same again.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_core::calendar::DateTime;
use nightlatch_core::time::Wall;
use serde::{Deserialize, Serialize};

use crate::monitor::encoding;
use crate::monitor::key::Key;
use crate::monitor::theme::Look;

/// When something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// The time.
    #[serde(with = "encoding::wall")]
    pub(crate) wall: Wall,
    /// How far the clocks here are ahead of UTC, in seconds.
    pub(crate) ahead: i32,
}

impl Clock {
    /// A point in time as the clocks here show it.
    pub(crate) fn local(self, wall: Wall) -> DateTime {
        let micros = wall.unix_micros();
        let ahead = i64::from(self.ahead) * 1_000_000;
        Wall::from_unix_micros(micros.saturating_add(ahead)).into()
    }
}

/// How large the screen is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    /// Characters in a line.
    pub(crate) columns: u16,
    /// Lines.
    pub(crate) rows: u16,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    /// The program was started on such a terminal.
    Started(Look, Size),
    /// A key was pressed.
    Key(Key),
    /// The mouse did something.
    Mouse(Mouse),
    /// The terminal has another size.
    Resized(Size),
    /// Time passed: it comes at least every second.
    Passed,
    /// A server was found, with all its clients.
    Connected(About, #[serde(with = "encoding::views")] Vec<ClientView>),
    /// The server's warnings (`Warnings` of docs/dbus.md). They replace those of the last such event.
    Warned(Vec<String>),
    /// There is no server, or no more: why.
    Disconnected(String),
    /// A client was added, or has a new picture.
    Added(#[serde(with = "encoding::view")] Box<ClientView>),
    /// A client was removed.
    Removed(#[serde(with = "encoding::path")] ClientPath),
    /// Properties of a client changed.
    Changed(
        #[serde(with = "encoding::path")] ClientPath,
        #[serde(with = "encoding::values")] Vec<(Property, PropertyValue)>,
    ),
    /// Something happened to a client.
    Told(#[serde(with = "encoding::path")] ClientPath, Told),
    /// Somebody asked whom the server does not know: with which key, and from where.
    Unknown {
        /// The key id, in hexadecimal.
        key_id: String,
        /// The address.
        address: String,
    },
    /// A record was written: one line of `docs/dbus.md`.
    Recorded(String),
    /// What the server answered about a client.
    Answered {
        /// The client.
        #[serde(with = "encoding::path")]
        path: ClientPath,
        /// Why it stands as it does, in words for a person.
        reason: String,
        /// Its last records, the oldest first.
        records: Vec<String>,
    },
    /// Several requests wait, and a decision is for one: their numbers, and where each is from.
    Several(Deed, Vec<(u64, String)>),
    /// An order was not carried out: why.
    Failed(Deed, String),
}

/// What the mouse does, at a column and a row counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Mouse {
    /// What it does.
    pub(crate) what: Button,
    /// Where, from the left.
    pub(crate) column: u16,
    /// Where, from the top.
    pub(crate) row: u16,
}

/// What the mouse can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Button {
    /// The left button is pressed.
    Press,
    /// The wheel turns up.
    Up,
    /// The wheel turns down.
    Down,
}

/// Which server it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum About {
    /// One that speaks the Mandos interface and nothing more.
    Mandos,
    /// One of ours, of this version: it has reasons and a record.
    Nightlatch(String),
}

/// What a server says about a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// It got its secret.
    GotSecret,
    /// It asks, and waits for a decision.
    NeedApproval {
        /// How long it waits, in milliseconds.
        milliseconds: u64,
        /// What happens when nobody decides.
        default: bool,
    },
    /// It got nothing: why.
    Rejected(String),
    /// A check began.
    CheckerStarted(String),
    /// A check ended.
    CheckerCompleted {
        /// Its exit status; `None` when it was killed.
        exit: Option<u8>,
        /// The signal that killed it, if the server tells.
        signal: Option<u8>,
        /// The command.
        command: String,
    },
}

/// What a person can have done to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Let it have its secret.
    Approve,
    /// Let it not.
    Deny,
    /// Enable it.
    Enable,
    /// Disable it.
    Disable,
    /// Take it off the server.
    Remove,
    /// Start a check.
    StartChecker,
    /// Stop the check.
    StopChecker,
    /// Say that it is up.
    CheckedOk,
}

impl Act {
    /// What is done, for a sentence with the client's name behind it.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Remove => "remove",
            Self::StartChecker => "start a check of",
            Self::StopChecker => "stop the check of",
            Self::CheckedOk => "restart the time of",
        }
    }
}

/// An act, and on whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Deed {
    /// What is done.
    pub(crate) act: Act,
    /// To the client with this object.
    #[serde(with = "encoding::path")]
    pub(crate) path: ClientPath,
    /// Its name.
    pub(crate) name: String,
    /// The request that is decided on, when the person has named one.
    #[serde(default)]
    pub(crate) request: Option<u64>,
}

/// What the screen wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// Something to a client.
    Do(Deed),
    /// Ask the server for the reason and the last records of the client with this object and name.
    Ask(ClientPath, String),
    /// Draw everything anew.
    Redraw,
    /// Take part in the mouse, or no more.
    Mouse(bool),
    /// Stop the program until the shell continues it.
    Suspend,
    /// End the program.
    Quit,
}
