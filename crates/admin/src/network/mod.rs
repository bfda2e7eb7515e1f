//! `nightlatch network`: the links that the initramfs makes to reach a server, from the files that
//! describe this machine's network (docs/decisions/0112-the-hosts-network-files.md).
//!
//! Each reader is a function of texts; files are found in one place, and decided is in `resolve`.

mod files;
pub mod found;
pub mod ifupdown;
pub mod keyfile;
pub mod netplan;
pub mod networkd;
pub mod networkmanager;
pub mod resolve;
mod show;
pub mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nightlatch_core::network::present::Present;
use nightlatch_core::network::{Definition, Kind};

use crate::cli::network::Network;
use crate::failure::{EX_OSERR, Failure, warn};
use found::Remark;
use resolve::{Resolved, resolve};

/// Carries the verb out.
pub(crate) fn run(options: &Network) -> Result<(), Failure> {
    let mut doubts = crate::image::Plan::default();
    let settings = crate::image::settings(&mut doubts, &options.root)?;
    doubts.remarks.iter().for_each(warn);
    let wanted = match options.interface.is_empty() {
        true => &settings.interfaces,
        false => &options.interface,
    };
    let plan = definition(&options.root, wanted)?;
    show::print(&plan, wanted, settings.network, options)
}

/// What an image needs for the links of a machine.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The links, as `network.conf` has them by their `Display`. Empty where none is needed.
    pub(crate) definition: Definition,
    /// Kernel modules: of the kinds of links, and of the drivers of the interfaces below them.
    pub(crate) modules: Vec<String>,
    /// Where each link stands.
    places: std::collections::BTreeMap<nightlatch_core::network::LinkName, found::Place>,
    /// What is left out, and what that means.
    pub(crate) remarks: Vec<Remark>,
}

/// Reads the network of the machine whose root is `root`. `wanted` are the interfaces that are asked
/// for; without, every link that can reach somebody is made.
///
/// # Errors
/// When this machine's own interfaces cannot be listed.
pub(crate) fn definition(root: &Path, wanted: &[String]) -> Result<Plan, Failure> {
    // The interfaces of another machine are not known here.
    let own = root == Path::new("/");
    let host = match own {
        true => nightlatch_sys::links::present().map_err(|error| {
            Failure::new(EX_OSERR, "cannot list this machine's interfaces").because(error)
        })?,
        false => Vec::new(),
    };
    let Resolved {
        definition,
        places,
        remarks,
    } = resolve(files::all(root), &host, wanted);
    let modules = modules(&definition, &host);
    Ok(Plan {
        definition,
        modules,
        places,
        remarks,
    })
}

fn modules(definition: &Definition, host: &[Present]) -> Vec<String> {
    let mut modules = BTreeSet::new();
    for link in definition.links() {
        match &link.kind {
            Kind::Vlan { .. } => {
                modules.insert("8021q".to_owned());
            }
            Kind::Bond(_) => {
                modules.insert("bonding".to_owned());
            }
            Kind::Bridge { .. } => {
                modules.insert("bridge".to_owned());
            }
            Kind::Device(_) => {}
        }
        let names = link.parts().iter().chain([&link.name]);
        for name in names {
            let here = host.iter().any(|present| present.name == name.as_str());
            modules.extend(here.then(|| driver_module(name.as_str())).flatten());
        }
    }
    modules.into_iter().collect()
}

/// The module of an interface's driver; none where it is built in.
fn driver_module(interface: &str) -> Option<String> {
    let link = Path::new("/sys/class/net")
        .join(interface)
        .join("device/driver/module");
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}
