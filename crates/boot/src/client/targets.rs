//! The destinations of `--connect` on the interfaces there are now, with the addresses of names. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use nightlatch_core::connect::{Scope, Target, TargetHost};
use nightlatch_sys::netif::Interface;

use super::schedule::{Destination, DestinationOrigin};

/// The servers that are connected to, and what is known of their names.
#[derive(Debug)]
pub(super) struct Targets {
    targets: Vec<Target>,
    /// The last addresses of each name.
    resolved: BTreeMap<Destination, Vec<IpAddr>>,
}

impl Targets {
    /// No name has resolved yet.
    pub(super) fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            resolved: BTreeMap::new(),
        }
    }

    /// True when there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// `name` has resolved to `addresses`.
    pub(super) fn handle_resolved(&mut self, name: &Destination, addresses: Vec<IpAddr>) {
        self.resolved.insert(name.clone(), addresses);
    }

    /// True when `destination` is one of [`destinations`](Self::destinations).
    pub(super) fn lead_to(
        &self,
        destination: &Destination,
        all: &[Interface],
        used: &[&Interface],
    ) -> bool {
        let wanted = self.destinations(all, used);
        wanted.iter().any(|(wanted, _)| wanted == destination)
    }

    /// The destinations, each once, in the order in which the servers were named. A name stays among them: it is
    /// resolved at each of its turns.
    pub(super) fn destinations(
        &self,
        all: &[Interface],
        used: &[&Interface],
    ) -> Vec<(Destination, Option<DestinationOrigin>)> {
        let mut wanted: Vec<(Destination, Option<DestinationOrigin>)> = Vec::new();
        let mut want = |places: Vec<Destination>, name: Option<&Destination>| {
            for place in places {
                if !wanted.iter().any(|(known, _)| *known == place) {
                    let origin = name.and_then(|name| origin(name, &place));
                    wanted.push((place, origin));
                }
            }
        };
        for target in &self.targets {
            let places = destinations(target, all, used);
            let names = places.clone();
            want(places, None);
            for name in names {
                let addresses = self.resolved.get(&name).into_iter().flatten();
                let hosts = addresses.filter_map(|address| TargetHost::of_address(*address));
                for host in hosts {
                    let port = target.port;
                    let places = destinations(&Target { host, port }, all, used);
                    want(places, Some(&name));
                }
            }
        }
        wanted
    }
}

/// All addresses of a name are one server, until they prove to be several.
fn origin(name: &Destination, place: &Destination) -> Option<DestinationOrigin> {
    match place {
        Destination::Address(address) => Some(DestinationOrigin {
            source: address.ip(),
            name: name.to_string(),
        }),
        Destination::Name(..) => None,
    }
}

/// The destinations of `target`. None for an address on an interface that does not exist yet.
///
/// A link-local address without a scope is tried on every used interface: with one `--interface`
/// on that one, as mandos-client(8mandos) has it.
fn destinations(target: &Target, all: &[Interface], used: &[&Interface]) -> Vec<Destination> {
    let port = target.port.get();
    let on =
        |address, scope| Destination::Address(SocketAddrV6::new(address, port, 0, scope).into());
    match &target.host {
        TargetHost::Address(address) => vec![Destination::Address(SocketAddr::new(*address, port))],
        TargetHost::Name(name) => vec![Destination::Name(name.clone(), port)],
        TargetHost::LinkLocal(address, Some(Scope::Index(index))) => vec![on(*address, *index)],
        TargetHost::LinkLocal(address, Some(Scope::Name(name))) => all
            .iter()
            .filter(|interface| interface.name == *name)
            .map(|interface| on(*address, interface.index))
            .collect(),
        TargetHost::LinkLocal(address, None) => used
            .iter()
            .map(|interface| on(*address, interface.index))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use nightlatch_sys::netif::Flags;

    use super::*;

    fn interfaces() -> [Interface; 2] {
        [(2, "a"), (3, "b")].map(|(index, name)| Interface {
            index,
            name: name.to_owned(),
            flags: Flags::default(),
        })
    }

    fn targets(texts: &[&str]) -> Targets {
        Targets::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn places(targets: &Targets, used: &[&Interface]) -> Vec<String> {
        let found = targets.destinations(&interfaces(), used);
        found.iter().map(|(to, _)| to.to_string()).collect()
    }

    #[test]
    fn a_link_local_address_is_tried_on_each_used_interface() {
        let all = interfaces();
        let used = [&all[0], &all[1]];
        let one = |target: &str, used: &[&Interface]| places(&targets(&[target]), used);
        assert_eq!(one("fe80::1:5", &used), ["[fe80::1%2]:5", "[fe80::1%3]:5"]);
        assert_eq!(one("[fe80::1%b]:5", &used), ["[fe80::1%3]:5"]);
        assert_eq!(one("[fe80::1%c]:5", &used), [""; 0]);
        assert_eq!(one("::1:5", &[]), ["[::1]:5"]);
        assert_eq!(one("localhost:5", &[]), ["localhost:5"]);
    }

    #[test]
    fn targets_lead_to_the_places_that_are_tried_for_them() {
        let all = interfaces();
        let servers = targets(&["192.0.2.1:5", "fe80::1:5"]);
        let lead_to = |place: &str| {
            let place = Destination::Address(place.parse().unwrap());
            servers.lead_to(&place, &all, &[&all[1]])
        };
        assert!(lead_to("192.0.2.1:5") && lead_to("[fe80::1%3]:5"));
        for other in ["192.0.2.1:6", "192.0.2.2:5", "[fe80::1%2]:5"] {
            assert!(!lead_to(other), "{other}");
        }
    }

    #[test]
    fn several_servers_are_tried_each_place_once() {
        let all = interfaces();
        let servers = targets(&["192.0.2.1:5", "fe80::1:5", "[fe80::1%a]:5", "192.0.2.1:6"]);
        assert_eq!(
            places(&servers, &[&all[0], &all[1]]),
            [
                "192.0.2.1:5",
                "[fe80::1%2]:5",
                "[fe80::1%3]:5",
                "192.0.2.1:6"
            ]
        );
    }

    #[test]
    fn the_addresses_of_a_name_are_tried_beside_it_and_are_one_server() {
        let all = interfaces();
        let mut servers = targets(&["home.example:5", "192.0.2.1:5"]);
        let name = Destination::Name("home.example".to_owned(), 5);
        let addresses = [
            "192.0.2.2",
            "192.0.2.1",
            "fe80::1",
            "::ffff:192.0.2.2",
            "ff02::1",
        ];
        let addresses = addresses.map(|it| it.parse().unwrap()).to_vec();
        servers.handle_resolved(&name, addresses);
        let found = servers.destinations(&all, &[&all[1]]);
        let destinations: Vec<(String, Option<&str>)> = found
            .iter()
            .map(|(to, origin)| (to.to_string(), origin.as_ref().map(|it| it.name.as_str())))
            .collect();
        let one = Some("home.example:5");
        assert_eq!(
            destinations,
            [
                ("home.example:5".to_owned(), None),
                ("192.0.2.2:5".to_owned(), one),
                ("192.0.2.1:5".to_owned(), one),
                ("[fe80::1%3]:5".to_owned(), one),
            ]
        );
        // The next answer replaces this one.
        servers.handle_resolved(&name, vec!["192.0.2.3".parse().unwrap()]);
        assert_eq!(
            places(&servers, &[]),
            ["home.example:5", "192.0.2.3:5", "192.0.2.1:5"]
        );
    }
}
