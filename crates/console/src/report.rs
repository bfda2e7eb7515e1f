//! The report of a check: findings are printed one by one, or all of them as JSON at the end.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::failure::{EX_SOFTWARE, Failure};
use crate::output::table::visible;
use crate::output::{self, Style};

/// Severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A reboot may fail.
    Warning,
    /// A reboot will fail.
    Failed,
}

/// One line of a report.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Finding {
    /// Severity, which colours the line.
    pub level: Level,
    /// Subject: `image`, `server`, or the name of a client.
    pub about: String,
    /// The finding without a full stop.
    pub said: String,
    /// The command or change that mends it.
    pub hint: Option<String>,
}

/// The findings of one check.
#[derive(Debug)]
pub struct Report {
    json: bool,
    findings: Vec<Finding>,
    /// The reader closed the output: returned once, at the end.
    unread: Option<Failure>,
    /// Columns for the subjects.
    width: usize,
    /// The password was fetched, as a boot would.
    tried: bool,
    /// A line about the current step is on the terminal.
    busy: bool,
    /// More fields of the JSON document, by name.
    attached: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Serialize)]
struct ReportDocument<'r> {
    comes_back: bool,
    findings: &'r [Finding],
    #[serde(flatten)]
    attached: &'r BTreeMap<&'static str, serde_json::Value>,
}

impl Report {
    /// Nothing found yet; shown line by line unless it is for a program.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            findings: Vec::new(),
            unread: None,
            busy: false,
            tried: false,
            width: ABOUT,
            attached: BTreeMap::new(),
        }
    }

    /// Adds a field to the JSON document, for programs that must not take a finding's text apart.
    pub fn attach(&mut self, field: &'static str, value: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(value).map_err(|error| {
            Failure::new(EX_SOFTWARE, format!("cannot write {field} as JSON")).because(error)
        })?;
        self.attached.insert(field, value);
        Ok(())
    }

    /// The JSON document.
    pub fn json(&self) -> Result<String, Failure> {
        output::json::text(&ReportDocument {
            comes_back: !self.is_bad(),
            findings: &self.findings,
            attached: &self.attached,
        })
    }

    /// Makes room for lines about these.
    pub fn make_room<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let widest = names.map(UnicodeWidthStr::width).max().unwrap_or_default();
        self.width = widest.clamp(ABOUT, MAX_ABOUT);
    }

    /// The password was fetched, as a boot would.
    pub fn has_fetched(&mut self) {
        self.tried = true;
    }

    /// Shows the current step on a terminal until the next finding.
    pub fn busy(&mut self, what: &str) {
        if self.json || !io::stderr().is_terminal() {
            return;
        }
        self.clear();
        output::complain(&format!("... {}", visible(what)));
        self.busy = true;
    }

    fn clear(&mut self) {
        if self.busy {
            // Back to the start of the line, and erase it (ECMA-48, CR and EL).
            output::complain("\r\x1b[K");
            self.busy = false;
        }
    }

    /// Adds what is as it should be.
    pub fn good(&mut self, about: &str, said: impl Into<String>) {
        self.add(Level::Ok, about, said.into(), None);
    }

    /// Adds what may keep the machine from coming back.
    pub fn doubtful(&mut self, about: &str, said: impl Into<String>, hint: Option<String>) {
        self.add(Level::Warning, about, said.into(), hint);
    }

    /// Adds what will keep the machine from coming back.
    pub fn bad(&mut self, about: &str, said: impl Into<String>, hint: Option<String>) {
        self.add(Level::Failed, about, said.into(), hint);
    }

    /// True when a finding is [`Level::Failed`].
    pub fn is_bad(&self) -> bool {
        self.findings
            .iter()
            .any(|found| found.level == Level::Failed)
    }

    /// Number of findings of [`Level::Failed`].
    pub fn failures(&self) -> usize {
        let bad = self.findings.iter();
        bad.filter(|found| found.level == Level::Failed).count()
    }

    /// The first finding of [`Level::Failed`] in one line.
    pub fn reason(&self) -> Option<String> {
        let mut bad = self
            .findings
            .iter()
            .filter(|found| found.level == Level::Failed);
        bad.next()
            .map(|found| format!("{}: {}", found.about, found.said))
    }

    /// Adds a finding, and prints it unless the report is JSON.
    pub fn add(&mut self, level: Level, about: &str, said: String, hint: Option<String>) {
        self.clear();
        let finding = Finding {
            level,
            about: about.to_owned(),
            said,
            hint,
        };
        if !self.json
            && self.unread.is_none()
            && let Err(failure) = output::print(&line(&finding, self.width, output::coloured()))
        {
            self.unread = Some(failure);
        }
        self.findings.push(finding);
    }

    /// The verdict on this machine.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let good = match self.tried {
            true => "This machine would come back.",
            false => {
                "Nothing was found that would keep this machine from coming back, but not all was tried."
            }
        };
        self.conclude(good, "This machine would NOT come back by itself.")
    }

    /// The verdict on all machines of a server.
    pub fn finish_fleet(&mut self) -> Result<(), Failure> {
        let all = self.findings.len();
        let bad = self.failures();
        let good = match all {
            0 => "This server has no machines.".to_owned(),
            1 => "Its one machine rehearsed lately.".to_owned(),
            _ => format!("All {all} machines rehearsed lately."),
        };
        self.conclude(
            &good,
            &format!("Of {all} machines {bad} may NOT come back by themselves."),
        )
    }

    /// The verdict of a check with sentences of its own. For a report that is not JSON.
    ///
    /// # Errors
    /// When the output cannot be written, now or before.
    pub fn conclude(&mut self, good: &str, bad: &str) -> Result<(), Failure> {
        self.clear();
        if let Some(failure) = self.unread.take() {
            return Err(failure);
        }
        let comes_back = !self.is_bad();
        if self.json {
            return output::print(&self.json()?);
        }
        let (style, verdict) = match comes_back {
            true => (Style::Good, good),
            false => (Style::Bad, bad),
        };
        output::print(&format!("\n{}\n", style.paint(verdict, output::coloured())))
    }
}

