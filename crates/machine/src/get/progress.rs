//! Tells the service manager, and a person or a program on standard error, what happens while a secret is asked for. No value
//! is told.

use std::collections::VecDeque;
use std::time::Duration;

use nightlatch_console::failure::note;
use nightlatch_console::output::{complain, human};
use nightlatch_core::secret_name::SecretName;
use nightlatch_proto::local::{LocalAnswer, LocalWaiting};
use sd_notify::NotifyState;
use serde_json::{Value, json};

/// The greatest number of requests that are known to be told. A machine has few servers.
const MAX_TOLD: usize = 16;

/// Tells each step, and a person each only once.
pub(super) struct Progress<'o> {
    name: &'o SecretName,
    json: bool,
    /// The last requests of which a person was told: one at each server that lets it wait.
    told: VecDeque<u64>,
    /// A person was told that no server answers.
    is_told_of_none: bool,
}

impl<'o> Progress<'o> {
    pub(super) fn new(name: &'o SecretName, json: bool) -> Self {
        Self {
            name,
            json,
            told: VecDeque::new(),
            is_told_of_none: false,
        }
    }

    /// A line of the agent.
    pub(super) fn answer(&mut self, answer: &LocalAnswer) {
        let name = self.name;
        match answer {
            LocalAnswer::Trying => {
                status(&format!("asking the servers for {name}"));
                self.line(&json!({"event": "trying", "name": name.as_str()}));
            }
            LocalAnswer::Waiting(waiting) => self.waiting(waiting),
            _ => {}
        }
    }

    fn waiting(&mut self, waiting: &LocalWaiting) {
        let text = waiting_text(waiting);
        status(&text);
        let left = waiting.left.map(|left| left.as_secs());
        let reason = waiting.reason.as_ref().map(|reason| reason.as_str());
        self.line(&json!({
            "event": "waiting", "name": self.name.as_str(), "reason": reason, "left": left,
            "request": waiting.reference,
        }));
        if !self.json && !self.told.contains(&waiting.reference) {
            self.told.truncate(MAX_TOLD - 1);
            self.told.push_front(waiting.reference);
            note(format_args!("{}: {text}", self.name));
        }
    }

    /// No server answers, and it is asked again for so long.
    pub(super) fn again(&mut self, why: &str, left: Option<Duration>) {
        let left = match left {
            Some(left) => format!("trying for {} more", human::length(left)),
            None => "trying again".to_owned(),
        };
        status(&format!("{why}; {left}"));
        self.line(&json!({"event": "retry", "name": self.name.as_str(), "why": why}));
        if !self.json && !std::mem::replace(&mut self.is_told_of_none, true) {
            note(format_args!("{}: {why}; {left}", self.name));
        }
    }

    fn line(&self, value: &Value) {
        if self.json {
            complain(&format!("{value}\n"));
        }
    }
}

/// A line in `systemctl status`.
pub(super) fn status(text: &str) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Status(text)]);
}

fn waiting_text(waiting: &LocalWaiting) -> String {
    let left = waiting
        .left
        .map(|left| format!(", {} left", human::length(left)))
        .unwrap_or_default();
    let request = waiting.reference;
    match &waiting.reason {
        Some(reason) if !waiting.is_for_person() => {
            format!("waiting ({reason}), request {request}{left}")
        }
        // The machine does not know by which name its server has it.
        _ => format!(
            "waiting for an approval, request {request}{left}: nightlatch approve CLIENT --request {request}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_proto::release::ReasonWord;

    use super::*;

    #[test]
    fn a_wait_names_the_command_that_ends_it() {
        let waiting = |reason: Option<&str>, left: Option<u64>| LocalWaiting {
            reason: reason.and_then(ReasonWord::new),
            left: left.map(Duration::from_secs),
            reference: 4711,
        };
        assert_eq!(
            waiting_text(&waiting(Some("approval"), Some(58))),
            "waiting for an approval, request 4711, 58 s left: nightlatch approve CLIENT --request 4711"
        );
        assert_eq!(
            waiting_text(&waiting(Some("checking"), None)),
            "waiting (checking), request 4711"
        );
    }
}
