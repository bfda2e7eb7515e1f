//! The address to listen on. The types are those of `core::net`: values, no sockets.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use crate::settings::Problem;

/// An IP address with the interface it is valid on, where it names one (RFC 4007, 11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    ip: IpAddr,
    scope: Option<String>,
}

impl Address {
    /// The address itself.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The part after the `%`: an interface's name or index.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl FromStr for Address {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::Address(text.to_owned());
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        let nonsense = |scope: &str| {
            scope.is_empty() || scope.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if scope.is_some_and(|scope| ip.is_ipv4() || nonsense(scope)) {
            return Err(wrong());
        }
        let scope = scope.map(str::to_owned);
        Ok(Self { ip, scope })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "{}%{scope}", self.ip),
            None => write!(f, "{}", self.ip),
        }
    }
}
