//! Derives the links, addresses and routes that a boot needs to reach a server from the kernel's state
//! (docs/decisions/0117).
//!
//! Pure. Never guesses: a route that cannot be followed to an interface of the machine is left out, with a remark that
//! says where it ended.

mod addressing;
mod chain;

use std::fmt;

use core::net::IpAddr;

use super::snapshot::Snapshot;
use super::{Definition, LinkConflict, LinkName};
use addressing::RoutePlans;
use chain::LinkChains;

/// A link over which the running system reaches a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerRoute {
    /// Index of the link that packets to it leave by.
    pub link: u32,
    /// Requirements on the link.
    pub reach: ReachMethod,
}

/// Ways to reach a server on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReachMethod {
    /// By a link-local address, which every link has at boot.
    Neighbour,
    /// By a routed address.
    Routed(Routed),
}

/// The kernel's route to a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routed {
    /// The server's address.
    pub to: IpAddr,
    /// Length of the prefix that matched.
    pub prefix: u8,
    /// Gateway to the server.
    pub via: Option<IpAddr>,
    /// Source address for connections to it.
    pub source: Option<IpAddr>,
    /// True for a route of an administrator, not of DHCP.
    pub is_static: bool,
}

/// A `network.conf` learned from the running system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Learned {
    /// Content for `network.conf`.
    pub definition: Definition,
    /// Omissions and hints for the administrator.
    pub remarks: Vec<LinkRemark>,
}

/// A remark about the learned configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkRemark {
    /// The link on which a server is reached.
    pub link: String,
    /// The remark itself.
    pub what: RemarkKind,
}

/// Kinds of remarks about a link.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names say it")]
pub enum RemarkKind {
    /// The link has disappeared.
    #[error("it is not there any more")]
    Gone,
    /// A link of a kind that a boot cannot make.
    #[error("{link} is a link of the kind {kind}, which a boot can only make by a network hook")]
    Kind { link: String, kind: String },
    /// A wireless interface.
    #[error("{0} is wireless, which a boot can only use by the network hook \"wireless\"")]
    Wireless(String),
    /// Nothing of this machine is below it.
    #[error(
        "{0} leads to no network interface of this machine; is the server a container or a virtual \
         machine on it?"
    )]
    NoHardware(String),
    /// The link below it belongs to another network namespace.
    #[error("the link below {0} is in another network namespace")]
    Elsewhere(String),
    /// A name that no section can have.
    #[error("{0:?} cannot be the name of a section")]
    Name(String),
    /// A number that is out of range.
    #[error("{0} has settings that cannot be written")]
    Settings(String),
    /// A conflict between links.
    #[error(transparent)]
    Conflict(#[from] LinkConflict),
    /// The address is this machine's own.
    #[error("{0} is an address of this machine")]
    Own(IpAddr),
    /// No source address is known.
    #[error("there is no address to reach {0} from")]
    NoSource(IpAddr),
    /// An IPv4 route by an IPv6 gateway.
    #[error("{to} is reached by the gateway {via}, which a boot cannot use for it")]
    OtherFamily {
        to: IpAddr,
        /// Gateway to the server.
        via: IpAddr,
    },
    /// An address of DHCPv6.
    #[error("{0} was given by DHCPv6, which a boot does not speak")]
    Dhcpv6(IpAddr),
    /// Addresses by router advertisements: nothing to write.
    #[error("{0} comes from a router, which a boot listens to as well: nothing is written for it")]
    Router(IpAddr),
    /// A bridge with several ports.
    #[error("the bridge {bridge} has several ports; the address goes to {port}")]
    Ports { bridge: String, port: String },
    /// A bridge that filters VLANs.
    #[error(
        "the bridge {0} filters VLANs: if the server is in one that its port tags, describe that VLAN by \
         hand"
    )]
    Filters(String),
}

impl RemarkKind {
    /// True when the server's link was left out because of it.
    pub fn is_obstacle(&self) -> bool {
        !matches!(
            self,
            Self::Router(_) | Self::Ports { .. } | Self::Filters(_)
        )
    }
}

impl fmt::Display for LinkRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.link, self.what)
    }
}

/// Links, addresses and routes that a boot needs for all of `routes_to_servers`.
pub fn learn(snapshot: &Snapshot, routes_to_servers: &[ServerRoute]) -> Learned {
    let mut chains = LinkChains::new(snapshot);
    let mut routes = RoutePlans::new(snapshot);
    let mut remarks = Vec::new();
    for to_server in routes_to_servers {
        let name = snapshot
            .link(to_server.link)
            .map_or("?", |link| link.name());
        let mut add_remark = |what: RemarkKind| {
            let remark = LinkRemark {
                link: name.to_owned(),
                what,
            };
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        };
        let followed = match &to_server.reach {
            ReachMethod::Neighbour => chains.follow(to_server.link, false).map(drop),
            // The address first: links for one that cannot be written are useless.
            ReachMethod::Routed(routed) => routes.plan(routed, to_server.link).and_then(|plan| {
                let top = chains.follow(to_server.link, true)?;
                plan.note.clone().into_iter().for_each(&mut add_remark);
                routes.add(top, plan);
                Ok(())
            }),
        };
        if let Err(what) = followed {
            add_remark(what);
        }
    }
    finish(chains, &routes, remarks)
}

fn finish(
    chains: LinkChains<'_>,
    routes: &RoutePlans<'_>,
    mut remarks: Vec<LinkRemark>,
) -> Learned {
    let (mut links, more) = chains.finish();
    remarks.extend(more);
    for link in &mut links {
        routes.apply(link);
    }
    match Definition::new(links) {
        Ok(definition) => Learned {
            definition,
            remarks,
        },
        Err(conflict) => {
            let link = match &conflict {
                LinkConflict::DuplicateName(name) | LinkConflict::Cycle(name) => name.to_string(),
                LinkConflict::TwoMasters { member, .. } => member.to_string(),
            };
            let what = conflict.into();
            remarks.push(LinkRemark { link, what });
            Learned {
                definition: Definition::default(),
                remarks,
            }
        }
    }
}

/// The name of a link as that of a section.
fn section_name(name: &str) -> Result<LinkName, RemarkKind> {
    name.parse().map_err(|_| RemarkKind::Name(name.to_owned()))
}

#[cfg(test)]
mod tests;
