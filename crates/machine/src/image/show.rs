//! The plan for people, for programs (JSON), and for the hooks of boot systems (lines with tabs).

use nightlatch_console::failure::Failure;
use nightlatch_console::output::Style;
use nightlatch_console::output::json;
use nightlatch_console::output::table::{Cell, render};
use serde::Serialize;

use super::plan::{FileSource, ImagePlan};
use crate::accounts::Owner;

/// Shown as the source of what was made for the image.
const MADE: &str = "(made for the image)";

/// A table of all that goes in.
pub(super) fn people(plan: &ImagePlan, coloured: bool) -> String {
    let mut rows = Vec::new();
    for directory in &plan.directories {
        let path = format!("{}/", directory.path);
        rows.push(row(&path, &mode(directory.mode), directory.owner, ""));
    }
    for file in &plan.files {
        let source = match &file.source {
            FileSource::Copy(source) => source.display().to_string(),
            FileSource::Text(_) => MADE.to_owned(),
        };
        rows.push(row(&file.path, &mode(file.mode), file.owner, &source));
    }
    for link in &plan.links {
        rows.push(row(
            &link.path,
            "",
            Owner::ROOT,
            &format!("-> {}", link.target),
        ));
    }
    for program in &plan.programs {
        let source = program.source.display().to_string();
        rows.push(row(&program.path, "", Owner::ROOT, &source));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let rows: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
    let mut text = render(["IN THE IMAGE", "MODE", "OWNER", "FROM"], &rows, coloured);
    if !plan.modules.is_empty() {
        text.push_str(&format!("\nkernel modules: {}\n", plan.modules.join(" ")));
    }
    text
}

fn row(path: &str, mode: &str, owner: Owner, source: &str) -> (String, [Cell; 4]) {
    let owner = format!("{}:{}", owner.user, owner.group);
    let cells = [
        Cell::plain(path),
        Cell::plain(mode),
        Cell::new(owner, Style::Dim),
        Cell::plain(source),
    ];
    (path.to_owned(), cells)
}

fn mode(mode: u32) -> String {
    format!("{mode:04o}")
}

/// Lines for the hook of a boot system, which adds these with its own tools: `module NAME`, `program SOURCE PLACE`,
/// separated by tabs.
pub(super) fn shell(plan: &ImagePlan) -> String {
    let modules = plan.modules.iter().map(|name| format!("module\t{name}\n"));
    let programs = plan.programs.iter().map(|program| {
        let source = program.source.display();
        format!("program\t{source}\t{}\n", program.path)
    });
    modules.chain(programs).collect()
}

/// One thing in the image. Keys may be added, never changed.
#[derive(Serialize)]
struct PlanEntry {
    path: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    /// Path on the machine; none for what was made for the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(Serialize)]
struct PlanDocument<'p> {
    entries: Vec<PlanEntry>,
    modules: &'p [String],
    remarks: &'p [String],
}

/// The same as JSON.
pub(super) fn json(plan: &ImagePlan) -> Result<String, Failure> {
    let entry = |kind, path: &str| PlanEntry {
        path: path.to_owned(),
        kind,
        mode: None,
        user: None,
        group: None,
        source: None,
        target: None,
    };
    let owned = |entry: PlanEntry, bits: u32, owner: Owner| PlanEntry {
        mode: Some(mode(bits)),
        user: Some(owner.user),
        group: Some(owner.group),
        ..entry
    };
    let directories = plan
        .directories
        .iter()
        .map(|one| owned(entry("directory", &one.path), one.mode, one.owner));
    let files = plan.files.iter().map(|one| PlanEntry {
        source: match &one.source {
            FileSource::Copy(source) => Some(source.display().to_string()),
            FileSource::Text(_) => None,
        },
        ..owned(entry("file", &one.path), one.mode, one.owner)
    });
    let links = plan.links.iter().map(|one| PlanEntry {
        target: Some(one.target.clone()),
        ..entry("link", &one.path)
    });
    let programs = plan.programs.iter().map(|one| PlanEntry {
        source: Some(one.source.display().to_string()),
        ..entry("program", &one.path)
    });
    let mut entries: Vec<PlanEntry> = directories
        .chain(files)
        .chain(links)
        .chain(programs)
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    json::text(&PlanDocument {
        entries,
        modules: &plan.modules,
        remarks: &plan.remarks,
    })
}
