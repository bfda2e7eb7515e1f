//! One record of the audit log (`docs/dbus.md`), and its line for a person.

use nightlatch_console::output::Style;
use nightlatch_console::output::table::visible;
use serde::Deserialize;

/// Columns for the kind: as many as the longest common one has.
const KIND: usize = 12;

#[derive(Deserialize, Debug)]
pub(crate) struct Record {
    /// RFC 3339, UTC.
    pub(crate) time: String,
    pub(crate) kind: String,
    /// Name of the client that it is about.
    pub(crate) client: Option<String>,
    key_id: Option<String>,
    pub(crate) peer: Option<String>,
    interface: Option<String>,
    decision: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) who: Option<String>,
    /// The named secret that it is about.
    pub(crate) secret: Option<String>,
    /// The kind of alarm.
    pub(crate) alarm: Option<String>,
    pub(crate) detail: Option<String>,
}

impl Record {
    /// Parses the JSON of an entry.
    pub(crate) fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// One line for a person.
    pub(crate) fn show(&self, coloured: bool) -> String {
        let style = match (self.kind.as_str(), &self.alarm) {
            (_, Some(_)) | ("alarm", _) => Style::Bad,
            ("refused" | "denied" | "expired" | "undelivered" | "check-failed", _) => {
                Style::Warning
            }
            ("released" | "approved" | "enabled", _) => Style::Good,
            _ => Style::Plain,
        };
        // Seconds are enough for people.
        let time = match self.time.split_once('.') {
            Some((seconds, _)) => format!("{seconds}Z"),
            None => self.time.clone(),
        };
        let time = Style::Dim.paint(&visible(&time), coloured);
        let kind = style.paint(&format!("{:<KIND$}", visible(&self.kind)), coloured);
        let mut line = format!("{time}  {kind}");
        let from = [("from ", &self.peer), ("on ", &self.interface)];
        // What the server does by its rules is what it is there for.
        let who = self.who.clone().filter(|who| who != "server");
        let why = [("", &self.reason), ("by ", &who), ("", &self.detail)];
        let mut add = |label: &str, part: &str| {
            line.push_str("  ");
            line.push_str(label);
            line.push_str(&visible(part));
        };
        if let Some(whom) = self.client.as_ref().or(self.key_id.as_ref()) {
            add("", whom);
        }
        if let Some(secret) = &self.secret {
            add("secret ", secret);
        }
        // What was answered is mostly the kind.
        if let Some(decision) = self.decision.as_ref().filter(|word| **word != self.kind) {
            add("", decision);
        }
        for (label, part) in from.into_iter().chain(why) {
            if let Some(part) = part {
                add(label, part);
            }
        }
        if let Some(alarm) = &self.alarm {
            let alarm = Style::Bad.paint(&format!("ALARM: {}", visible(alarm)), coloured);
            line.push_str("  ");
            line.push_str(&alarm);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_one_line() {
        let record: Record = serde_json::from_str(
            r#"{"time":"2026-11-21T23:19:55.400000Z","kind":"refused","client":"foo\u001b[2J",
               "peer":"fe80::1","reason":"disabled","alarm":"second-request","decision":"refused"}"#,
        )
        .unwrap();
        assert_eq!(
            record.show(false),
            "2026-11-21T23:19:55Z  refused       foo\\u{1b}[2J  from fe80::1  disabled  \
             ALARM: second-request"
        );
    }
}
