//! The effects of events from the server and the bus.

use nightlatch_bus::client::ClientView;
use nightlatch_bus::names::ClientPath;
use nightlatch_bus::property::{Property, PropertyValue};
use nightlatch_console::output::human::length;

use crate::monitor::event::{ClientSignal, MonitorEvent, ServerKind};
use crate::monitor::state::details::read;
use crate::monitor::state::log::Severity;
use crate::monitor::state::{ServerConnection, State};

/// Limit on the removals within a second that are logged one by one.
const LOGGED_ONE_BY_ONE: usize = 5;

impl State {
    /// Handles an event from the bus.
    pub(super) fn handle_server_event(&mut self, event: MonitorEvent) {
        match event {
            MonitorEvent::Connected(about, clients) => self.connected(about, clients),
            MonitorEvent::Warned(warnings) => self.warned(warnings),
            MonitorEvent::Disconnected(why) => self.disconnected(why),
            MonitorEvent::Added(client) => self.added(*client),
            MonitorEvent::Removed(path) => {
                if let Some(client) = self.fleet.remove(&path) {
                    self.removed.push(client.name);
                }
            }
            MonitorEvent::Changed(path, values) => self.changed(&path, &values),
            MonitorEvent::Signalled(path, signal) => self.handle_signal(&path, signal),
            MonitorEvent::Unknown { key_id, address } => {
                let text = format!("A client with an unknown key asked from {address}: {key_id}");
                self.note(Severity::Warning, text);
            }
            MonitorEvent::Recorded(line) => self.recorded(&line),
            MonitorEvent::Answered {
                path,
                reason,
                records,
            } => self.answered(&path, reason, &records),
            MonitorEvent::Several(action, requests) => self.ask_which(action, requests),
            MonitorEvent::Failed(action, why) => {
                let text = format!("Cannot {} {}: {why}", action.act.verb(), action.name);
                self.note(Severity::Warning, text.clone());
                self.show_notice(Severity::Warning, text);
            }
            // What a person or the terminal does has been handled before.
            MonitorEvent::Started(..)
            | MonitorEvent::Key(_)
            | MonitorEvent::Mouse(_)
            | MonitorEvent::Resized(_)
            | MonitorEvent::Passed => {}
        }
    }

    fn connected(&mut self, about: ServerKind, clients: Vec<ClientView>) {
        let which = match &about {
            ServerKind::Mandos => "a Mandos server".to_owned(),
            ServerKind::Nightlatch(version) => format!("nightlatchd {version}"),
        };
        let text = match clients.len() {
            0 => format!("Connected to {which}, which has no clients"),
            1 => format!("Connected to {which}, which has 1 client"),
            count => format!("Connected to {which}, which has {count} clients"),
        };
        self.note(Severity::Info, text);
        self.link = ServerConnection::Up(about);
        self.warnings.clear();
        self.removed.clear();
        let before = self.marked_path();
        self.fleet.replace(clients, self.clock.wall);
        if let Some(details) = &mut self.details {
            details.forget();
        }
        // Numbers are new, clients may be the same.
        if let Some(id) = before.and_then(|path| self.fleet.find(&path)) {
            self.marked.client = Some(id);
        }
    }

    fn warned(&mut self, warnings: Vec<String>) {
        for warning in &warnings {
            if !self.warnings.contains(warning) {
                self.note(Severity::Alarm, warning.clone());
            }
        }
        self.warnings = warnings;
    }

    fn disconnected(&mut self, why: String) {
        // It is said once, however often the bus is tried.
        if !matches!(&self.link, ServerConnection::Down(known, _) if *known == why) {
            self.note(Severity::Warning, format!("Not connected: {why}"));
        }
        // Those were not removed by anyone: it went away.
        self.removed.clear();
        let since = match self.link {
            ServerConnection::Down(_, since) => since,
            ServerConnection::Looking | ServerConnection::Up(_) => self.clock.wall,
        };
        self.link = ServerConnection::Down(why, since);
    }

    fn added(&mut self, client: ClientView) {
        let name = client.name.clone();
        let known = self.fleet.find(&client.path).is_some();
        self.fleet.insert(client, self.clock.wall);
        if !known {
            self.note(Severity::Info, format!("{name} was added"));
        }
    }

