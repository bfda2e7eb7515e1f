//! What this program changes on the machine, and puts back: links, routes, the console's level.
//! Which links are made is decided in `core`, and done in [`Links`].
//!
//! Decides nothing about servers. [`Network::restore`] is called on every way out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use nightlatch_core::network::Definition;
use nightlatch_core::time::Monotonic;
use nightlatch_sys::capabilities::{Capabilities, Capability};
use nightlatch_sys::kmsg;
use nightlatch_sys::netif::{self, Interface};

use super::interfaces::Selection;
use super::links::Links;
use crate::log::Log;

/// The console level while interfaces come up: warnings and worse, as mandos-client(8mandos) has
/// it. Drivers tell of each link at the level of notices.
const QUIET: u8 = 5;

/// The interfaces in use and what was changed for them.
pub(super) struct Network {
    selection: Selection,
    connecting: bool,
    capabilities: Capabilities,
    log: Log,
    links: Links,
    interfaces: Vec<Interface>,
    /// By index: what we took up, and its name for messages.
    taken_up: BTreeMap<u32, String>,
    /// By index: what we tried to take up.
    tried: BTreeSet<u32>,
    routes: BTreeSet<(IpAddr, u32)>,
    quiet: Option<Quiet>,
}

/// The console is quiet.
struct Quiet {
    before: u8,
    until: Monotonic,
}

impl Network {
    /// Nothing changed yet; `connecting` says that `--connect` was given.
    pub(super) fn new(
        selection: Selection,
        connecting: bool,
        definition: Definition,
        capabilities: Capabilities,
        log: Log,
    ) -> Self {
        let wanted = match &selection {
            Selection::Suitable => definition,
            Selection::Named(names) => definition.needed_for(names),
            Selection::AsTheyAre => Definition::default(),
        };
        Self {
            links: Links::new(wanted, connecting, capabilities, log),
            selection,
            connecting,
            capabilities,
            log,
            interfaces: Vec::new(),
            taken_up: BTreeMap::new(),
            tried: BTreeSet::new(),
            routes: BTreeSet::new(),
            quiet: None,
        }
    }

    /// Makes the links that can be made by now, lists the interfaces anew and takes up those to be
    /// used, all at once. The console stays quiet until they run, or until `quiet_until`.
    pub(super) fn refresh(&mut self, quiet_until: Monotonic) -> io::Result<()> {
        if self.links.are_due()? {
            self.be_quiet(quiet_until);
            self.links.make()?;
        }
        self.interfaces = self.list()?;
        let present: BTreeSet<u32> = self.interfaces.iter().map(|i| i.index).collect();
        self.taken_up.retain(|index, _| present.contains(index));
        self.tried.retain(|index| present.contains(index));
        let down: Vec<Interface> = self
            .used()
            .filter(|interface| !interface.flags.up() && !self.tried.contains(&interface.index))
            .cloned()
            .collect();
        if self.selection.takes_up() && !down.is_empty() {
            self.be_quiet(quiet_until);
            for interface in down {
                self.take_up(interface);
            }
            self.interfaces = self.list()?;
        }
        if self.settled() {
            self.be_loud();
        }
        Ok(())
    }

    /// Every interface there is, by the names that the definition of links has for them.
    fn list(&self) -> io::Result<Vec<Interface>> {
        let mut all = netif::interfaces()?;
        self.links.name(&mut all);
        Ok(all)
    }

    /// Every interface there is.
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The interfaces to be used.
    pub(super) fn used(&self) -> impl Iterator<Item = &Interface> {
        let by_default = self.selection == Selection::Suitable;
        // Nothing is to be found on a member of a bond or bridge: what comes in goes to its master.
        let hidden = move |i: &Interface| by_default && self.links.is_member(i);
        let chosen = |i: &&Interface| self.selection.uses(i, self.connecting);
        let chosen = self.interfaces.iter().filter(chosen);
        chosen.filter(move |i| !hidden(i))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        self.quiet.as_ref().map(|quiet| quiet.until)
    }

    /// The time has come.
    pub(super) fn handle_timeout(&mut self, now: Monotonic) {
        if self.quiet.as_ref().is_some_and(|quiet| quiet.until <= now) {
            self.be_loud();
        }
    }

    /// Makes a host that has no route a neighbour on interface `index`; tells whether that is new.
    pub(super) fn add_route(&mut self, to: IpAddr, index: u32) -> bool {
        if self.routes.contains(&(to, index)) {
            return false;
        }
        let added = self
            .capabilities
            .with(&[Capability::NetAdmin], || netif::add_host_route(to, index));
        match added {
            Ok(()) => {
                self.log
                    .debug(|| format!("added a route to {to} on interface {index}"));
                self.routes.insert((to, index))
            }
            Err(error) => {
                self.log
                    .debug(|| format!("cannot add a route to {to} on interface {index}: {error}"));
                false
            }
        }
    }

    /// Puts everything back as it was.
    pub(super) fn restore(&mut self) {
        for (to, index) in std::mem::take(&mut self.routes) {
            let removed = self.capabilities.with(&[Capability::NetAdmin], || {
                netif::remove_host_route(to, index)
            });
            if let Err(error) = removed {
                self.log
                    .debug(|| format!("cannot remove the route to {to}: {error}"));
            }
        }
        for (index, name) in std::mem::take(&mut self.taken_up) {
            self.log.debug(|| format!("taking interface {name} down"));
            let down = self
                .capabilities
                .with(&[Capability::NetAdmin], || netif::set_up(index, false));
            // An interface that went away meanwhile is as it should be.
            if let Err(error) = down
                && rustix::io::Errno::from_io_error(&error) != Some(rustix::io::Errno::NODEV)
            {
                self.log
                    .say(&format!("cannot take interface {name} down: {error}"));
            }
        }
        self.links.unmake();
        self.be_loud();
    }

    fn take_up(&mut self, interface: Interface) {
        let Interface { index, name, .. } = interface;
        self.tried.insert(index);
        self.log.debug(|| format!("taking interface {name} up"));
        let up = self
            .capabilities
            .with(&[Capability::NetAdmin], || netif::set_up(index, true));
        match up {
            Ok(()) => {
                self.taken_up.insert(index, name);
            }
            Err(error) => {
                self.log
                    .say(&format!("cannot take interface {name} up: {error}"));
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.log.hint(
                        "this needs CAP_NET_ADMIN; with --interface none nothing is taken up",
                    );
                }
            }
        }
    }

    fn settled(&self) -> bool {
        let pending = |i: &Interface| self.taken_up.contains_key(&i.index) && !i.flags.running();
        !self.interfaces.iter().any(pending)
    }

    fn be_quiet(&mut self, until: Monotonic) {
        if let Some(quiet) = &mut self.quiet {
            quiet.until = until;
            return;
        }
        let Some(before) = kmsg::console_level().filter(|level| *level > QUIET) else {
            return;
        };
        let set = self
            .capabilities
            .with(&[Capability::Syslog], || kmsg::set_console_level(QUIET));
        if set.is_ok() {
            self.quiet = Some(Quiet { before, until });
        }
    }

    fn be_loud(&mut self) {
        if let Some(Quiet { before, .. }) = self.quiet.take() {
            let set = self
                .capabilities
                .with(&[Capability::Syslog], || kmsg::set_console_level(before));
            if let Err(error) = set {
                self.log.say(&format!(
                    "cannot restore the console's level {before}: {error}"
                ));
            }
        }
    }
}
