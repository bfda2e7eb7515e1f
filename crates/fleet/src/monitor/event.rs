//! The inputs and outputs of the screen's state. All input is a [`MonitorEvent`] with its time, so that a recording of them
//! reproduces the screen.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_core::calendar::DateTime;
use nightlatch_core::time::Wall;
use serde::{Deserialize, Serialize};

use crate::monitor::encoding;
use crate::monitor::key::Key;
use crate::monitor::theme::TerminalFeatures;

/// The time of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EventTime {
    #[serde(with = "encoding::wall")]
    pub(crate) wall: Wall,
    /// Offset of the local time from UTC, in seconds.
    pub(crate) ahead: i32,
}

impl EventTime {
    pub(crate) fn local(self, wall: Wall) -> DateTime {
        let micros = wall.unix_micros();
        let ahead = i64::from(self.ahead) * 1_000_000;
        Wall::from_unix_micros(micros.saturating_add(ahead)).into()
    }
}

/// The size of the screen in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MonitorEvent {
    /// The program was started on such a terminal.
    Started(TerminalFeatures, Size),
    /// A key was pressed.
    Key(Key),
    /// The mouse was moved, clicked or scrolled.
    Mouse(Mouse),
    /// The terminal has another size.
    Resized(Size),
    /// Time passed: it comes at least every second.
    Passed,
    /// A server was found, with all its clients.
    Connected(
        ServerKind,
        #[serde(with = "encoding::views")] Vec<ClientView>,
    ),
    /// The server's warnings (`Warnings` of docs/dbus.md). They replace those of the last such event.
    Warned(Vec<String>),
    /// There is no server, or the connection to it ended; with the reason.
    Disconnected(String),
    /// A client was added, or has a new picture.
    Added(#[serde(with = "encoding::view")] Box<ClientView>),
    Removed(#[serde(with = "encoding::path")] ClientPath),
    /// Properties of a client changed.
    Changed(
        #[serde(with = "encoding::path")] ClientPath,
        #[serde(with = "encoding::values")] Vec<(Property, PropertyValue)>,
    ),
    /// A signal about a client; `Told` in recordings.
    #[serde(rename = "Told")]
    Signalled(#[serde(with = "encoding::path")] ClientPath, ClientSignal),
    /// A request with an unknown key.
    Unknown {
        /// The key id, in hexadecimal.
        key_id: String,
        address: String,
    },
    /// A record was written: one line of `docs/dbus.md`.
    Recorded(String),
    /// The server's answer about a client.
    Answered {
        #[serde(with = "encoding::path")]
        path: ClientPath,
        /// The reason for its state, as a sentence.
        reason: String,
        /// Its last records, the oldest first.
        records: Vec<String>,
    },
    /// The person has to say which request is meant: several wait, or one for a named secret. The number and the address
    /// of each.
    Several(ActionRequest, Vec<(u64, String)>),
    /// An action was not carried out; with the reason.
    Failed(ActionRequest, String),
}

/// An action of the mouse, at a column and a row counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Mouse {
    pub(crate) what: Button,
    pub(crate) column: u16,
    pub(crate) row: u16,
}

/// The actions of the mouse.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Button {
    /// The left button is pressed.
    Press,
    /// The wheel turns up.
    Up,
    /// The wheel turns down.
    Down,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum ServerKind {
    /// One that speaks the Mandos interface and nothing more.
    Mandos,
    /// One of ours, of this version: it has reasons and a record.
    Nightlatch(String),
}

/// A signal of the server about a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum ClientSignal {
    GotSecret,
    /// Its request waits for a decision.
    NeedApproval {
        milliseconds: u64,
        /// True when it is approved unless somebody decides.
        default: bool,
    },
    /// Its request was refused; with the reason.
    Rejected(String),
    /// A check began.
    CheckerStarted(String),
    /// A check ended.
    CheckerCompleted {
        /// Its exit status; `None` when it was killed.
        exit: Option<u8>,
        /// The signal that killed it, if the server tells.
        signal: Option<u8>,
        command: String,
    },
}

/// An action on a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum ActionKind {
    /// Approve its request.
    Approve,
    /// Deny its request.
    Deny,
    Enable,
    Disable,
    /// Remove the client.
    Remove,
    /// Start a check.
    StartChecker,
    /// Stop the check.
    StopChecker,
    /// Take it that the machine is up.
    CheckedOk,
}

impl ActionKind {
    /// A verb for a sentence with the client's name after it.
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

/// An action on a client, for the server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ActionRequest {
    pub(crate) act: ActionKind,
    /// The object of the client.
    #[serde(with = "encoding::path")]
    pub(crate) path: ClientPath,
    pub(crate) name: String,
    /// The request that is decided on, when the person has named one.
    #[serde(default)]
    pub(crate) request: Option<u64>,
}

/// An effect outside the state that a change of the state asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ScreenEffect {
    /// Carry out an action on a client.
    Do(ActionRequest),
    /// Ask the server for the reason and the last records of the client with this object and name.
    Ask(ClientPath, String),
    /// Redraw everything.
    Redraw,
    /// Turn the reports of the mouse on or off.
    Mouse(bool),
    /// Stop the program until the shell continues it.
    Suspend,
    /// End the program.
    Quit,
}
