//! `nightlatch add`: gives the server more machines, from sections as `enroll` and `keygen --password`
//! print them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use nightlatch_bus::error::BusError;
use nightlatch_bus::proxy::MandosProxy;
use nightlatch_console::failure::{EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, Failure, note};
use nightlatch_console::output;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{bus, select};

/// The options of `add`.
#[derive(Args, Debug)]
pub struct AddOptions {
    /// Files with sections as in clients.conf; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Let the server check the sections, and add nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Tell the outcome in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Limit on a file, in bytes. A section has a few kB.
const MAX_TEXT: u64 = 64 << 20;

/// A section: where it begins, its name, its text.
struct SectionText<'t> {
    file: &'t Path,
    line: usize,
    name: &'t str,
    text: &'t str,
}

/// One machine's line in JSON.
#[derive(Serialize)]
struct AddedLine<'t> {
    client: &'t str,
    path: String,
}

/// Carries the verb out. The server checks every section before the first is added.
pub(crate) async fn run(options: &AddOptions, server: &MandosProxy) -> Result<u8, Failure> {
    let mut texts = Vec::with_capacity(options.files.len());
    for file in &options.files {
        texts.push((file, read(file)?));
    }
    let mut sections = Vec::new();
    for (file, text) in &texts {
        sections.extend(split(file, text)?);
    }
    let mut paths = Vec::with_capacity(sections.len());
    for section in &sections {
        paths.push(give(server, section, true).await?);
    }
    let done = if options.dry_run {
        "dry run: add"
    } else {
        for (section, path) in sections.iter().zip(&mut paths) {
            *path = give(server, section, false).await?;
        }
        "added"
    };
    if options.json {
        let pairs = sections.iter().zip(paths);
        let lines = pairs.map(|(section, path)| AddedLine {
            client: section.name,
            path,
        });
        output::print(&output::json::text(&lines.collect::<Vec<_>>())?)?;
        return Ok(0);
    }
    let names = sections.iter().map(|section| section.name);
    note(format_args!("{done} {}", select::names(names)));
    Ok(0)
}

/// Sends one section to the server; returns the path of the client's object.
async fn give(
    server: &MandosProxy,
    section: &SectionText<'_>,
    dry_run: bool,
) -> Result<String, Failure> {
    let place = format!(
        "{}:{}: [{}]",
        section.file.display(),
        section.line,
        section.name
    );
    match server.add_client(section.text, dry_run).await {
        Ok(path) => Ok(path.to_string()),
        Err(BusError::NotSupported) => Err(Failure::new(
            EX_UNAVAILABLE,
            "this server cannot be given clients while it runs: it is a Mandos server",
        )
        .hint(
            "append the section to /etc/mandos/clients.conf and restart it: \
             systemctl restart mandos",
        )),
        Err(BusError::BadSection(faults)) => {
            let faults = in_file(&faults, section);
            Err(Failure::new(EX_DATAERR, faults))
        }
        Err(error) => Err(bus::failure(error).about(&place)),
    }
}

/// The faults that a server found in a section, a line each, with their place in the file: the server counts
/// `section:LINE` from the section's heading.
fn in_file(faults: &str, section: &SectionText<'_>) -> String {
    let place = |fault: &str| {
        let (line, what) = fault.strip_prefix("section:")?.split_once(": ")?;
        let line = line.parse::<usize>().ok()?.checked_add(section.line - 1)?;
        Some(format!("{}:{line}: {what}", section.file.display()))
    };
    let unplaced = |fault: &str| {
        let SectionText {
            file, line, name, ..
        } = section;
        format!("{}:{line}: [{name}]: {fault}", file.display())
    };
    let faults = faults.lines();
    let faults: Vec<String> = faults
        .map(|fault| place(fault).unwrap_or_else(|| unplaced(fault)))
        .collect();
    faults.join("\n")
}

/// Reads a whole file. It holds encrypted secrets, and is wiped on drop.
fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let shown = file.display();
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MAX_TEXT).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MAX_TEXT).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(EX_NOINPUT, format!("cannot read {shown}")).because(error))?;
    Ok(text)
}

/// Splits a text into sections, each from its heading to the next. Only the server checks the values.
fn split<'t>(file: &'t Path, text: &'t str) -> Result<Vec<SectionText<'t>>, Failure> {
    let wrong = |line: usize, what: &str| {
        let place = format!("{}:{line}: {what}", file.display());
        Failure::new(EX_DATAERR, place).hint(
            "a section is what `nightlatch enroll` prints: a line [NAME], then lines KEY = VALUE",
        )
    };
    let mut sections: Vec<SectionText<'t>> = Vec::new();
    let (mut line, mut start, mut at) = (0, 0, 0);
    for whole in text.split_inclusive('\n') {
        line += 1;
        if let Some(name) = heading(whole) {
            if let Some(last) = sections.last_mut() {
                last.text = &text[start..at];
            }
            start = at;
            let text = &text[start..];
            sections.push(SectionText {
                file,
                line,
                name,
                text,
            });
        } else if sections.is_empty() && !is_blank(whole) {
            return Err(wrong(line, "expected a section's heading as [NAME]"));
        }
        at += whole.len();
    }
    if sections.is_empty() {
        return Err(wrong(line, "expected a section, found none"));
    }
    Ok(sections)
}

/// The name between brackets at the start of a line.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix('[')?
        .rsplit_once(']')
        .map(|(name, _)| name)
}

/// True for an empty line or a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with(['#', ';'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<(String, usize, String)>, String> {
        let sections = split(Path::new("f"), text).map_err(|failure| failure.to_string())?;
        let parts = sections.iter().map(|section| {
            (
                section.name.to_owned(),
                section.line,
                section.text.to_owned(),
            )
        });
        Ok(parts.collect())
    }

    #[test]
    fn sections_are_taken_apart() {
        let text = "# two\n\n[a]\nhost = x\n  [more]\n[b.c]\nhost = y";
        assert_eq!(
            names(text).unwrap(),
            [
                ("a".to_owned(), 3, "[a]\nhost = x\n  [more]\n".to_owned()),
                ("b.c".to_owned(), 6, "[b.c]\nhost = y".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_no_section_is_refused() {
        assert_eq!(
            names("\nhost = x\n[a]\n"),
            Err("f:2: expected a section's heading as [NAME]".to_owned())
        );
        assert_eq!(
            names("# nothing\n"),
            Err("f:1: expected a section, found none".to_owned())
        );
    }

    #[test]
    fn the_faults_of_a_section_stand_where_they_are_in_the_file() {
        let text = "\n# two\n[a]\nsecret = AAAA\n[b]\nkey_id = 7\n";
        let sections = split(Path::new("f"), text).unwrap();
        let faults = "section:2: [b] key_id: expected more\nexpected one section";
        assert_eq!(
            in_file(faults, &sections[1]),
            "f:6: [b] key_id: expected more\nf:5: [b]: expected one section"
        );
    }
}