/// Room for the longest word that says what a line is about, and the most for names of machines.
const ABOUT: usize = 8;
const MAX_ABOUT: usize = 40;

fn line(finding: &Finding, width: usize, coloured: bool) -> String {
    let (style, word) = match finding.level {
        Level::Ok => (Style::Good, "ok  "),
        Level::Warning => (Style::Warning, "warn"),
        Level::Failed => (Style::Bad, "FAIL"),
    };
    let mark = style.paint(word, coloured);
    let about = visible(&finding.about);
    let gap = " ".repeat(width.saturating_sub(about.width()));
    let mut text = format!("{mark}  {about}{gap}  {}\n", visible(&finding.said));
    if let Some(hint) = &finding.hint {
        let hint = format!("-> {}", visible(hint));
        let hint = Style::Dim.paint(&hint, coloured);
        text.push_str(&format!("{:width$}{hint}\n", "", width = width + 8));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_enough() {
        let mut report = Report::new(true);
        report.good("a", "well");
        report.doubtful("b", "perhaps", None);
        assert!(!report.is_bad() && report.reason().is_none());
        report.bad("c", "no", Some("do this".to_owned()));
        assert!(report.is_bad());
        assert_eq!(report.reason().as_deref(), Some("c: no"));
    }

    #[test]
    fn what_to_do_stands_below_what_was_found() {
        let finding = Finding {
            level: Level::Failed,
            about: "image".into(),
            said: "it is old".into(),
            hint: Some("rebuild it".into()),
        };
        let expected = "FAIL  image     it is old\n                -> rebuild it\n";
        assert_eq!(line(&finding, ABOUT, false), expected);
    }
}
