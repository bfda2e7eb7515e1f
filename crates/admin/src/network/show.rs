//! The plan of the network for people and for programs.

use nightlatch_core::network::{Kind, Link, LinkName};
use serde::Serialize;

use super::Plan;
use super::found::{Remark, Weight};
use crate::cli::network::Network;
use crate::failure::{Failure, note};
use crate::output::table::{Cell, render};
use crate::output::{self, Style, json};

/// `network --json`. Keys may be added, never changed.
#[derive(Serialize)]
struct Document<'p> {
    /// Whether the image gets it: `network` of client.conf(5).
    enabled: bool,
    interfaces: &'p [String],
    links: Vec<Row>,
    modules: &'p [String],
    remarks: &'p [Remark],
    conf: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    what: String,
    parts: Vec<String>,
    file: Option<String>,
    line: Option<usize>,
}

/// Prints it as it is asked for.
pub(super) fn print(
    plan: &Plan,
    wanted: &[String],
    enabled: bool,
    options: &Network,
) -> Result<(), Failure> {
    if options.conf {
        return output::print(&plan.definition.to_string());
    }
    if options.json {
        let document = Document {
            enabled,
            interfaces: wanted,
            links: plan
                .definition
                .links()
                .iter()
                .map(|it| row(plan, it))
                .collect(),
            modules: &plan.modules,
            remarks: &plan.remarks,
            conf: plan.definition.to_string(),
        };
        return output::print(&json::text(&document)?);
    }
    if !enabled {
        note("client.conf says network = no: none of this goes into the image");
    }
    output::print(&text(plan, wanted, output::coloured()))
}

fn row(plan: &Plan, link: &Link) -> Row {
    let place = plan.places.get(&link.name);
    Row {
        name: link.name.to_string(),
        kind: kind(link),
        what: what(link),
        parts: link.parts().iter().map(LinkName::to_string).collect(),
        file: place.map(|place| place.file.to_string()),
        line: place.map(|place| place.line),
    }
}

fn kind(link: &Link) -> &'static str {
    match link.kind {
        Kind::Device(_) => "device",
        Kind::Vlan { .. } => "vlan",
        Kind::Bond(_) => "bond",
        Kind::Bridge { .. } => "bridge",
    }
}

/// What a link is, in a few words.
fn what(link: &Link) -> String {
    let parts: Vec<&str> = link.parts().iter().map(LinkName::as_str).collect();
    let parts = parts.join(" ");
    let mut what = match &link.kind {
        Kind::Device(wanted) => match (wanted.mac, &wanted.path, &wanted.driver) {
            (Some(mac), ..) => format!("recognised by {mac}"),
            (None, Some(path), _) => format!("recognised by {path}"),
            (None, None, Some(driver)) => format!("recognised by its driver {driver}"),
            (None, None, None) => "recognised by its name".to_owned(),
        },
        Kind::Vlan { id, .. } => format!("{id} on {parts}"),
        Kind::Bond(bond) => format!("{} of {parts}", bond.mode),
        Kind::Bridge { .. } => format!("of {parts}"),
    };
    for address in &link.addresses {
        what.push_str(&format!(", {address}"));
    }
    what
}

fn text(plan: &Plan, wanted: &[String], coloured: bool) -> String {
    let mut text = String::new();
    let asked = match wanted {
        [] => "all that suit".to_owned(),
        names => names.join(", "),
    };
    text.push_str(&format!("interfaces that are used at boot: {asked}\n"));
    let links = plan.definition.links();
    if links.is_empty() {
        text.push_str("no links have to be made\n");
    } else {
        let rows: Vec<[Cell; 4]> = links
            .iter()
            .map(|link| {
                let place = plan.places.get(&link.name).map(ToString::to_string);
                [
                    Cell::plain(link.name.as_str()),
                    Cell::plain(kind(link)),
                    Cell::plain(what(link)),
                    Cell::new(place.unwrap_or_default(), Style::Dim),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&render(["LINK", "KIND", "WHAT", "FROM"], &rows, coloured));
    }
    if !plan.modules.is_empty() {
        text.push_str(&format!("\nkernel modules: {}\n", plan.modules.join(" ")));
    }
    if !plan.remarks.is_empty() {
        let rows: Vec<[Cell; 3]> = plan.remarks.iter().map(remark).collect();
        text.push('\n');
        text.push_str(&render(["NOT TAKEN", "AT BOOT", "WHERE"], &rows, coloured));
    }
    text
}

fn remark(remark: &Remark) -> [Cell; 3] {
    let style = match remark.weight {
        Weight::Matters => Style::Bad,
        Weight::Unknown => Style::Warning,
        Weight::Harmless => Style::Dim,
    };
    [
        Cell::plain(&remark.what),
        Cell::new(remark.weight.to_string(), style),
        Cell::new(remark.place.to_string(), Style::Dim),
    ]
}
