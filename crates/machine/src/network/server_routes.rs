//! The routes on which the running system reaches a server: asks the kernel for routes, and the network for servers.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::thread;
use std::time::Duration;

use nightlatch_console::failure::{EX_OSERR, EX_SOFTWARE, EX_USAGE, Failure};
use nightlatch_core::connect::{Scope, Target};
use nightlatch_core::network::learn::{ReachMethod, Routed, ServerRoute};
use nightlatch_core::network::snapshot::{KernelLink, RouteKind, Snapshot};

use super::addresses::{BootTarget, boot_targets};
use super::search;

/// The routes to the servers that were found.
#[derive(Clone, Default, Debug)]
pub(crate) struct ServerRoutes {
    pub(crate) routes: Vec<ServerRoute>,
    /// A sentence about the way to each server, for comments in network.conf.
    pub(crate) how: Vec<String>,
    /// A sentence about each server that cannot be reached.
    pub(crate) troubles: Vec<String>,
    /// True when the server is reached by an address that the kernel routes.
    pub(crate) is_routed: bool,
}

impl ServerRoutes {
    fn add(&mut self, way: ServerRoute, how: String) {
        if !self.routes.contains(&way) {
            self.routes.push(way);
            self.how.push(how);
        }
    }

    /// The links that were asked for: an administrator knows that the server is there.
    pub(super) fn of_names(names: &[String], snapshot: &Snapshot) -> Result<Self, Failure> {
        let mut routes = Self::default();
        for name in names {
            let link = snapshot.named(name).ok_or_else(|| {
                let all: Vec<&str> = snapshot.links.iter().map(KernelLink::name).collect();
                Failure::new(EX_USAGE, format!("there is no interface {name:?}"))
                    .hint(format!("expected one of {}", all.join(", ")))
            })?;
            routes.add(
                neighbour(link),
                format!("The server is on {name}, as --interface said."),
            );
        }
        Ok(routes)
    }

