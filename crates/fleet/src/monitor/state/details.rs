//! The details pane: the reason for the state of its client, and its records, from a server that has these.

use nightlatch_bus::names::ClientPath;
use nightlatch_core::record::RecordLine;

use crate::monitor::event::{ScreenEffect, ServerKind};
use crate::monitor::state::{ServerConnection, State};
use crate::verbs::log::record::Record;

/// Number of records that are kept.
pub(crate) const RECORDS: u32 = 100;

/// The details pane.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// Lines above the pane.
    pub(crate) above: usize,
    /// The reason for the client's state; `None` while it is unknown.
    pub(crate) reason: Option<String>,
    /// Its records, the oldest first; `None` while they are unknown.
    pub(crate) records: Option<Vec<Record>>,
    about: Option<ClientPath>,
    /// True when it may be outdated.
    old: bool,
    /// True until the server has answered. Nothing else is requested until then, so that moving quickly through a long
    /// table does not flood the server.
    awaited: bool,
}

impl Details {
    pub(super) fn is_about(&self, path: &ClientPath) -> bool {
        self.about.as_ref() == Some(path)
    }

    /// Marks them as outdated.
    pub(super) fn ask_again(&mut self) {
        self.old = true;
    }

    /// Drops all that is known, and expects no answer.
    pub(super) fn forget(&mut self) {
        *self = Self {
            above: self.above,
            ..Self::default()
        };
    }
}

impl State {
    /// Keeps the details about the client that keys work on.
    pub(super) fn follow_details(&mut self) {
        let target = self.target();
        let target = target.map(|(_, client)| (client.path.clone(), client.name.clone()));
        let Some(details) = &mut self.details else {
            return;
        };
        let path = target.as_ref().map(|(path, _)| path);
        if details.about.as_ref() != path {
            details.about = path.cloned();
            details.reason = None;
            details.records = None;
            details.above = 0;
            details.old = true;
        }
        let has_reasons = matches!(self.link, ServerConnection::Up(ServerKind::Nightlatch(_)));
        if let Some((path, name)) = target
            && has_reasons
            && details.old
            && !details.awaited
        {
            details.old = false;
            details.awaited = true;
            self.effects.push(ScreenEffect::Ask(path, name));
        }
        let above = self.details.as_ref().map_or(0, |details| details.above);
        if above > 0 {
            let lines = self.description(self.areas().details.width).len();
            let last = lines.saturating_sub(self.areas().details_rows());
            if let Some(details) = &mut self.details {
                details.above = above.min(last);
            }
        }
    }

    /// The server answered about a client.
    pub(super) fn answered(&mut self, path: &ClientPath, reason: String, records: &[String]) {
        if let Some(details) = &mut self.details {
            details.awaited = false;
            if details.is_about(path) {
                details.reason = Some(reason);
                let records = records.iter().filter_map(|line| read(line));
                details.records = Some(records.collect());
            }
        }
    }

    /// A record was written: it is the newest.
    pub(super) fn add_record(&mut self, record: Record) {
        let about = self
            .details
            .as_ref()
            .and_then(|details| details.about.as_ref());
        let id = about.and_then(|path| self.fleet.find(path));
        let name = id
            .and_then(|id| self.fleet.get(id))
            .map(|client| &client.name);
        if name.is_none() || name != record.client.as_ref() {
            return;
        }
        if let Some(Details {
            records: Some(records),
            ..
        }) = &mut self.details
        {
            if records.len() >= RECORDS as usize {
                records.remove(0);
            }
            records.push(record);
        }
    }
}

/// Reads a line of the audit log; `None` for one that is not understood here.
pub(super) fn read(line: &str) -> Option<Record> {
    let line: RecordLine = line.parse().ok()?;
    Record::read(&line.text).ok()
}
