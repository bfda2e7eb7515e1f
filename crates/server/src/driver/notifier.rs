//! Passes events on: to the log, to the subscriber, and to a person by the alarm command.

#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;
use std::sync::Arc;

use nightlatch_core::event::{ClientId, Event, RecordContent};
use nightlatch_core::record::{RecordEntry, RecordLine};
use nightlatch_core::registry::Registry;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::clock;

use super::admin_command::AdminError;
use super::log_quotas::LogQuotas;
use super::report::EventReport;
use super::subscription::{EventNotice, Subscriber, Update};
use super::view::view;
use crate::audit::AlarmCommand;

pub(super) struct EventNotifier {
    pub(super) alarms: Option<AlarmCommand>,
    log_quotas: LogQuotas,
    subscriber: Option<Subscriber>,
    /// The command lines of running checks.
    check_commands: HashMap<ClientId, Arc<str>>,
}

impl EventNotifier {
    pub(super) fn new(alarm_command: Option<String>) -> Self {
        Self {
            alarms: alarm_command.map(AlarmCommand::new),
            log_quotas: LogQuotas::default(),
            subscriber: None,
            check_commands: HashMap::new(),
        }
    }

    /// Replaces the subscriber.
    pub(super) fn subscribe(&mut self, subscriber: Subscriber, registry: &Registry) {
        self.subscriber = Some(subscriber);
        self.send_all(registry);
    }

    /// Runs the alarm command for a record that a person must see at once.
    pub(super) fn alarm(&self, content: &RecordContent, entry: &RecordEntry) {
        if let Some((alarms, kind)) = self.alarms.as_ref().zip(content.calls_for_person()) {
            alarms.enqueue(kind, entry);
        }
    }

    /// Runs the alarm command for records that were lost.
    pub(super) fn alarm_lost(&self, entry: &RecordEntry) {
        if let Some(alarms) = &self.alarms {
            alarms.enqueue(entry.kind.as_str(), entry);
        }
    }

    /// Keeps the command line of a check that is about to start.
    pub(super) fn check_starts(&mut self, client: ClientId, command: String) {
        if self.subscriber.is_some() {
            self.check_commands.insert(client, command.into());
        }
    }

    /// Sends the subscriber an event with the state of its client now, and logs it.
    pub(super) fn event(&mut self, report: &EventReport, registry: &Registry) {
        let id = report.client.as_ref().map(|(id, _)| *id);
        let finished = matches!(report.event, Event::CheckFinished(..));
        let command = id.and_then(|id| {
            if finished {
                self.check_commands.remove(&id)
            } else {
                self.check_commands.get(&id).cloned()
            }
        });
        match &mut self.subscriber {
            Some(subscriber) if subscriber.is_gone() => self.subscriber = None,
            Some(subscriber) if subscriber.needs_all() => self.send_all(registry),
            Some(subscriber) if subscriber.gets_events() => {
                let view = id.and_then(|id| view(registry, id));
                subscriber.offer(Update::Event(Box::new(EventNotice {
                    report: report.clone(),
                    view,
                    command,
                })));
            }
            _ => {}
        }
        // After the subscriber: a person who reads the log finds it confirmed on D-Bus.
        if self.log_quotas.admit(report, clock::now().mono) {
            report.log();
        }
    }

    /// Sends the subscriber the state of all clients.
    fn send_all(&mut self, registry: &Registry) {
        if let Some(subscriber) = &mut self.subscriber {
            let all = registry.iter();
            let all = all.filter_map(|(id, _)| Some((id, view(registry, id)?)));
            subscriber.offer(Update::AllClients(all.collect()));
        }
    }

    /// Sends the subscriber new lines of the audit log.
    pub(super) fn recorded(&mut self, lines: Vec<RecordLine>) {
        if let Some(subscriber) = &mut self.subscriber {
            let updates = lines.into_iter().map(Update::Recorded);
            updates.for_each(|update| subscriber.offer(update));
        }
    }

    /// Sends the subscriber the result of the command with this number.
    pub(super) fn command_done(&self, number: u64, result: Result<Option<ClientId>, AdminError>) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.send(Update::CommandDone(number, result));
        }
    }

    /// Logs how many lines the quotas left out in windows that have ended.
    pub(super) fn close_quotas(&mut self, now: Monotonic) {
        self.log_quotas.close(now);
    }

    /// The time at which [`Self::close_quotas`] is due.
    pub(super) fn quotas_end(&self) -> Option<Monotonic> {
        self.log_quotas.ends()
    }

    /// Logs how many lines the quotas left out until now.
    pub(super) fn finish_quotas(&mut self) {
        self.log_quotas.finish();
    }
}
