//! A place where a server may be: one that `connect` names, or an address that was found on a local network.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use nightlatch_core::connect::{Scope, Target, TargetHost};
use nightlatch_sys::netif::{self, Interface};

/// The greatest number of addresses of one place. Whoever answers for a name could name thousands, and each is tried.
const MAX_ADDRESSES: usize = 16;

/// A place where a server may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Named in `connect`.
    Named(Target),
    /// Announced on a local network, or remembered.
    Found(SocketAddr),
}

/// The place has no address now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("cannot resolve the name")]
    Resolve(#[source] io::Error),
    #[error("cannot list the network interfaces")]
    Interfaces(#[source] io::Error),
    #[error("the name resolves to no address of a machine")]
    Nobody,
    #[error("there is no such network interface, or it is down")]
    NoInterface,
}

impl Place {
    /// The place of a server that an earlier run has told there.
    pub(crate) fn remembered(target: &Target) -> Self {
        match target.host {
            TargetHost::Address(address) => {
                Self::Found(SocketAddr::new(address, target.port.get()))
            }
            // Its interface is not remembered: each is tried.
            TargetHost::LinkLocal(..) | TargetHost::Name(_) => Self::Named(target.clone()),
        }
    }

    pub(crate) fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    /// True when the resolver of names has to be asked for its addresses.
    pub(crate) fn is_name(&self) -> bool {
        match self {
            Self::Named(target) => matches!(target.host, TargetHost::Name(_)),
            Self::Found(_) => false,
        }
    }

    /// The addresses of the place at this moment, in order of preference. Blocks for as long as the resolver of names does.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, PlaceError> {
        let target = match self {
            Self::Found(address) => return Ok(vec![*address]),
            Self::Named(target) => target,
        };
        let port = target.port.get();
        let mut hosts = vec![target.host.clone()];
        if let TargetHost::Name(name) = &target.host {
            let found = (name.as_str(), port).to_socket_addrs();
            let found = found.map_err(PlaceError::Resolve)?;
            hosts = found.filter_map(|it| host(it.ip())).collect();
            if hosts.is_empty() {
                return Err(PlaceError::Nobody);
            }
        }
        let interfaces = if hosts
            .iter()
            .any(|it| matches!(it, TargetHost::LinkLocal(..)))
        {
            netif::interfaces().map_err(PlaceError::Interfaces)?
        } else {
            Vec::new()
        };
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in hosts
            .iter()
            .flat_map(|it| on_interfaces(it, port, &interfaces))
        {
            if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(PlaceError::NoInterface);
        }
        Ok(addresses)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(target) => target.fmt(f),
            Self::Found(address) => address.fmt(f),
        }
    }
}

fn host(address: IpAddr) -> Option<TargetHost> {
    TargetHost::of_address(address.to_canonical())
}

/// The addresses of one host. A link-local address without an interface is tried on each that is up, as the boot
/// client does.
fn on_interfaces(host: &TargetHost, port: u16, interfaces: &[Interface]) -> Vec<SocketAddr> {
    let on = |address, scope| SocketAddrV6::new(address, port, 0, scope).into();
    match host {
        TargetHost::Address(address) => vec![SocketAddr::new(*address, port)],
        TargetHost::LinkLocal(address, Some(Scope::Index(index))) => vec![on(*address, *index)],
        TargetHost::LinkLocal(address, scope) => {
            let fits = |interface: &&Interface| match scope {
                Some(Scope::Name(name)) => interface.name == *name,
                _ => interface.flags.up() && !interface.flags.loopback(),
            };
            let fitting = interfaces.iter().filter(fits);
            fitting.map(|it| on(*address, it.index)).collect()
        }
        // A name resolves to addresses, which is done by the caller.
        TargetHost::Name(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_sys::netif::Flags;

    use super::*;

    fn interface(index: u32, name: &str, bits: u32) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            flags: Flags::from_bits(bits),
        }
    }

    #[test]
    fn a_link_local_address_is_tried_on_each_interface_that_is_up() {
        const UP: u32 = 0x1;
        const LOOPBACK: u32 = 0x8;
        let all = [
            interface(1, "lo", UP | LOOPBACK),
            interface(2, "a", UP),
            interface(3, "b", UP),
            interface(4, "c", 0),
        ];
        let on = |text: &str| -> Vec<String> {
            let target: Target = text.parse().unwrap();
            let addresses = on_interfaces(&target.host, 5, &all);
            addresses.iter().map(ToString::to_string).collect()
        };
        assert_eq!(on("fe80::1:5"), ["[fe80::1%2]:5", "[fe80::1%3]:5"]);
        assert_eq!(on("[fe80::1%c]:5"), ["[fe80::1%4]:5"]);
        assert_eq!(on("[fe80::1%9]:5"), ["[fe80::1%9]:5"]);
        assert_eq!(on("[fe80::1%d]:5"), [""; 0]);
        assert_eq!(on("192.0.2.1:5"), ["192.0.2.1:5"]);
    }

    #[test]
    fn a_name_is_resolved_when_it_is_tried() {
        let place = Place::Named("localhost:5".parse().unwrap());
        let addresses = place.addresses().unwrap();
        assert!(
            addresses
                .iter()
                .all(|it| it.ip().is_loopback() && it.port() == 5)
        );
        assert_eq!(place.to_string(), "localhost:5");
    }
}
