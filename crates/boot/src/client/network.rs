//! The changes of the client to the machine, which it puts back: links, routes, the console level. `core` decides
//! which links are made, [`Links`] makes them.
//!
//! Decides nothing about servers. [`NetworkSetup::restore`] is called on every way out.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nightlatch_core::network::Definition;
use nightlatch_core::network::link_local::{self as link_local_watch, LinkLocalNotice};
use nightlatch_core::time::Monotonic;
use nightlatch_sys::capabilities::{Capabilities, Capability};
use nightlatch_sys::kmsg;
use nightlatch_sys::link_local;
use nightlatch_sys::netif::{self, Interface};

use super::interfaces::InterfaceSelection;
use super::links::Links;
use crate::log::AppletLog;

/// The console level while interfaces come up: warnings and worse, as mandos-client(8mandos) has it. Drivers log each
/// link as a notice.
const QUIET: u8 = 5;

/// Time to wait for the named interfaces before others are used. One on USB appears within some seconds. One that was
/// misspelt, or was renamed by an update, never appears.
const PATIENCE: Duration = Duration::from_secs(30);

/// The interfaces in use and what was changed for them.
pub(super) struct NetworkSetup {
    selection: InterfaceSelection,
    connecting: bool,
    capabilities: Capabilities,
    log: AppletLog,
    links: Links,
    /// All that the file defines, where only a part is made as long as the interfaces that were asked for exist.
    all: Option<Definition>,
    /// Named interfaces that do not exist, as last logged.
    missing: Option<String>,
    /// The time at which others are used instead.
    others_due: Option<Monotonic>,
    /// Interfaces without a link-local address.
    link_local: link_local_watch::LinkLocalMonitor,
    interfaces: Vec<Interface>,
    /// By index: what we took up.
    taken_up: BTreeSet<u32>,
    /// By index: what we tried to take up.
    tried: BTreeSet<u32>,
    routes: BTreeSet<(IpAddr, u32)>,
    quiet: Option<QuietConsole>,
}

struct QuietConsole {
    before: u8,
    until: Monotonic,
}

impl NetworkSetup {
    /// Nothing changed yet; `connecting` says that `--connect` was given.
    pub(super) fn new(
        selection: InterfaceSelection,
        connecting: bool,
        definition: Definition,
        capabilities: Capabilities,
        log: AppletLog,
    ) -> Self {
        let (wanted, all) = selection.narrow(definition);
        Self {
            all,
            missing: None,
            others_due: None,
            links: Links::new(wanted, connecting, capabilities, log),
            selection,
            connecting,
            capabilities,
            log,
            link_local: link_local_watch::LinkLocalMonitor::default(),
            interfaces: Vec::new(),
            taken_up: BTreeSet::new(),
            tried: BTreeSet::new(),
            routes: BTreeSet::new(),
            quiet: None,
        }
    }

    /// Makes the links that can be made by now, lists the interfaces anew and takes up those to be
    /// used, all at once. The console stays quiet until they run, or until `quiet_until`.
    pub(super) fn refresh(&mut self, now: Monotonic, quiet_until: Monotonic) -> io::Result<()> {
        if self.links.are_due()? {
            self.silence_console(quiet_until);
            self.links.make()?;
        }
        self.interfaces = self.list()?;
        self.check_named(now);
        let present: BTreeSet<u32> = self.interfaces.iter().map(|i| i.index).collect();
        self.taken_up.retain(|index| present.contains(index));
        self.tried.retain(|index| present.contains(index));
        let down: Vec<Interface> = self
            .used()
            .filter(|interface| !interface.flags.up() && !self.tried.contains(&interface.index))
            .cloned()
            .collect();
        if self.selection.takes_up() && !down.is_empty() {
            self.silence_console(quiet_until);
            for interface in down {
                self.take_up(interface);
            }
            self.interfaces = self.list()?;
        }
        if self.settled() {
            self.restore_console();
        }
        Ok(())
    }

    /// Tells which of the interfaces that were asked for do not exist. When none does, others are used after a while.
    fn check_named(&mut self, now: Monotonic) {
        let (InterfaceSelection::Named(names) | InterfaceSelection::Only(names)) = &self.selection
        else {
            return;
        };
        let exists = |name: &&String| self.interfaces.iter().any(|i| i.name == **name);
        let missing: Vec<&str> = names
            .iter()
            .filter(|n| !exists(n))
            .map(String::as_str)
            .collect();
        let none = missing.len() == names.len();
        let missing = Some(missing.join(", ")).filter(|names| !names.is_empty());
        let waits = none && self.all.is_some();
        self.others_due = match waits {
            true => Some(self.others_due.unwrap_or_else(|| now.after(PATIENCE))),
            false => None,
        };
        if missing == self.missing {
            return;
        }
        if let Some(names) = &missing {
            let seconds = PATIENCE.as_secs();
            let then = match waits {
                true => format!("; without it, others are used after {seconds} s"),
                false => String::new(),
            };
            self.log.info(&format!(
                "waiting for a network interface that does not exist: {names}{then}"
            ));
        }
        self.missing = missing;
    }

