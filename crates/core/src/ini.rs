//! The file format of both configuration files: the dialect of Python's `configparser`.
//!
//! Owns parsing and printing of sections, not the meaning of values. It accepts what Python's `ConfigParser()` accepts
//! and refuses what it refuses, but reports every error, not only the first. Source: the manual of Python's
//! configparser; compared with it in `tests/`.

use std::collections::{BTreeMap, HashMap, btree_map};
use std::fmt;

/// The section whose values all other sections inherit.
pub const DEFAULT: &str = "DEFAULT";

/// The sections of a file.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Ini {
    default: IniSection,
    sections: Vec<IniSection>,
    by_name: HashMap<String, usize>,
}

/// One section, with its keys in lower case and their lines.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IniSection {
    name: String,
    line: usize,
    entries: BTreeMap<String, IniEntry>,
}

/// One value with its lines.
#[derive(Clone, PartialEq, Eq)]
pub struct IniEntry {
    value: String,
    line: usize,
    continued: Vec<usize>,
}

impl Ini {
    /// Parses a file strictly; returns all errors, in the order of lines.
    pub fn parse(text: &str) -> Result<Self, Vec<IniError>> {
        match Self::recover(text) {
            (ini, errors) if errors.is_empty() => Ok(ini),
            (_, errors) => Err(errors),
        }
    }

    /// Parses a file and returns the valid part beside the errors, so that a caller can report errors in values too.
    /// With any error the file must still be refused.
    pub fn recover(text: &str) -> (Self, Vec<IniError>) {
        let mut parser = IniParser::default();
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => {
                parser.fault(1, IniErrorKind::ByteOrderMark);
                rest
            }
            None => text,
        };
        for (number, line) in lines(text).enumerate() {
            parser.line(number + 1, line);
        }
        parser.finish()
    }

    /// The section `[DEFAULT]`; empty when the file has none.
    pub fn default_section(&self) -> &IniSection {
        &self.default
    }

    /// All sections but `[DEFAULT]`, in the order of the file.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = &IniSection> {
        self.sections.iter()
    }

    /// The section with this name, not `DEFAULT`. Case matters.
    pub fn section(&self, name: &str) -> Option<&IniSection> {
        self.sections.get(*self.by_name.get(name)?)
    }
}

impl fmt::Display for Ini {
    /// Prints it so that parsing gives the same sections, keys and values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Some(&self.default).filter(|section| !section.entries.is_empty());
        for section in default.into_iter().chain(&self.sections) {
            writeln!(f, "[{}]", section.name)?;
            for (key, entry) in &section.entries {
                writeln!(f, "{key} = {}", entry.value.replace('\n', "\n\t"))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ini {
    /// Prints names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entry(&self.default)
            .entries(&self.sections)
            .finish()
    }
}

impl IniSection {
    /// The name as written between the brackets, spaces included.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line of its header; 0 for a `[DEFAULT]` that is not there.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The entry with this key, which must be in lower case.
    pub fn entry(&self, key: &str) -> Option<&IniEntry> {
        self.entries.get(key)
    }

    /// The value of this key, which must be in lower case.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.entry(key).map(IniEntry::value)
    }

    /// Every key with its entry, in the order of keys.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &IniEntry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }
}

impl fmt::Debug for IniSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.name)?;
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl IniEntry {
    /// The value as written, its lines stripped and joined by line feeds.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The line of its key.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The line in the file of the `index`-th line of the value, from 0.
    pub fn line_of(&self, index: usize) -> usize {
        index
            .checked_sub(1)
            .and_then(|index| self.continued.get(index))
            .copied()
            .unwrap_or(self.line)
    }
}

/// An error in the form of a file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct IniError {
    /// Line number, from 1.
    pub line: usize,
    /// Section that contains the line.
    pub section: Option<String>,
    /// The error itself.
    pub kind: IniErrorKind,
}

/// Kinds of errors in the form of a file. No message quotes a line: it may be part of a secret whose indentation was
/// lost.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IniErrorKind {
    /// U+FEFF at the start.
    #[error("the file begins with a byte order mark; expected plain UTF-8 without one")]
    ByteOrderMark,
    /// Something other than a comment before the first section.
    #[error("expected a section such as [DEFAULT] before anything else")]
    BeforeSection,
    /// Neither a section, nor a key with a value, nor a continuation.
    #[error(
        "expected \"key = value\", \"[section]\" or a comment; a line that goes on with the value above must begin with white space"
    )]
    NoDelimiter,
    /// Nothing in front of the delimiter.
    #[error("expected a key before the delimiter")]
    NoKey,
    /// The same section twice.
    #[error("this section is already in line {first}; a section may stand only once")]
    DuplicateSection {
        /// The line of its first header.
        first: usize,
    },
    /// The same key twice in one section.
    #[error("{key} is already set in line {first}; a key may be set only once in a section")]
    DuplicateKey {
        /// The key in lower case.
        key: String,
        /// The line of its first value.
        first: usize,
    },
}

/// White space as in Python's `str.isspace`: Unicode white space and the four information separators.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\x1c'..='\x1f')
}

