//! Shows the learned network, the running one, and the one of the next boot, as text and as JSON.

use std::path::Path;
use std::time::Duration;

use nightlatch_console::failure::{Failure, note, warn};
use nightlatch_console::output::table::{Cell, render};
use nightlatch_console::output::{self, Style, json};
use nightlatch_core::connect::Target;
use nightlatch_core::network::compare::LinkDifference;
use nightlatch_core::network::{Definition, Link, LinkKind, LinkName};
use nightlatch_core::settings::machine::MachineSettings;
use serde::Serialize;

use super::drift::drift;
use super::file::ConfFile;
use super::options::NetworkOptions;
use super::server_routes::ServerRoutes;
use super::{at_boot, is_own, modules, snapshot};
use crate::boot_command::BootCommand;

/// The time in which a server with a link-local address must answer.
const WAIT: Duration = Duration::from_secs(2);

/// `network --json`. Keys may be added, never changed.
#[derive(Serialize)]
struct NetworkDocument<'p> {
    /// True when the image gets it: `network` of client.conf(5).
    enabled: bool,
    /// Path of network.conf; none when it does not exist.
    file: Option<String>,
    /// True when it was edited since.
    edited: bool,
    interfaces: &'p [String],
    links: Vec<LinkRow>,
    modules: &'p [String],
    /// True when the running system was looked at.
    compared: bool,
    differences: Vec<DifferenceRow>,
    faults: Vec<String>,
    conf: &'p str,
}

#[derive(Serialize)]
struct LinkRow {
    name: String,
    kind: &'static str,
    what: String,
    parts: Vec<String>,
    /// Links of the running system in whose place it is used.
    stands_for: Vec<String>,
}

#[derive(Serialize)]
struct DifferenceRow {
    link: String,
    what: String,
    /// True when a boot may fail for it.
    decisive: bool,
}

/// The data for both outputs.
struct NetworkView {
    file: Option<ConfFile>,
    definition: Definition,
    /// None where the running system is another one.
    differences: Option<Vec<LinkDifference>>,
    modules: Vec<String>,
}

/// Prints it as it is asked for.
pub(super) fn run(settings: &MachineSettings, options: &NetworkOptions) -> Result<(), Failure> {
    let file = ConfFile::read(&options.root)?;
    if options.conf {
        let text = file.as_ref().filter(|_| settings.network);
        if text.is_none() {
            note(nothing(settings, &options.root));
        }
        return output::print(text.map_or("", |file| file.text.as_str()));
    }
    let view = NetworkView::of(file, settings, &options.root)?;
    let settings = at_boot(settings, &view.definition);
    if options.json {
        return output::print(&json::text(&view.document(&settings))?);
    }
    if let Some(file) = &view.file {
        for fault in &file.faults {
            warn(format_args!("{}: {fault}", file.path.display()));
        }
    }
    if !settings.network {
        note("client.conf says network = no: none of this goes into the image");
    }
    let text = view.text(&settings, &options.root, output::coloured());
    output::print(&text)
}

/// The reason for an empty plan.
fn nothing(settings: &MachineSettings, root: &Path) -> &'static str {
    match settings.network {
        false => "client.conf says network = no: the image gets no network.conf",
        true if is_own(root) => {
            "nothing was learned yet: a boot uses interfaces as they are; run nightlatch network --learn"
        }
        true => "there is no network.conf: a boot uses interfaces as they are",
    }
}

impl NetworkView {
    fn of(
        file: Option<ConfFile>,
        settings: &MachineSettings,
        root: &Path,
    ) -> Result<Self, Failure> {
        let definition = file.as_ref().map(|file| file.definition.clone());
        let definition = definition.unwrap_or_default();
        let snapshot = is_own(root).then(snapshot).transpose()?;
        let differences = match (&snapshot, &file) {
            (Some(snapshot), Some(file)) => {
                let command = BootCommand::of(root, settings)
                    .unwrap_or_else(|_| BootCommand::of_settings(settings));
                let names = command.interfaces();
                let servers = command.servers();
                servers.refused.iter().for_each(warn);
                let targets: Vec<Target> = servers.targets().cloned().collect();
                let routes = ServerRoutes::of_targets(&targets, &names, snapshot, WAIT)?;
                let routes = Some(ServerRoutes::together(&routes)).filter(|_| !targets.is_empty());
                let troubles = routes.iter().flat_map(|routes| &routes.troubles);
                troubles.for_each(warn);
                Some(drift(&definition, &file.faults, snapshot, routes.as_ref()).1)
            }
            _ => None,
        };
        let modules = modules(&definition, snapshot.as_ref());
        Ok(Self {
            file,
            definition,
            differences,
            modules,
        })
    }

