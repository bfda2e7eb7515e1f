//! The plan for people and programs, and what a hook is left to do.

use std::io::Write as _;

use super::plan::{Content, Entry, Plan};
use crate::failure::{EX_IOERR, EX_SOFTWARE, Failure};

/// Prints the plan.
pub(super) fn print(plan: &Plan, json: bool) -> Result<(), Failure> {
    let mut text = String::new();
    if json {
        text = serde_json::to_string_pretty(plan)
            .map_err(|error| Failure::new(EX_SOFTWARE, "cannot write JSON").because(error))?;
        text.push('\n');
    } else {
        for entry in &plan.entries {
            text.push_str(&line(entry));
        }
        for module in &plan.modules {
            text.push_str(&format!("{:<10}{:>6}  {module}\n", "module", ""));
        }
    }
    write(&text)
}

fn line(entry: &Entry) -> String {
    let Entry {
        path, mode, owner, ..
    } = entry;
    let (mut kind, from) = match &entry.content {
        Content::Folder => (format!("d {mode:04o}"), String::new()),
        Content::Link(target) => ("l".to_owned(), format!(" -> {}", target.display())),
        Content::File(source) => (format!("f {mode:04o}"), format!(" <- {}", source.display())),
        Content::Program(source) => (format!("x {mode:04o}"), format!(" <- {}", source.display())),
        Content::Text(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            (format!("f {mode:04o}"), format!(" = {}", words.join(" ")))
        }
    };
    kind.truncate(10);
    format!("{kind:<10}{owner:>6}  /{}{from}\n", path.display())
}

/// What the image's builder has to add by its own means: a line each, with tabs. `program SOURCE PLACE`,
/// whose libraries are needed too; `module NAME`.
pub(super) fn print_rest(plan: &Plan) -> Result<(), Failure> {
    let mut text = String::new();
    for entry in &plan.entries {
        if let Content::Program(source) = &entry.content {
            let (source, place) = (source.display(), entry.path.display());
            text.push_str(&format!("program\t{source}\t/{place}\n"));
        }
    }
    for module in &plan.modules {
        text.push_str(&format!("module\t{module}\n"));
    }
    write(&text)
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(EX_IOERR, "cannot write to standard output").because(error))
}
