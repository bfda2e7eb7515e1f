//! The plan of an import as lines for a person.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

/// The lines so far.
#[derive(Default)]
pub(crate) struct ImportReport {
    lines: Vec<String>,
    /// Lines about data that is not taken over; printed last.
    not_taken: Vec<String>,
}

impl ImportReport {
    /// Begins with something new.
    pub(crate) fn heading(&mut self, text: impl Display) {
        self.lines.push(format!("{text}"));
    }

    /// Something is made from something.
    pub(crate) fn takes(&mut self, from: &Path, to: &Path) {
        self.line(format_args!("{} -> {}", from.display(), to.display()));
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.lines.push(format!("  {text}"));
    }

    /// Adds a line that belongs to the one before.
    pub(crate) fn detail(&mut self, text: impl Display) {
        self.lines.push(format!("    {text}"));
    }

    /// Something that is there and is not taken over, or not as it is.
    pub(crate) fn not_taken(&mut self, text: impl Display) {
        self.not_taken.push(format!("  {text}"));
    }

    /// Prints all of it.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        if !self.not_taken.is_empty() {
            writeln!(out, "Not taken over as it is")?;
        }
        for line in &self.not_taken {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}
