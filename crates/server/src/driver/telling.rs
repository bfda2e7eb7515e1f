//! What happened, to everyone who is told: the record, the log, the alarm command, the listener.

#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use nightlatch_core::client::saved::Change;
use nightlatch_core::record::Kind;
use nightlatch_core::registry::{ClientId, Event, RequestId};
use nightlatch_sys::clock;
use tokio::time::Instant;

use super::actor::{Deed, Driver};
use super::listener::{Notice, Told};
use super::order::OrderError;
use super::report::Report;
use super::view::view;
use crate::audit::{self, Context};

/// How long after the start old records are dropped first. A host without a clock of its own has been told
/// the time by then: one that is years ahead must not cost the record.
pub(super) const CLOCK_IS_SET: Duration = Duration::from_secs(60 * 60);

/// How often old records are dropped from then on.
const DROP_RECORDS: Duration = Duration::from_secs(24 * 60 * 60);

/// While the disk takes nothing, no more than so many records are kept for it, and as many alarms.
const MOST_UNWRITTEN: usize = 50_000;

impl Driver {
    pub(super) fn report(&mut self, event: Event) {
        let (client, request) = whose(&event);
        let name = client.and_then(|client| self.name(client));
        let asked = request.and_then(|request| self.requests.get(&request));
        let asker = asked.map(|asked| asked.asker.clone());
        let context = Context {
            time: clock::now().wall,
            client: name.as_ref(),
            settings: client
                .and_then(|id| self.registry.client(id))
                .map(|client| client.settings()),
            asker: asker.as_ref(),
            who: &self.who,
        };
        let entry = audit::entry(&event, context);
        if let Event::Granted {
            request,
            alarm: Some(_),
            ..
        } = event
            && let Some(asked) = self.requests.get_mut(&request)
        {
            asked.alarmed = true;
        }
        if let Some(entry) = entry {
            let is_alarm = entry.alarm;
            if let Some((alarms, kind)) =
                self.alarms.as_ref().zip(audit::calls_for_a_person(&event))
            {
                alarms.tell(kind, &entry);
            }
            let change = Change::Record(Box::new(entry));
            match (&event, &name) {
                _ if self.failed && self.is_too_much(is_alarm) => self.left_out += 1,
                // No secret leaves before it is in the record.
                (Event::Granted { .. }, Some(name)) => self.outbox.record(change, name.clone()),
                _ => self.outbox.change_soon(change),
            }
        }
        let client = client.zip(name.clone());
        let report = Report {
            event,
            client,
            asker,
        };
        self.outbox.deed(name.as_ref(), Deed::Report(report));
    }

    /// True when so many records are unwritten that another one is left out. Alarms have room of their own.
    fn is_too_much(&self, is_alarm: bool) -> bool {
        let room = if is_alarm { 2 } else { 1 };
        self.outbox.unwritten_records() >= room * MOST_UNWRITTEN
    }

    /// Records something of the server itself.
    pub(super) fn record(&mut self, kind: Kind, detail: String) {
        let context = Context {
            time: clock::now().wall,
            client: None,
            settings: None,
            asker: None,
            who: &self.who,
        };
        let entry = audit::of_server(kind, detail, context);
        if let (Some(alarms), Kind::Lost) = (&self.alarms, kind) {
            alarms.tell(kind.as_str(), &entry);
        }
        self.outbox.change_soon(Change::Record(Box::new(entry)));
    }

    /// Records how many records there are not.
    pub(super) fn own_up(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let detail = format!("{left_out} records were left out while the disk took nothing");
            self.record(Kind::Lost, detail);
        }
    }

    pub(super) fn drop_records(&mut self) {
        self.drop_records_at = Instant::now() + DROP_RECORDS;
        let before = clock::now().wall.before(self.keep_records);
        self.outbox.change_soon(Change::DropRecords(before));
    }

    /// Tells the listener of an event and how its client stands now, and logs it.
    pub(super) fn tell(&mut self, report: Report) {
        let id = report.client.as_ref().map(|(id, _)| *id);
        let finished = matches!(report.event, Event::CheckFinished(..));
        let command = id.and_then(|id| {
            if finished {
                self.check_commands.remove(&id)
            } else {
                self.check_commands.get(&id).cloned()
            }
        });
        match &mut self.listener {
            Some(listener) if listener.is_gone() => self.listener = None,
            Some(listener) if listener.needs_all() => self.tell_all(),
            Some(listener) if listener.hears() => {
                let client = id.and_then(|id| self.registry.client(id));
                listener.tell(Told::Event(Box::new(Notice {
                    event: report.event.clone(),
                    client: report.client.clone(),
                    view: client.map(view),
                    asker: report.asker.clone(),
                    command,
                })));
            }
            _ => {}
        }
        // Who reads the log and looks finds what it says.
        if self.log_quotas.admit(&report, clock::now().mono) {
            report.log();
        }
    }

    /// Tells the listener how all clients stand.
    pub(super) fn tell_all(&mut self) {
        if let Some(listener) = &mut self.listener {
            let all = self.registry.iter().map(|(id, client)| (id, view(client)));
            listener.tell(Told::All(all.collect()));
        }
    }

    pub(super) fn reply(&mut self, number: u64, result: Result<Option<ClientId>, OrderError>) {
        if let Some(listener) = &self.listener {
            listener.send(Told::Done(number, result));
        }
    }
}

/// Which client and which request an event is about.
fn whose(event: &Event) -> (Option<ClientId>, Option<RequestId>) {
    match *event {
        Event::Added(client)
        | Event::Removed(client, _)
        | Event::Enabled(client)
        | Event::Disabled(client, _)
        | Event::Denied(client)
        | Event::DenialLifted(client)
        | Event::RehearsalsAllowed(client, _)
        | Event::CheckStarted(client)
        | Event::CheckStopping(client)
        | Event::CheckFinished(client, _)
        | Event::CheckedOk(client)
        | Event::Changed(client, _) => (Some(client), None),
        Event::TombstoneDropped(_) => (None, None),
        Event::Alarmed(client, _) => (client, None),
        Event::NeedsApproval {
            client, request, ..
        }
        | Event::Decided {
            client, request, ..
        }
        | Event::Granted {
            client, request, ..
        }
        | Event::Revoked {
            client, request, ..
        }
        | Event::Abandoned { client, request }
        | Event::Delivered { client, request }
        | Event::DeliveryFailed { client, request } => (Some(client), Some(request)),
        Event::Refused {
            client, request, ..
        } => (client, Some(request)),
    }
}
