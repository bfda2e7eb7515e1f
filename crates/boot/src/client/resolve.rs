//! Finds the addresses of a server's name, as the C library does: by /etc/hosts, and by the resolvers that
//! /etc/resolv.conf names by now (docs/decisions/0119).
//!
//! It blocks for as long as the resolvers want. It runs in the process of a try, and the schedule ends that in time.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use nightlatch_core::connect::TargetHost;

use crate::files::read_bounded;

/// Most addresses of one name. Whoever answers for it could name thousands, and each is tried.
pub(super) const MAX_ADDRESSES: usize = 16;

/// Written by the boot system when the network brings resolvers.
const RESOLVERS: &str = "/etc/resolv.conf";

/// The longest such file that makes sense.
const MAX_FILE: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// Nobody can be asked.
    #[error("cannot resolve the name: /etc/resolv.conf names no resolver")]
    NoResolver,
    /// No resolver knows it, or none answered.
    #[error("cannot resolve the name")]
    Failed(#[source] io::Error),
    /// Nothing but addresses that are no machine's.
    #[error("the name resolves to no address of a machine")]
    Nobody,
}

/// The addresses of `name`, each once, in the order in which the C library would use them.
pub(super) fn resolve(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        match read_bounded(Path::new(RESOLVERS), MAX_FILE) {
            Ok(text) if names_resolver(&text) => ResolveError::Failed(error),
            _ => ResolveError::NoResolver,
        }
    })?;
    let mut addresses = Vec::new();
    for address in found.map(|it| it.ip().to_canonical()) {
        let is_new = !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES;
        if is_new && TargetHost::of_address(address).is_some() {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(ResolveError::Nobody),
        false => Ok(addresses),
    }
}

/// resolv.conf(5): a keyword at the beginning of a line, and white space.
fn names_resolver(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        let rest = line.strip_prefix(b"nameserver").unwrap_or_default();
        rest.first().is_some_and(u8::is_ascii_whitespace) && !rest.trim_ascii().is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_named_by_its_keyword() {
        for (text, named) in [
            ("", false),
            ("# nameserver 192.0.2.1\nsearch example\n", false),
            ("nameservers 192.0.2.1\nnameserver \n", false),
            ("search example\nnameserver\t192.0.2.1", true),
        ] {
            assert_eq!(names_resolver(text.as_bytes()), named, "{text:?}");
        }
    }
}
