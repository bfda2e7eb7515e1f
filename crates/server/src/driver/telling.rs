//! What happened, to everyone who is told: the record, the log, the alarm command, the listener.

#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use nightlatch_core::client::saved::Change;
use nightlatch_core::event::quota::{Admission, Class};
use nightlatch_core::event::{ClientId, Durability, Event, RequestId};
use nightlatch_core::record::{Entry, Kind};
use nightlatch_core::time::Wall;
use nightlatch_sys::clock;
use tokio::time::Instant;

use super::actor::{Driver, Effect};
use super::listener::{Notice, Told};
use super::order::OrderError;
use super::report::Report;
use super::view::view;
use crate::audit::{self, Context, Who};

/// How often old records are dropped from then on.
const DROP_RECORDS: Duration = Duration::from_secs(24 * 60 * 60);

impl Driver {
    pub(super) fn report(&mut self, event: Event) {
        let now = clock::now();
        let left_out = self.record_quotas.close(now.mono);
        self.record_left_out(left_out);
        let (client, request) = whose(&event);
        let name = client.and_then(|client| self.name(client));
        let asked = request.and_then(|request| self.requests.get(&request));
        let asker = asked.map(|asked| asked.asker.clone());
        let context = Context {
            time: now.wall,
            client: name.as_ref(),
            settings: client
                .and_then(|id| self.registry.client(id))
                .map(|client| client.settings()),
            asker: asker.as_ref(),
            who: &self.who,
        };
        let admission = self.record_quotas.admit(&event, name.as_ref(), now.mono);
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
            // A person is told, whether it is recorded or not.
            if let Some((alarms, kind)) =
                self.alarms.as_ref().zip(audit::calls_for_a_person(&event))
            {
                alarms.tell(kind, &entry);
            }
            match admission {
                Admission::Recorded => self.record_entry(entry, 1),
                Admission::Announced(class, until) => {
                    let until = now.wall.after(until.since(now.mono));
                    let context = of_class(&class, now.wall);
                    self.record_entry(audit::left_out_until(until, &class, context), 1);
                    self.keep(&event, entry);
                }
                Admission::LeftOut => self.keep(&event, entry),
            }
            if let Some(name) = &name {
                self.outbox.hold(name.clone(), event.durability());
            }
        }
        if let (Event::Delivered { request, .. }, Some(name)) = (&event, &name)
            && let Some(asked) = self.requests.get_mut(request)
            && let Some(entry) = asked.left_out.take()
            && self.record_quotas.admit_delivered(name, now.mono)
        {
            self.record_entry(*entry, 1);
        }
        let client = client.zip(name.clone());
        let report = Report {
            event,
            client,
            asker,
        };
        self.outbox.effect(name.as_ref(), Effect::Report(report));
    }

    /// Keeps the entry of a grant that was left out until it is known what became of it.
    fn keep(&mut self, event: &Event, entry: Entry) {
        if let Event::Granted { request, .. } = event
            && let Some(asked) = self.requests.get_mut(request)
        {
            asked.left_out = Some(Box::new(entry));
        }
    }

    /// Records an entry that stands for `number` of them.
    fn record_entry(&mut self, entry: Entry, number: u64) {
        if !self.outbox.record(entry) {
            self.left_out = self.left_out.saturating_add(number);
        }
    }

    /// Records the numbers of the entries that quotas left out.
    pub(super) fn record_left_out(&mut self, left_out: Vec<(Class, u64)>) {
        let time = clock::now().wall;
        for (class, count) in left_out {
            let entry = audit::left_out(count, &class, of_class(&class, time));
            self.record_entry(entry, count);
        }
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
        self.outbox
            .persist(Change::Record(Box::new(entry)), Durability::Soon);
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
        self.outbox
            .persist(Change::DropRecords(before), Durability::Soon);
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

/// It concerns all entries of the class: no request, and nobody who gave an order.
fn of_class(class: &Class, time: Wall) -> Context<'_> {
    Context {
        time,
        client: class.client.as_ref(),
        settings: None,
        asker: None,
        who: &Who::Server,
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
