//! Changes to the text of a configuration file that leave every other line as it was.

use std::collections::{BTreeMap, BTreeSet};

use nightlatch_core::ini::IniEntry;
use zeroize::Zeroizing;

/// Prefix of a line that is not taken over.
const OFF: &str = "# not taken over from Mandos: ";

/// Lines to be taken out of force, and text to be put between lines. Lines count from 1.
#[derive(Default)]
pub(crate) struct Edits {
    off: BTreeSet<usize>,
    after: BTreeMap<usize, Zeroizing<String>>,
}

impl Edits {
    /// Makes a comment of every line of `entry`.
    pub(crate) fn turn_off(&mut self, entry: &IniEntry) {
        let lines = entry.value().matches('\n').count();
        self.off
            .extend((0..=lines).map(|index| entry.line_of(index)));
    }

    /// Puts `text`, whole lines, after `line`.
    pub(crate) fn insert_after(&mut self, line: usize, text: Zeroizing<String>) {
        self.after.insert(line, text);
    }

    /// The edited text, with LF at the end of each line. What was read as a line stays one: LF, CRLF
    /// and CR end it, as in the dialect itself.
    pub(crate) fn apply(&self, text: &str) -> Zeroizing<String> {
        let inserted: usize = self.after.values().map(|text| text.len()).sum();
        // All the room at once: a buffer that grows leaves copies of secrets behind.
        let room = text.len() + inserted + self.off.len() * OFF.len() + 1;
        let mut out = Zeroizing::new(String::with_capacity(room));
        let text = Zeroizing::new(text.replace("\r\n", "\n"));
        let text = text.strip_suffix(['\n', '\r']).unwrap_or(&text);
        for (number, line) in (1..).zip(text.split(['\n', '\r'])) {
            if self.off.contains(&number) {
                out.push_str(OFF);
            }
            out.push_str(line);
            out.push('\n');
            if let Some(text) = self.after.get(&number) {
                out.push_str(text);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightlatch_core::ini::Ini;

    #[test]
    fn only_what_is_named_changes() {
        let text = "# a\r\n[x]\nsecfile = /a\n  b\n\n[y]\rz = 1";
        let ini = Ini::parse(text).unwrap();
        let section = ini.section("x").unwrap();
        let mut edits = Edits::default();
        edits.turn_off(section.entry("secfile").unwrap());
        edits.insert_after(section.line(), Zeroizing::new("secret = QQ==\n".to_owned()));
        assert_eq!(
            *edits.apply(text),
            "# a\n[x]\nsecret = QQ==\n# not taken over from Mandos: secfile = /a\n\
             # not taken over from Mandos:   b\n\n[y]\nz = 1\n"
        );
    }
}