/// Python's universal newlines: LF, CRLF and a lone CR end a line, and nothing else does.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((line, tail)) = text.split_once(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let crlf = text[line.len()..].starts_with("\r\n");
        rest = Some(if crlf { &tail[1..] } else { tail });
        Some(line)
    })
}

/// State of the parser.
#[derive(Default)]
struct IniParser {
    ini: Ini,
    errors: Vec<IniError>,
    /// The section being read; entries of a repeated section go to `spare`.
    section: Position,
    spare: IniSection,
    /// The key being read, whose value the next line may continue.
    key: Option<String>,
    /// The indentation of the line that began `key`, in characters.
    indent: usize,
    /// True when the last line had no delimiter: further such lines belong to the same error.
    lost_delimiter: bool,
}

#[derive(Default, Clone, Copy)]
enum Position {
    #[default]
    BeforeSections,
    Default,
    Section(usize),
    Repeated,
}

impl IniParser {
    fn line(&mut self, number: usize, line: &str) {
        let text = line.trim_matches(is_space);
        if text.starts_with(['#', ';']) {
            return;
        }
        if text.is_empty() {
            self.continue_value(number, "");
            return;
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if indent > self.indent && self.continue_value(number, text) {
            return;
        }
        self.indent = indent;
        if let Some(name) = header(text) {
            self.begin_section(number, name);
        } else if matches!(self.section, Position::BeforeSections) {
            if !std::mem::replace(&mut self.lost_delimiter, true) {
                self.fault(number, IniErrorKind::BeforeSection);
            }
        } else {
            self.begin_key(number, text);
        }
    }

    /// Appends a line to the value being read; false when there is no such value.
    fn continue_value(&mut self, number: usize, text: &str) -> bool {
        let Some(key) = self.key.take() else {
            return false;
        };
        if let Some(entry) = self.current().entries.get_mut(&key) {
            entry.value.push('\n');
            entry.value.push_str(text);
            entry.continued.push(number);
        }
        self.key = Some(key);
        true
    }

    fn begin_section(&mut self, number: usize, name: &str) {
        self.key = None;
        self.lost_delimiter = false;
        if name == DEFAULT {
            // Python lets it stand any number of times.
            self.section = Position::Default;
            if self.ini.default.line == 0 {
                self.ini.default.line = number;
            }
            return;
        }
        let section = IniSection {
            name: name.to_owned(),
            line: number,
            entries: BTreeMap::new(),
        };
        if let Some(first) = self.ini.section(name).map(IniSection::line) {
            self.section = Position::Repeated;
            self.spare = section;
            self.fault(number, IniErrorKind::DuplicateSection { first });
            return;
        }
        let index = self.ini.sections.len();
        self.ini.by_name.insert(name.to_owned(), index);
        self.ini.sections.push(section);
        self.section = Position::Section(index);
    }

    fn begin_key(&mut self, number: usize, text: &str) {
        let Some((key, value)) = text.split_once(['=', ':']) else {
            if !std::mem::replace(&mut self.lost_delimiter, true) {
                self.fault(number, IniErrorKind::NoDelimiter);
            }
            return;
        };
        self.lost_delimiter = false;
        let key = key.trim_end_matches(is_space).to_lowercase();
        if key.is_empty() {
            self.key = None;
            self.fault(number, IniErrorKind::NoKey);
            return;
        }
        let entry = IniEntry {
            value: value.trim_matches(is_space).to_owned(),
            line: number,
            continued: Vec::new(),
        };
        match self.current().entries.entry(key.clone()) {
            btree_map::Entry::Vacant(place) => {
                place.insert(entry);
                self.key = Some(key);
            }
            btree_map::Entry::Occupied(place) => {
                let first = place.get().line;
                // Continuations of the refused value must not be added to the first one.
                self.key = Some(String::new());
                self.fault(number, IniErrorKind::DuplicateKey { key, first });
            }
        }
    }

    fn current(&mut self) -> &mut IniSection {
        match self.section {
            Position::Default => &mut self.ini.default,
            Position::Section(index) => &mut self.ini.sections[index],
            Position::BeforeSections | Position::Repeated => &mut self.spare,
        }
    }

    fn fault(&mut self, line: usize, kind: IniErrorKind) {
        let section = match self.section {
            Position::BeforeSections => None,
            Position::Default => Some(DEFAULT.to_owned()),
            Position::Section(_) | Position::Repeated => Some(self.current().name.clone()),
        };
        self.errors.push(IniError {
            line,
            section,
            kind,
        });
    }

    fn finish(mut self) -> (Ini, Vec<IniError>) {
        DEFAULT.clone_into(&mut self.ini.default.name);
        let all = std::iter::once(&mut self.ini.default).chain(&mut self.ini.sections);
        for entry in all.flat_map(|section| section.entries.values_mut()) {
            let end = entry.value.trim_end_matches(is_space).len();
            entry.value.truncate(end);
        }
        (self.ini, self.errors)
    }
}

/// The name in a section header: the text between the first `[`, which begins the line, and the last `]`.
fn header(text: &str) -> Option<&str> {
    let name = &text.strip_prefix('[')?;
    name.rfind(']')
        .filter(|end| *end > 0)
        .map(|end| &name[..end])
}

#[cfg(test)]
mod tests;
