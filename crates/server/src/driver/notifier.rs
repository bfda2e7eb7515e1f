//! Everyone who is told: the log, the listener on the bus, and a person by the alarm command.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;
use std::sync::Arc;

use nightlatch_core::event::{ClientId, Event, RecordContent};
use nightlatch_core::record::{Entry, Line};
use nightlatch_core::registry::Registry;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;

use super::listener::{Listener, Notice, Told};
use super::log_quotas::LogQuotas;
use super::order::OrderError;
use super::report::Report;
use super::view::view;
use crate::audit::AlarmCommand;

/// Tells others of what happened.
pub(super) struct EventNotifier {
    pub(super) alarms: Option<AlarmCommand>,
    log_quotas: LogQuotas,
    listener: Option<Listener>,
    /// The command lines of checks that run.
    check_commands: HashMap<ClientId, Arc<str>>,
}

impl EventNotifier {
    pub(super) fn new(alarm_command: Option<String>) -> Self {
        Self {
            alarms: alarm_command.map(AlarmCommand::new),
            log_quotas: LogQuotas::default(),
            listener: None,
            check_commands: HashMap::new(),
        }
    }

    /// Tells `listener` everything from now on; who listened before hears no more.
    pub(super) fn listen(&mut self, listener: Listener, registry: &Registry) {
        self.listener = Some(listener);
        self.all(registry);
    }

    /// Runs the alarm command for a record that a person must see at once.
    pub(super) fn call(&self, content: &RecordContent, entry: &Entry) {
        if let Some((alarms, kind)) = self.alarms.as_ref().zip(content.calls_for_person()) {
            alarms.tell(kind, entry);
        }
    }

    /// The same of records that were lost.
    pub(super) fn call_for_lost(&self, entry: &Entry) {
        if let Some(alarms) = &self.alarms {
            alarms.tell(entry.kind.as_str(), entry);
        }
    }

    /// The check of `client` that is about to start is this command.
    pub(super) fn check_starts(&mut self, client: ClientId, command: String) {
        if self.listener.is_some() {
            self.check_commands.insert(client, command.into());
        }
    }

    /// Tells the listener of an event and how its client stands now, and logs it.
    pub(super) fn event(&mut self, report: &Report, registry: &Registry) {
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
            Some(listener) if listener.needs_all() => self.all(registry),
            Some(listener) if listener.hears() => {
                let client = id.and_then(|id| registry.client(id));
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
        if self.log_quotas.admit(report, clock::now().mono) {
            report.log();
        }
    }

    /// Tells the listener how all clients stand.
    fn all(&mut self, registry: &Registry) {
        if let Some(listener) = &mut self.listener {
            let all = registry.iter().map(|(id, client)| (id, view(client)));
            listener.tell(Told::All(all.collect()));
        }
    }

    /// Tells the listener of entries that are in the record.
    pub(super) fn recorded(&mut self, lines: Vec<Line>) {
        if let Some(listener) = &mut self.listener {
            let told = lines.into_iter().map(Told::Recorded);
            told.for_each(|line| listener.tell(line));
        }
    }

    /// Tells the listener what came of the order with this number.
    pub(super) fn reply(&self, number: u64, result: Result<Option<ClientId>, OrderError>) {
        if let Some(listener) = &self.listener {
            listener.send(Told::Done(number, result));
        }
    }

    /// Logs how many lines the quotas left out whose time is over.
    pub(super) fn close_quotas(&mut self, now: Monotonic) {
        self.log_quotas.close(now);
    }

    /// When [`Self::close_quotas`] has something to do.
    pub(super) fn quotas_end(&self) -> Option<Monotonic> {
        self.log_quotas.ends()
    }

    /// The same of all quotas.
    pub(super) fn finish_quotas(&mut self) {
        self.log_quotas.finish();
    }
}
