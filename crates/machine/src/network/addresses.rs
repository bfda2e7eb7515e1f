//! The addresses of the server that a boot connects to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use nightlatch_core::connect::{Scope, Target, TargetHost};

/// A server's name or address on the running system.
pub(super) enum BootTarget {
    /// Addresses that the kernel routes.
    Routed(Vec<SocketAddr>),
    /// A neighbour, on the named link or on any.
    LinkLocal(Ipv6Addr, Option<Scope>),
    /// A name that the running system does not resolve, and why.
    Unknown(String),
}

/// Resolves `target` as the running system does.
pub(super) fn boot_targets(target: &Target) -> BootTarget {
    let port = target.port.get();
    match &target.host {
        TargetHost::Address(ip) => BootTarget::Routed(vec![SocketAddr::new(*ip, port)]),
        TargetHost::LinkLocal(ip, scope) => BootTarget::LinkLocal(*ip, scope.clone()),
        TargetHost::Name(name) => match (name.as_str(), port).to_socket_addrs() {
            Ok(found) => {
                let mut found: Vec<SocketAddr> = found.collect();
                let mut known: Vec<IpAddr> = Vec::new();
                found.retain(|it| {
                    let is_new = !known.contains(&it.ip());
                    known.push(it.ip());
                    is_new
                });
                BootTarget::Routed(found)
            }
            Err(error) => BootTarget::Unknown(format!("cannot resolve {name}: {error}")),
        },
    }
}