    /// The routes to each of `targets`, in their order. A link-local address without an interface is tried on those of
    /// `interfaces`, or on all, for `wait` each.
    pub(crate) fn of_targets(
        targets: &[Target],
        interfaces: &[String],
        snapshot: &Snapshot,
        wait: Duration,
    ) -> Result<Vec<Self>, Failure> {
        let links = candidates(interfaces, snapshot);
        let links = &links;
        // Side by side: a name or a server that does not answer takes its time.
        let looked: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = targets
                .iter()
                .map(|target| scope.spawn(move || resolve_target(target, links, wait)))
                .collect();
            running.into_iter().map(|one| one.join()).collect()
        });
        // A fault of ours has told of itself.
        let ended = |_| Failure::new(EX_SOFTWARE, "looking at a server ended by a fault");
        let all = targets.iter().zip(looked);
        all.map(|(target, looked)| Self::of_target(target, looked.map_err(ended)?, snapshot))
            .collect()
    }

    /// All of them together.
    pub(crate) fn together(all: &[Self]) -> Self {
        let mut together = Self::default();
        for one in all {
            for (way, how) in one.routes.iter().zip(&one.how) {
                together.add(way.clone(), how.clone());
            }
            together.troubles.extend(one.troubles.iter().cloned());
            together.is_routed |= one.is_routed;
        }
        together
    }

    fn of_target(
        target: &Target,
        (target_now, answering): ResolvedTarget,
        snapshot: &Snapshot,
    ) -> Result<Self, Failure> {
        let mut routes = Self {
            is_routed: !matches!(target_now, BootTarget::LinkLocal(..)),
            ..Self::default()
        };
        match target_now {
            BootTarget::Unknown(why) => routes.troubles.push(why),
            BootTarget::Routed(addresses) => {
                for address in addresses {
                    routes.route(address, snapshot)?;
                }
                // One family is enough for a name.
                if !routes.routes.is_empty() {
                    routes.troubles.clear();
                }
            }
            BootTarget::LinkLocal(ip, Some(scope)) => {
                let link = match &scope {
                    Scope::Index(index) => snapshot.link(*index),
                    Scope::Name(name) => snapshot.named(name),
                };
                match link {
                    Some(link) => {
                        let how = format!("{target} is on {}.", link.name());
                        routes.add(neighbour(link), how);
                    }
                    None => routes
                        .troubles
                        .push(format!("the interface of {target}, {ip}, is not there")),
                }
            }
            BootTarget::LinkLocal(_, None) => {
                for link in answering.into_iter().filter_map(|it| snapshot.link(it)) {
                    let how = format!("{target} answers on {}.", link.name());
                    routes.add(neighbour(link), how);
                }
                if routes.routes.is_empty() {
                    routes
                        .troubles
                        .push(format!("{target} answers on no interface"));
                }
            }
        }
        Ok(routes)
    }

    /// The interfaces on which a server announces itself.
    pub(super) fn of_search(
        interfaces: &[String],
        snapshot: &Snapshot,
        wait: Duration,
    ) -> Result<Self, Failure> {
        let mut routes = Self::default();
        let wanted = candidates(interfaces, snapshot);
        let indexes: BTreeSet<u32> = wanted.iter().map(|link| link.present.index).collect();
        let found = search::search(&indexes, snapshot, wait)
            .map_err(|error| Failure::new(EX_OSERR, "cannot look for servers").because(error))?;
        for link in &wanted {
            if found.contains(&link.present.index) {
                let how = format!("A server is found on {}.", link.name());
                routes.add(neighbour(link), how);
            }
        }
        if routes.routes.is_empty() {
            let names: Vec<&str> = wanted.iter().map(|link| link.name()).collect();
            routes.troubles.push(match names.is_empty() {
                true => "no interface is up on which a server could be".to_owned(),
                false => format!(
                    "no server was found within {} s on {}",
                    wait.as_secs(),
                    names.join(", ")
                ),
            });
        }
        Ok(routes)
    }

    fn route(&mut self, to: SocketAddr, snapshot: &Snapshot) -> Result<(), Failure> {
        let vrfs = snapshot.links.iter().filter(|link| link.kind() == "vrf");
        let vrfs: Vec<u32> = vrfs.map(|link| link.present.index).collect();
        let sources = snapshot.addresses.iter().map(|seen| seen.cidr.ip);
        let sources: Vec<IpAddr> = sources.filter(is_global).collect();
        let route = nightlatch_sys::observe::route(to, &vrfs, &sources).map_err(|error| {
            Failure::new(EX_OSERR, "cannot ask the kernel for a route").because(error)
        })?;
        let ip = to.ip();
        let Some(route) = route else {
            self.troubles
                .push(format!("the kernel has no route to {ip}"));
            return Ok(());
        };
        if route.kind == RouteKind::Local {
            self.troubles
                .push(format!("{ip} is an address of this machine itself"));
            return Ok(());
        }
        let name = snapshot.link(route.link).map_or("?", KernelLink::name);
        let how = match route.via {
            Some(via) => format!("{ip} is reached over {name}, by the gateway {via}."),
            None => format!("{ip} is reached over {name}, without a gateway."),
        };
        let routed = Routed {
            to: ip,
            prefix: route.prefix,
            via: route.via,
            source: route.source,
            is_static: route.is_static,
        };
        let way = ServerRoute {
            link: route.link,
            reach: ReachMethod::Routed(routed),
        };
        self.add(way, how);
        Ok(())
    }
}

/// The addresses of a server now, and the links on which it answers where it has a link-local address and
/// no interface is named.
type ResolvedTarget = (BootTarget, Vec<u32>);

fn resolve_target(target: &Target, links: &[&KernelLink], wait: Duration) -> ResolvedTarget {
    let target_now = boot_targets(target);
    let answering = match &target_now {
        BootTarget::LinkLocal(ip, None) => links
            .iter()
            .filter(|link| answers(*ip, target.port.get(), link, wait))
            .map(|link| link.present.index)
            .collect(),
        _ => Vec::new(),
    };
    (target_now, answering)
}

fn is_global(ip: &IpAddr) -> bool {
    !ip.is_loopback() && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn neighbour(link: &KernelLink) -> ServerRoute {
    ServerRoute {
        link: link.present.index,
        reach: ReachMethod::Neighbour,
    }
}

/// The links of these names, or without names all that suit.
fn candidates<'s>(names: &[String], snapshot: &'s Snapshot) -> Vec<&'s KernelLink> {
    let all = snapshot.links.iter().filter(|link| match names {
        [] => search::is_searched(link, snapshot),
        names => names.iter().any(|name| name == link.name()) && link.present.up,
    });
    all.collect()
}

/// True when somebody listens there. Nothing is sent.
fn answers(ip: Ipv6Addr, port: u16, link: &KernelLink, wait: Duration) -> bool {
    let address = SocketAddrV6::new(ip, port, 0, link.present.index);
    let connected: io::Result<TcpStream> = TcpStream::connect_timeout(&address.into(), wait);
    connected.is_ok()
}