    fn document<'v>(&'v self, settings: &'v MachineSettings) -> NetworkDocument<'v> {
        let differences = self.differences.iter().flatten();
        let file = self.file.as_ref();
        NetworkDocument {
            enabled: settings.network,
            file: file.map(|file| file.path.display().to_string()),
            edited: file.is_some_and(ConfFile::is_edited),
            interfaces: &settings.interfaces,
            links: self.definition.links().iter().map(row).collect(),
            modules: &self.modules,
            compared: self.differences.is_some(),
            differences: differences
                .map(|it| DifferenceRow {
                    link: it.link.to_string(),
                    what: it.to_string(),
                    decisive: it.is_decisive(),
                })
                .collect(),
            faults: file
                .map_or(&[][..], |file| &file.faults)
                .iter()
                .map(ToString::to_string)
                .collect(),
            conf: file
                .filter(|_| settings.network)
                .map_or("", |file| &file.text),
        }
    }

    fn text(&self, settings: &MachineSettings, root: &Path, coloured: bool) -> String {
        let Some(file) = &self.file else {
            return format!("{}\n", nothing(settings, root));
        };
        let mut text = String::new();
        let edited = match file.is_edited() {
            true => "written by hand, or edited since it was learned",
            false => "as it was learned",
        };
        text.push_str(&format!("{}: {edited}\n", file.path.display()));
        let asked = match &settings.interfaces[..] {
            [] => "all that suit".to_owned(),
            names => names.join(", "),
        };
        text.push_str(&format!("interfaces that a boot uses: {asked}\n"));
        let links = self.definition.links();
        if !links.is_empty() {
            let rows: Vec<[Cell; 4]> = links.iter().map(|link| self.cells(link)).collect();
            text.push('\n');
            let heads = ["LINK", "KIND", "AT BOOT", "RUNNING SYSTEM"];
            text.push_str(&render(heads, &rows, coloured));
        }
        if !self.modules.is_empty() {
            text.push_str(&format!("\nkernel modules: {}\n", self.modules.join(" ")));
        }
        if let Some(found) = self.differences.as_ref().filter(|all| !all.is_empty()) {
            text.push('\n');
            for difference in found {
                let style = match difference.is_decisive() {
                    true => Style::Bad,
                    false => Style::Dim,
                };
                let line = output::table::visible(&difference.to_string());
                text.push_str(&format!("{}\n", style.paint(&line, coloured)));
            }
            text.push_str("\nto write what the running system has: nightlatch network --learn\n");
        }
        text
    }

    fn cells(&self, link: &Link) -> [Cell; 4] {
        let all = self.differences.as_ref();
        let own = all.map(|all| all.iter().filter(|it| it.link == link.name));
        let now = match own.map(|own| own.map(LinkDifference::is_decisive).max()) {
            None => Cell::new("not known here", Style::Dim),
            Some(None) => Cell::new("the same", Style::Good),
            Some(Some(true)) => Cell::new("differs", Style::Bad),
            Some(Some(false)) => Cell::new("differs a little", Style::Warning),
        };
        [
            Cell::plain(link.name.as_str()),
            Cell::plain(kind(link)),
            Cell::plain(what(link)),
            now,
        ]
    }
}

fn row(link: &Link) -> LinkRow {
    let names = |names: &[LinkName]| names.iter().map(LinkName::to_string).collect();
    LinkRow {
        name: link.name.to_string(),
        kind: kind(link),
        what: what(link),
        parts: names(link.parts()),
        stands_for: names(&link.stands_for),
    }
}

fn kind(link: &Link) -> &'static str {
    match link.kind {
        LinkKind::Device(_) => "device",
        LinkKind::Vlan { .. } => "vlan",
        LinkKind::Bond(_) => "bond",
        LinkKind::Bridge { .. } => "bridge",
    }
}

/// Describes a link in a few words.
fn what(link: &Link) -> String {
    let parts: Vec<&str> = link.parts().iter().map(LinkName::as_str).collect();
    let parts = parts.join(" ");
    let mut what = match &link.kind {
        LinkKind::Device(wanted) => match (wanted.mac, &wanted.path, &wanted.driver) {
            (Some(mac), ..) => format!("recognised by {mac}"),
            (None, Some(path), _) => format!("recognised by {path}"),
            (None, None, Some(driver)) => format!("recognised by its driver {driver}"),
            (None, None, None) => "recognised by its name".to_owned(),
        },
        LinkKind::Vlan { id, .. } => format!("{id} on {parts}"),
        LinkKind::Bond(bond) => format!("{} of {parts}", bond.mode),
        LinkKind::Bridge { .. } => format!("of {parts}"),
    };
    for name in &link.stands_for {
        what.push_str(&format!(", for {name}"));
    }
    if link.dhcp {
        what.push_str(", an address by DHCP");
    }
    for address in &link.addresses {
        what.push_str(&format!(", {address}"));
    }
    for route in &link.routes {
        what.push_str(&format!(", {route}"));
    }
    what
}
