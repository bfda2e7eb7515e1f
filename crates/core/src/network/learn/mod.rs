//! From what the kernel shows to the links, addresses and routes that a boot needs to reach a server
//! (docs/decisions/0117).
//!
//! Pure. Never guesses: a way that cannot be followed to an interface of the machine is left out, with a
//! remark that says where it ended.

mod addressing;
mod chain;

use std::fmt;

use core::net::IpAddr;

use super::snapshot::Snapshot;
use super::{Definition, LinkName, Misfit};
use addressing::Routes;
use chain::Chains;

/// A way on which the running system reaches a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// Index of the link that packets to it leave by.
    pub link: u32,
    /// What the link needs for that.
    pub reach: Reach,
}

/// How a server is reached on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// By a link-local address, which the boot client has on every link.
    Neighbour,
    /// By an address, which the kernel routes.
    Routed(Routed),
}

/// How the kernel routes packets to a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routed {
    /// The server's address.
    pub to: IpAddr,
    /// Length of the prefix that matched.
    pub prefix: u8,
    /// The gateway.
    pub via: Option<IpAddr>,
    /// This machine's address for it.
    pub source: Option<IpAddr>,
    /// True when the route was made by an administrator, and comes by no DHCP.
    pub is_static: bool,
}

/// What was learned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Learned {
    /// What `network.conf` is to say.
    pub definition: Definition,
    /// What was left out, and what an administrator should know.
    pub remarks: Vec<Remark>,
}

/// Something to be told about what was learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// The link on which a server is reached.
    pub link: String,
    /// What it is.
    pub what: What,
}

/// What is to be told of a link.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum What {
    /// There is no such link any more.
    #[error("it is not there any more")]
    Gone,
    /// A link of a kind that a boot cannot make.
    #[error("{link} is a link of the kind {kind}, which a boot can only make by a network hook")]
    Kind {
        /// The link below it, or itself.
        link: String,
        /// The kind.
        kind: String,
    },
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
    /// Links that do not fit together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The address is this machine's own.
    #[error("{0} is an address of this machine")]
    Own(IpAddr),
    /// No address to speak from.
    #[error("there is no address to reach {0} from")]
    NoSource(IpAddr),
    /// An IPv4 route by an IPv6 gateway.
    #[error("{to} is reached by the gateway {via}, which a boot cannot use for it")]
    OtherFamily {
        /// The server.
        to: IpAddr,
        /// The gateway.
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
    Ports {
        /// The bridge.
        bridge: String,
        /// The port that is taken.
        port: String,
    },
    /// A bridge that filters VLANs.
    #[error(
        "the bridge {0} filters VLANs: if the server is in one that its port tags, describe that VLAN by \
         hand"
    )]
    Filters(String),
}

impl What {
    /// True when the way was left out for it.
    pub fn is_obstacle(&self) -> bool {
        !matches!(
            self,
            Self::Router(_) | Self::Ports { .. } | Self::Filters(_)
        )
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.link, self.what)
    }
}

/// What a boot needs for all of `ways`.
pub fn learn(snapshot: &Snapshot, ways: &[Way]) -> Learned {
    let mut chains = Chains::new(snapshot);
    let mut routes = Routes::new(snapshot);
    let mut remarks = Vec::new();
    for way in ways {
        let name = snapshot.link(way.link).map_or("?", |link| link.name());
        let mut tell = |what: What| {
            let remark = Remark {
                link: name.to_owned(),
                what,
            };
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        };
        let followed = match &way.reach {
            Reach::Neighbour => chains.follow(way.link, false).map(drop),
            // Links for an address that cannot be written would be of no use.
            Reach::Routed(routed) => routes.plan(routed, way.link).and_then(|plan| {
                let top = chains.follow(way.link, true)?;
                plan.note.clone().into_iter().for_each(&mut tell);
                routes.add(top, plan);
                Ok(())
            }),
        };
        if let Err(what) = followed {
            tell(what);
        }
    }
    finish(chains, &routes, remarks)
}

fn finish(chains: Chains<'_>, routes: &Routes<'_>, mut remarks: Vec<Remark>) -> Learned {
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
        Err(misfit) => {
            let link = match &misfit {
                Misfit::Twice(name) | Misfit::Circle(name) => name.to_string(),
                Misfit::TwoMasters { member, .. } => member.to_string(),
            };
            let what = misfit.into();
            remarks.push(Remark { link, what });
            Learned {
                definition: Definition::default(),
                remarks,
            }
        }
    }
}

/// The name of a link as a section's.
fn section_name(name: &str) -> Result<LinkName, What> {
    name.parse().map_err(|_| What::Name(name.to_owned()))
}

#[cfg(test)]
mod tests;
