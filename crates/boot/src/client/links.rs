//! VLANs, bonds and bridges that are made before the search and removed after it.
//!
//! Reads `network.conf` and carries out what [`LinkBuilder`] says; never decides which change is next.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use nightlatch_core::network::builder::LinkBuilder;
use nightlatch_core::network::change::{ChangeOutcome, LinkChange};
use nightlatch_core::network::{Definition, Link, LinkName};
use nightlatch_sys::capabilities::{Capabilities, Capability};
use nightlatch_sys::links;
use nightlatch_sys::netif::Interface;
use rustix::io::Errno;

use super::files::Files;
use crate::log::Log;

/// In the image (docs/decisions/0100-what-goes-into-an-image.md).
const FILE: &str = "/conf/conf.d/nightlatch/network.conf";

/// A machine with hundreds of VLANs has less than this.
const MAX_BYTES: usize = 64 * 1024;

/// More changes in one go than any network needs; the next change of the network goes on.
const MAX_CHANGES: usize = 10_000;

/// A file that was named and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read --network {0:?}")]
pub(super) struct UnreadableError(PathBuf, #[source] io::Error);

/// Reads the definition of links. The usual file may be missing. Faults in a file are logged and the rest is used: a
/// part of the network is better than none.
///
/// # Errors
/// When the file of `--network` cannot be read.
pub(super) fn read(
    named: Option<&Path>,
    files: Files,
    log: Log,
) -> Result<Definition, UnreadableError> {
    let path = named.unwrap_or(Path::new(FILE));
    let bytes = match files.read(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if named.is_some() => return Err(UnreadableError(path.to_owned(), error)),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                log.info(&format!("cannot read {FILE}: {error}"));
            }
            return Ok(Definition::default());
        }
    };
    let (definition, faults) = Definition::recover(&String::from_utf8_lossy(&bytes));
    for fault in faults {
        log.info(&format!("{}: {fault}", path.display()));
    }
    Ok(definition)
}

/// As [`read`], without logging faults: the client does that.
pub(super) fn glance(named: Option<&Path>) -> Definition {
    let path = named.unwrap_or(Path::new(FILE));
    let bytes = crate::files::read_bounded(path, MAX_BYTES).unwrap_or_default();
    Definition::recover(&String::from_utf8_lossy(&bytes)).0
}

/// True when what is to be taken away is not there any more, which is as it should be: a link, a route, an address.
fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NODEV, Errno::SRCH, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| gone.contains(&errno))
}

/// The links that are made, and how to make and unmake them.
pub(super) struct Links {
    builder: LinkBuilder,
    /// By number: what was a member of something when they were looked at last.
    enslaved: BTreeSet<u32>,
    capabilities: Capabilities,
    log: Log,
}

impl Links {
    /// Nothing is made yet; `connecting` says that addresses are wanted too.
    pub(super) fn new(
        definition: Definition,
        connecting: bool,
        capabilities: Capabilities,
        log: Log,
    ) -> Self {
        Self {
            builder: LinkBuilder::new(definition, connecting),
            enslaved: BTreeSet::new(),
            capabilities,
            log,
        }
    }

    /// True when links can be made with the interfaces that exist.
    pub(super) fn are_due(&mut self) -> io::Result<bool> {
        if self.builder.definition().links().is_empty() {
            return Ok(false);
        }
        Ok(self.builder.next_change(&links::present()?).is_some())
    }