    /// Logs the clients that were removed in the last second.
    pub(super) fn log_removed(&mut self) {
        let removed = std::mem::take(&mut self.removed);
        if removed.len() > LOGGED_ONE_BY_ONE {
            let text = format!("{} clients were removed", removed.len());
            self.note(Severity::Warning, text);
            return;
        }
        for name in removed {
            self.note(Severity::Warning, format!("{name} was removed"));
        }
    }

    fn changed(&mut self, path: &ClientPath, values: &[(Property, PropertyValue)]) {
        let Some(id) = self.fleet.find(path) else {
            return;
        };
        let change = |client: &mut ClientView| {
            let before = client.enabled;
            for (property, value) in values {
                // The bus crate has checked the types; a time that is none leaves the one before.
                let _ = client.apply(*property, value);
            }
            (client.enabled != before).then(|| (client.name.clone(), client.enabled))
        };
        let turned = self.fleet.change(id, self.clock.wall, change).flatten();
        if let Some((name, enabled)) = turned {
            let (level, word) = match enabled {
                true => (Severity::Info, "enabled"),
                false => (Severity::Warning, "disabled"),
            };
            self.note(level, format!("{name} is {word}"));
        }
        if turned_reason(values)
            && let Some(details) = &mut self.details
            && details.is_about(path)
        {
            details.ask_again();
        }
    }

    fn handle_signal(&mut self, path: &ClientPath, signal: ClientSignal) {
        let id = self.fleet.find(path);
        let Some(client) = id.and_then(|id| self.fleet.get(id)) else {
            return;
        };
        let name = &client.name;
        let (level, text) = match signal {
            ClientSignal::GotSecret => (Severity::Info, format!("{name} received its secret")),
            ClientSignal::NeedApproval {
                milliseconds,
                default,
            } => {
                let time = length(std::time::Duration::from_millis(milliseconds));
                let text = if default {
                    format!("{name} will get its secret in {time} unless it is denied")
                } else {
                    format!("{name} needs approval within {time}")
                };
                (Severity::Warning, text)
            }
            ClientSignal::Rejected(reason) => {
                (Severity::Warning, format!("{name} was rejected: {reason}"))
            }
            ClientSignal::CheckerStarted(command) => {
                if !self.log.verbose {
                    return;
                }
                (
                    Severity::Info,
                    format!("A check of {name} began: {command}"),
                )
            }
            ClientSignal::CheckerCompleted { exit: Some(0), .. } => {
                if !self.log.verbose {
                    return;
                }
                (Severity::Info, format!("A check of {name} succeeded"))
            }
            ClientSignal::CheckerCompleted {
                exit: Some(exit),
                command,
                ..
            } => (
                Severity::Warning,
                format!("A check of {name} failed with exit status {exit}: {command}"),
            ),
            ClientSignal::CheckerCompleted {
                exit: None,
                signal,
                command,
            } => {
                let by = signal.map_or(String::new(), |signal| format!(" by signal {signal}"));
                (
                    Severity::Warning,
                    format!("A check of {name} was killed{by}: {command}"),
                )
            }
        };
        self.note(level, text);
    }

    /// Alarms have no signal of their own; everything else that is recorded was told of already.
    fn recorded(&mut self, line: &str) {
        let Some(record) = read(line) else {
            return;
        };
        if let Some(alarm) = &record.alarm {
            let about = record.client.as_deref().unwrap_or("the server");
            let detail = record.detail.as_deref().unwrap_or_default();
            let text = format!("ALARM {alarm}: {about}: {detail}");
            self.note(Severity::Alarm, text);
        }
        self.add_record(record);
    }

    fn marked_path(&self) -> Option<ClientPath> {
        let client = self.fleet.get(self.marked.client?)?;
        Some(client.path.clone())
    }
}

/// True when the reason for the client's state may have changed.
fn turned_reason(values: &[(Property, PropertyValue)]) -> bool {
    let weighs = |property| {
        matches!(
            property,
            Property::Enabled
                | Property::ApprovalPending
                | Property::WaitingSecrets
                | Property::LastCheckerStatus
                | Property::GuardState
                | Property::Suspect
                | Property::Unaccounted
        )
    };
    values.iter().any(|(property, _)| weighs(*property))
}