    /// Says of which interfaces no server can be found for want of a link-local address, and why.
    pub(super) fn check_link_local(&mut self, now: Monotonic) {
        let ready = self.used().filter(|i| i.flags.up() && i.flags.running());
        let observed = match link_local::observe(ready) {
            Ok(observed) => observed,
            Err(error) => {
                self.log
                    .debug(|| format!("cannot look at addresses: {error}"));
                return;
            }
        };
        for remark in self.link_local.update(observed, now) {
            match remark {
                LinkLocalNotice::Lacks(it) => {
                    let why = it
                        .reason
                        .map(|reason| format!(" ({reason})"))
                        .unwrap_or_default();
                    let then = match it.has_ipv4 {
                        true => "searching there over IPv4 only",
                        false => "and no IPv4 address: no server can be found there",
                    };
                    let name = &it.name;
                    self.log.info(&format!(
                        "interface {name} has no IPv6 link-local address{why}, {then}"
                    ));
                    if let Some(reason) = it.reason {
                        self.log.hint(&reason.hint(name));
                    }
                }
                LinkLocalNotice::HasNow { name } => {
                    self.log.info(&format!(
                        "interface {name} has an IPv6 link-local address now"
                    ));
                }
            }
        }
    }

    /// Every interface there is, by the names that the definition of links has for them.
    fn list(&mut self) -> io::Result<Vec<Interface>> {
        self.links.refresh_members()?;
        let mut all = netif::interfaces()?;
        self.links.name(&mut all);
        Ok(all)
    }

    /// Every interface there is.
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    pub(super) fn used(&self) -> impl Iterator<Item = &Interface> {
        let by_default = self.selection == InterfaceSelection::Suitable || self.uses_others();
        // Nothing is to be found on a member of a bond or bridge: what comes in goes to its master.
        let hidden = move |i: &Interface| by_default && self.links.is_member(i);
        let chosen = |i: &&Interface| {
            let suits =
                || self.uses_others() && InterfaceSelection::Suitable.uses(i, self.connecting);
            self.selection.uses(i, self.connecting) || suits()
        };
        let chosen = self.interfaces.iter().filter(chosen);
        chosen.filter(move |i| !hidden(i))
    }

    /// True when others are used than those that were asked for, none of which came to be.
    fn uses_others(&self) -> bool {
        matches!(self.selection, InterfaceSelection::Named(_)) && self.all.is_none()
    }

    /// The time to call [`handle_timeout`](Self::handle_timeout).
    pub(super) fn poll_timeout(&self) -> Option<Monotonic> {
        let loud = self.quiet.as_ref().map(|quiet| quiet.until);
        let lacking = self.link_local.poll_timeout().filter(|_| !self.connecting);
        [loud, self.others_due, lacking].into_iter().flatten().min()
    }

    /// The time has come. Tells whether other interfaces are to be used from now on: then all must be looked at anew.
    pub(super) fn handle_timeout(&mut self, now: Monotonic) -> bool {
        if self.quiet.as_ref().is_some_and(|quiet| quiet.until <= now) {
            self.restore_console();
        }
        if !self.connecting && self.link_local.poll_timeout().is_some_and(|due| due <= now) {
            self.check_link_local(now);
        }
        if self.others_due.is_none_or(|due| due > now) {
            return false;
        }
        self.others_due = None;
        if let Some(all) = self.all.take() {
            self.links.extend_definition(all);
            let missing = self.missing.as_deref().unwrap_or_default();
            self.log.info(&format!(
                "still without {missing}: using other network interfaces"
            ));
            self.log.hint(
                "name one that exists in `ip=`, in DEVICE of initramfs.conf or with --interface",
            );
        }
        true
    }

    /// Adds a route to a host without one: it is a neighbour on interface `index`. False when nothing was added.
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

    /// Removes the routes to a host that were added here.
    pub(super) fn remove_routes(&mut self, to: IpAddr) {
        for (to, index) in self.routes.extract_if(.., |(known, _)| *known == to) {
            let removed = self.capabilities.with(&[Capability::NetAdmin], || {
                netif::remove_host_route(to, index)
            });
            self.log.debug(|| match removed {
                Ok(()) => format!("removed the route to {to} on interface {index}"),
                Err(error) => format!("cannot remove the route to {to}: {error}"),
            });
        }
    }

    /// Puts everything back as it was.
    pub(super) fn restore(&mut self) {
        while let Some((to, _)) = self.routes.first() {
            self.remove_routes(*to);
        }
        // In the order in which all of it was done, the last first.
        self.links.remove_all();
        self.restore_console();
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
                self.links.handle_taken_up(index);
                self.taken_up.insert(index);
            }
            Err(error) => {
                self.log
                    .info(&format!("cannot take interface {name} up: {error}"));
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.log.hint(
                        "this needs CAP_NET_ADMIN; with --interface none nothing is taken up",
                    );
                }
            }
        }
    }

    fn settled(&self) -> bool {
        let pending = |i: &Interface| self.taken_up.contains(&i.index) && !i.flags.running();
        !self.interfaces.iter().any(pending)
    }

    fn silence_console(&mut self, until: Monotonic) {
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
            self.quiet = Some(QuietConsole { before, until });
        }
    }

    fn restore_console(&mut self) {
        if let Some(QuietConsole { before, .. }) = self.quiet.take() {
            let set = self
                .capabilities
                .with(&[Capability::Syslog], || kmsg::set_console_level(before));
            if let Err(error) = set {
                self.log.info(&format!(
                    "cannot restore the console's level {before}: {error}"
                ));
            }
        }
    }
}
