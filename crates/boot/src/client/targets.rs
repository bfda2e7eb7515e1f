//! What `--connect` means on the interfaces there are now. Pure.

use std::net::{SocketAddr, SocketAddrV6};

use nightlatch_sys::netif::Interface;

use super::schedule::Destination;
use nightlatch_core::connect::{Host, Scope, Target};

/// Where to connect for `target`. Nothing for an address on an interface that does not exist yet.
///
/// A link-local address without a scope is tried on every used interface: with one `--interface`
/// on that one, as mandos-client(8mandos) has it.
pub(super) fn destinations<'a>(
    target: &Target,
    all: &[Interface],
    used: impl Iterator<Item = &'a Interface>,
) -> Vec<Destination> {
    let port = target.port.get();
    let on =
        |address, scope| Destination::Address(SocketAddrV6::new(address, port, 0, scope).into());
    match &target.host {
        Host::Address(address) => vec![Destination::Address(SocketAddr::new(*address, port))],
        Host::Name(name) => vec![Destination::Name(name.clone(), port)],
        Host::LinkLocal(address, Some(Scope::Index(index))) => vec![on(*address, *index)],
        Host::LinkLocal(address, Some(Scope::Name(name))) => all
            .iter()
            .filter(|interface| interface.name == *name)
            .map(|interface| on(*address, interface.index))
            .collect(),
        Host::LinkLocal(address, None) => used
            .map(|interface| on(*address, interface.index))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_sys::netif::Flags;

    use super::*;

    #[test]
    fn a_link_local_address_is_tried_on_each_used_interface() {
        let interface = |index, name: &str| Interface {
            index,
            name: name.to_owned(),
            flags: Flags::default(),
        };
        let all = [interface(2, "a"), interface(3, "b")];
        let places = |target: &str, used: &[Interface]| -> Vec<String> {
            let found = destinations(&target.parse().unwrap(), &all, used.iter());
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            places("fe80::1:5", &all),
            ["[fe80::1%2]:5", "[fe80::1%3]:5"]
        );
        assert_eq!(places("[fe80::1%b]:5", &all), ["[fe80::1%3]:5"]);
        assert_eq!(places("[fe80::1%c]:5", &all), [""; 0]);
        assert_eq!(places("::1:5", &[]), ["[::1]:5"]);
        assert_eq!(places("localhost:5", &[]), ["localhost:5"]);
    }
}