    /// Makes what is due.
    pub(super) fn make(&mut self) -> io::Result<()> {
        for _ in 0..MAX_CHANGES {
            let present = links::present()?;
            let Some(change) = self.builder.next_change(&present) else {
                while let Some(member) = self.builder.poll_busy_member(&present) {
                    self.log.info(&format!(
                        "interface {member} is in use, and stays out of its bond or bridge"
                    ));
                }
                break;
            };
            let outcome = match self.apply(&change) {
                Ok(()) => ChangeOutcome::Made,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    ChangeOutcome::AlreadyExists
                }
                Err(error) => {
                    self.complain(&change, &error);
                    ChangeOutcome::Failed
                }
            };
            self.builder.handle_result(change, outcome, &present);
        }
        Ok(())
    }

    /// Takes everything back. What cannot be taken back does not keep the rest from being.
    pub(super) fn unmake(&mut self) {
        loop {
            let present = match links::present() {
                Ok(present) => present,
                Err(error) => {
                    self.log.info(&format!("cannot list the links: {error}"));
                    return;
                }
            };
            let change = self.builder.next_undo(&present);
            while let Some(link) = self.builder.poll_left_alone() {
                self.log.info(&format!(
                    "interface {link} is used by others now, and left as it is"
                ));
            }
            let Some(change) = change else {
                return;
            };
            match self.apply(&change) {
                Err(error) if is_gone(&error) => {
                    let log = self.log;
                    log.debug(|| format!("{}: it is gone already", self.describe(&change)));
                }
                Err(error) => self.complain(&change, &error),
                Ok(()) => {}
            }
        }
    }

    /// Takes a link back down in its turn, which the caller has taken up.
    pub(super) fn handle_taken_up(&mut self, index: u32) {
        self.builder.handle_taken_up(index);
    }

    /// Makes all of a definition from now on.
    pub(super) fn extend_definition(&mut self, definition: Definition) {
        self.builder.extend_definition(definition);
    }

    /// Gives the interfaces the names that the definition has for them, whatever the kernel calls them
    /// in the initramfs.
    pub(super) fn name(&self, interfaces: &mut [Interface]) {
        for interface in interfaces {
            if let Some(name) = self.builder.name_of(interface.index) {
                name.as_str().clone_into(&mut interface.name);
            } else if self.is_taken(&interface.name) {
                // Two interfaces of one name would be one too many. Nobody can ask for this one.
                interface.name = format!("the kernel's {}", interface.name);
            }
        }
    }

    /// Looks at which interfaces are members of something now.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.enslaved.clear();
        if !self.builder.definition().links().is_empty() {
            let present = links::present()?.into_iter();
            let members = present.filter(|link| link.master.is_some());
            self.enslaved.extend(members.map(|link| link.index));
        }
        Ok(())
    }

    /// True when an interface, by its name here, is to belong to a bond or bridge and did when they were
    /// [looked at](Self::look) last. One that is in use stays out, and where the kernel has no bonds all do.
    pub(super) fn is_member(&self, interface: &Interface) -> bool {
        let defined = self.builder.definition().is_member(&interface.name);
        defined && self.enslaved.contains(&interface.index)
    }

    /// True when the definition has an interface of this name that is recognised by another property.
    fn is_taken(&self, name: &str) -> bool {
        let link = self.builder.definition().link(name);
        link.is_some_and(Link::is_recognised)
    }

    fn apply(&self, change: &LinkChange) -> io::Result<()> {
        self.log.debug(|| self.describe(change));
        self.capabilities
            .with(&[Capability::NetAdmin], || links::apply(change))
    }

    fn complain(&self, change: &LinkChange, error: &io::Error) {
        self.log
            .info(&format!("{}: it failed: {error}", self.describe(change)));
        let unsupported = Errno::from_io_error(error) == Some(Errno::OPNOTSUPP);
        if unsupported && matches!(change, LinkChange::Create { .. }) {
            self.log
                .hint("the kernel's module for it (8021q, bonding or bridge) is not in the image");
        }
    }

    fn describe(&self, change: &LinkChange) -> String {
        let link = |index: &u32| match self.builder.name_of(*index).map(LinkName::as_str) {
            Some(name) => name.to_owned(),
            None => {
                nightlatch_sys::netif::name_of(*index).unwrap_or_else(|_| format!("number {index}"))
            }
        };
        match change {
            LinkChange::Create { name, .. } | LinkChange::CreateRawBond(name) => {
                format!("making {name}")
            }
            LinkChange::Remove(index) => format!("removing {}", link(index)),
            LinkChange::HandOver(index) => format!("leaving {} to others", link(index)),
            LinkChange::SetMaster(index, Some(master)) => {
                format!("making {} a member of {}", link(index), link(master))
            }
            LinkChange::SetMaster(index, None) => {
                format!("making {} a member of nothing", link(index))
            }
            LinkChange::SetUp(index, true) => format!("taking interface {} up", link(index)),
            LinkChange::SetUp(index, false) => format!("taking interface {} down", link(index)),
            LinkChange::SetMtu(index, mtu) => {
                format!("setting the MTU of {} to {mtu}", link(index))
            }
            LinkChange::SetMac(index, mac) => {
                format!("setting the address of {} to {mac}", link(index))
            }
            LinkChange::SetPrimary(bond, member) => {
                format!("making {} the primary of {}", link(member), link(bond))
            }
            LinkChange::AddAddress(index, address) => {
                format!("adding {address} to {}", link(index))
            }
            LinkChange::RemoveAddress(index, address) => {
                format!("removing {address} from {}", link(index))
            }
            LinkChange::AddRoute(index, route) => {
                format!("adding a route to {route} on {}", link(index))
            }
            LinkChange::RemoveRoute(index, route) => {
                format!("removing the route to {route} on {}", link(index))
            }
        }
    }
}
