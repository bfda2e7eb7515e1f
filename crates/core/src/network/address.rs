//! Names and addresses of links.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use crate::digits;

/// Longest name of an interface: `IFNAMSIZ` less its final zero (netdevice(7)).
const MAX_NAME: usize = 15;

/// The name of a link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkName(String);

/// A text without the expected format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {0}")]
pub struct FormatError(
    /// The expected format, with an example.
    pub &'static str,
);

impl LinkName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when the kernel could have an interface of this name.
    pub fn is_valid(name: &str) -> bool {
        (1..=MAX_NAME).contains(&name.len())
            && !matches!(name, "." | "..")
            && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    }
}

impl FromStr for LinkName {
    type Err = FormatError;

    /// Also refuses patterns that the kernel completes by a number (`eth%d`), and `DEFAULT`, which cannot be the name
    /// of a section here.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        match Self::is_valid(text) && !text.contains('%') && text != crate::ini::DEFAULT {
            true => Ok(Self(text.to_owned())),
            false => Err(FormatError(
                "the name of a network interface (at most 15 bytes)",
            )),
        }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A hardware address of six bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        const WRONG: FormatError = FormatError("a hardware address such as 52:54:00:12:34:56");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().and_then(|part| digits::hex(part.as_bytes()));
            [*byte] = part.ok_or(WRONG)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(WRONG),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// An address with the length of its network prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cidr {
    /// The whole address, host bits included.
    pub ip: IpAddr,
    /// Prefix length: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub bits: u8,
}

impl Cidr {
    /// The network: the address with its host bits cleared.
    #[must_use]
    pub fn network(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits.min(32)));
                Ipv4Addr::from_bits(v4.to_bits() & mask.unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits.min(128)));
                Ipv6Addr::from_bits(v6.to_bits() & mask.unwrap_or(0)).into()
            }
        };
        Self { ip, ..self }
    }

    /// True when `ip` is in the same network.
    pub fn covers(self, ip: IpAddr) -> bool {
        let bits = self.bits;
        self.ip.is_ipv4() == ip.is_ipv4() && Self { ip, bits }.network() == self.network()
    }
}

impl FromStr for Cidr {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let read = || {
            let (ip, bits) = text.split_once('/')?;
            let ip: IpAddr = ip.parse().ok()?;
            let bits = digits::decimal(bits)?;
            let most = if ip.is_ipv4() { 32 } else { 128 };
            (bits <= most).then_some(Self { ip, bits })
        };
        read().ok_or(FormatError(
            "an address with the length of its network, such as 192.0.2.7/24",
        ))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// A route: `default via 192.0.2.1`, `198.51.100.0/24 via 192.0.2.1 onlink src 192.0.2.7`, `198.51.100.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    /// Destination; `None` for a default route, which has a gateway.
    pub to: Option<Cidr>,
    /// Gateway; `None` when the destination is on the link.
    pub via: Option<IpAddr>,
    /// True when the gateway is on the link although no address of the link covers it.
    pub onlink: bool,
    /// Source address of packets; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
}

impl FromStr for Route {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let read = || {
            let mut words = text.split_whitespace();
            let to = match words.next()? {
                "default" => None,
                network => Some(network.parse::<Cidr>().ok()?),
            };
            let mut words = words.peekable();
            let via = match words.next_if_eq(&"via") {
                Some(_) => Some(words.next()?.parse::<IpAddr>().ok()?),
                None => None,
            };
            let (mut onlink, mut source) = (false, None);
            while let Some(word) = words.next() {
                match word {
                    "onlink" if !onlink => onlink = true,
                    "src" if source.is_none() => source = Some(words.next()?.parse().ok()?),
                    _ => return None,
                }
            }
            let route = Self {
                to,
                via,
                onlink,
                source,
            };
            route.checked()
        };
        read().ok_or(FormatError(
            "a route such as \"default via 192.0.2.1\" or \"198.51.100.0/24 via 192.0.2.1 onlink\"",
        ))
    }
}

impl Route {
    /// `None` for a default route without a gateway, or with a gateway or source of another family.
    fn checked(self) -> Option<Self> {
        let fits = match (self.to, self.via) {
            (None, via) => via.is_some(),
            (Some(to), Some(via)) => to.ip.is_ipv4() == via.is_ipv4(),
            // Without a gateway, `onlink` is refused: it would mean nothing.
            (Some(_), None) => !self.onlink,
        };
        let source = self.source.is_none_or(|it| it.is_ipv4() == self.is_ipv4());
        (fits && source).then_some(self)
    }

    /// True for an IPv4 route, false for IPv6.
    pub fn is_ipv4(&self) -> bool {
        let of_family = self.via.or(self.to.map(|to| to.ip));
        of_family.is_some_and(|ip| ip.is_ipv4())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            None => f.write_str("default")?,
            Some(to) => write!(f, "{to}")?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        match self.source {
            Some(source) => write!(f, " src {source}"),
            None => Ok(()),
        }
    }
}
