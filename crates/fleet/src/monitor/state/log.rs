//! The log pane: what happened since the program started.

use std::collections::VecDeque;

use nightlatch_core::calendar::DateTime;

/// Lines that are kept, as in mandos-monitor.
const LINES: usize = 1000;

/// Severity of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Severity {
    Info,
    /// A person should look at it.
    Warning,
    /// An alarm of the server.
    Alarm,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogLine {
    /// In local time, not in UTC.
    pub(crate) at: DateTime,
    pub(crate) level: Severity,
    /// Not cleaned: it may have characters that a terminal must not get.
    pub(crate) text: String,
}

/// The log pane.
#[derive(Debug)]
pub(crate) struct Log {
    lines: VecDeque<LogLine>,
    /// True while the pane is shown.
    pub(crate) open: bool,
    /// True when successful checks are logged too.
    pub(crate) verbose: bool,
    /// True when long lines are wrapped, false when they are cut.
    pub(crate) wrap: bool,
    /// Lines below the pane; 0 follows new lines.
    pub(crate) below: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: VecDeque::new(),
            open: true,
            verbose: false,
            wrap: true,
            below: 0,
        }
    }
}

impl Log {
    /// Adds a line. A pane that was scrolled back stays where it is.
    pub(crate) fn push(&mut self, at: DateTime, level: Severity, text: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(LogLine { at, level, text });
        if self.below > 0 {
            self.scroll(1);
        }
    }

    /// Goes back by `lines`, or forth.
    pub(crate) fn scroll(&mut self, lines: isize) {
        let most = self.lines.len().saturating_sub(1);
        self.below = self.below.saturating_add_signed(lines).min(most);
    }

    /// The lines, the last one above the pane's lower edge first.
    pub(crate) fn backwards(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.iter().rev().skip(self.below)
    }

    /// All lines, the first one first.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.text.as_str()).collect()
    }
}
