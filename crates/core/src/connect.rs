//! Targets of `--connect`: `ADDRESS:PORT`, split at the last colon as in mandos-client(8mandos), also
//! `[ADDRESS%SCOPE]:PORT`, and names.
//!
//! Several are a [`ServerList`]. Targets that can never be reached are refused here, so that no boot waits for them.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::digits;

mod servers;

pub use servers::{NONE, NamedServer, RefusedServer, ServerList};

/// Longest name of a host, in text form, and longest label (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Longest name of an interface: `IFNAMSIZ` less its final zero (netdevice(7)).
const MAX_INTERFACE: usize = 15;

/// One server to connect to without searching.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Address or name of the host.
    pub host: TargetHost,
    /// TCP port of the server.
    pub port: NonZeroU16,
}

/// The host of a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetHost {
    /// An address without a scope.
    Address(IpAddr),
    /// An IPv6 link-local address (RFC 4291, 2.5.6), on the given interface or on every used one.
    LinkLocal(Ipv6Addr, Option<Scope>),
    /// A name to resolve.
    Name(String),
}

/// The interface of a link-local address (RFC 4007, 11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Index of the interface.
    Index(u32),
    /// Name of the interface.
    Name(String),
}

/// A text is not a target.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// No colon, so no port.
    #[error("expected ADDRESS:PORT, such as 192.0.2.7:4711 or [fe80::1%eth0]:4711; found no port")]
    NoPort,
    /// Not a port from 1 to 65535.
    #[error("expected a port from 1 to 65535, found {0:?}")]
    Port(String),
    /// Neither an address nor a name.
    #[error("expected an IP address or a host name, found {0:?}")]
    Host(String),
    /// An unspecified, multicast or broadcast address.
    #[error("{0} is not the address of a machine")]
    NotUnicast(IpAddr),
    /// A scope that cannot be an interface.
    #[error("expected the name or index of an interface after '%', found {0:?}")]
    Scope(String),
    /// A scope on an address that is not link-local.
    #[error("only an IPv6 link-local address (fe80::) takes an interface after '%', {0} does not")]
    NoScope(IpAddr),
    /// A link-local address without the interface that it needs here.
    #[error("the link-local address {0} needs an interface behind it, such as {0}%eth0")]
    NeedsScope(Ipv6Addr),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::NoPort)?;
        let port = digits::decimal(port).ok_or_else(|| TargetError::Port(port.to_owned()))?;
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match inner {
            Some(inner) if inner.contains(':') => parse_host(inner)?,
            Some(_) => return Err(TargetError::Host(host.to_owned())),
            None => parse_host(host)?,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            TargetHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            TargetHost::Address(address) => write!(f, "{address}")?,
            TargetHost::LinkLocal(address, None) => write!(f, "[{address}]")?,
            TargetHost::LinkLocal(address, Some(Scope::Index(i))) => write!(f, "[{address}%{i}]")?,
            TargetHost::LinkLocal(address, Some(Scope::Name(n))) => write!(f, "[{address}%{n}]")?,
            TargetHost::Name(name) => f.write_str(name)?,
        }
        write!(f, ":{}", self.port)
    }
}

impl FromStr for TargetHost {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        parse_host(text)
    }
}

impl TargetHost {
    /// The host at an address that a name resolved to; `None` for an address that is not unicast.
    pub fn of_address(ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        match ip {
            ip if is_not_unicast(ip) => None,
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Self::LinkLocal(v6, None)),
            ip => Some(Self::Address(ip)),
        }
    }
}

/// True when the kernel could have an interface of this name.
pub fn is_interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

fn parse_host(text: &str) -> Result<TargetHost, TargetError> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        return match scope {
            None if is_host_name(text) => Ok(TargetHost::Name(text.to_owned())),
            _ => Err(TargetError::Host(text.to_owned())),
        };
    };
    let ip = ip.to_canonical();
    if is_not_unicast(ip) {
        return Err(TargetError::NotUnicast(ip));
    }
    match (ip, scope) {
        (IpAddr::V6(v6), scope) if v6.is_unicast_link_local() => Ok(TargetHost::LinkLocal(
            v6,
            scope.map(parse_scope).transpose()?,
        )),
        (ip, None) => Ok(TargetHost::Address(ip)),
        (ip, Some(_)) => Err(TargetError::NoScope(ip)),
    }
}

fn is_not_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    ip.is_unspecified() || ip.is_multicast() || broadcast
}

fn parse_scope(text: &str) -> Result<Scope, TargetError> {
    match text.parse() {
        Ok(0) => Err(TargetError::Scope(text.to_owned())),
        Ok(index) => Ok(Scope::Index(index)),
        Err(_) if is_interface_name(text) => Ok(Scope::Name(text.to_owned())),
        Err(_) => Err(TargetError::Scope(text.to_owned())),
    }
}

/// Follows RFC 1123, 2.1, and accepts the underscore that people use. A last label of digits only was meant as an IPv4
/// address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= MAX_NAME
        && name.split('.').all(label_ok)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<String, TargetError> {
        text.parse::<Target>().map(|target| target.to_string())
    }

    #[test]
    fn the_last_colon_separates_the_port() {
        // The manual's own example: fe80::aede:48ff:fe71:f6f2 port 4711.
        let target = read("fe80::aede:48ff:fe71:f6f2:4711").unwrap();
        assert_eq!(target, "[fe80::aede:48ff:fe71:f6f2]:4711");
        assert_eq!(read("192.0.2.1:80").unwrap(), "192.0.2.1:80");
        assert_eq!(read("server.example.:80").unwrap(), "server.example.:80");
    }

    #[test]
    fn a_scope_goes_with_a_link_local_address_only() {
        assert_eq!(read("fe80::1%eth0:4711").unwrap(), "[fe80::1%eth0]:4711");
        assert_eq!(read("[fe80::1%2]:4711").unwrap(), "[fe80::1%2]:4711");
        let global = "2001:db8::1".parse().unwrap();
        assert_eq!(
            read("[2001:db8::1%eth0]:1"),
            Err(TargetError::NoScope(global))
        );
        assert_eq!(read("fe80::1%0:1"), Err(TargetError::Scope("0".into())));
    }

    #[test]
    fn impossible_targets_are_refused() {
        for text in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "host:x",
            "1.2.3:1",
            "300.1.1.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "[ff02::1]:1",
            "255.255.255.255:1",
            "::ffff:0.0.0.0:1",
            "[host]:1",
            "a b:1",
            "-a:1",
            "a..b:1",
            "[fe80::1:1",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9a-f:.%\\[\\]e]{0,40}|.*") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
