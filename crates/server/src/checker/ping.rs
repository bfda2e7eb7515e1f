//! `builtin:ping`: an ICMP or ICMPv6 echo without a process.
//!
//! Names, sockets and time; which reply counts is decided in `nightlatch_proto::echo`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nightlatch_core::checker::ping_target;
use nightlatch_core::connect::{TargetError, TargetHost};
use nightlatch_proto::echo::{EchoExchange, MESSAGE_BYTES};
use nightlatch_sys::ping::{self, PingSocketError};
use nightlatch_sys::random;
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::lookup::{first_success, look_up};

/// Longest time of a check, from the name to the answer, as of an SSH host key.
const LIMIT: Duration = Duration::from_secs(10);

/// Time between two requests, and from the last one to the end.
const PACE: Duration = Duration::from_secs(1);

/// Most requests to one address. One or two may be lost. A machine that is away occupies one of the concurrent checks for
/// five seconds: fping(8) with its defaults waits four.
const REQUESTS: u16 = 5;

/// The command that lets the server ping.
pub(super) const ALLOW: &str = "echo 'net.ipv4.ping_group_range = 0 2147483647' > /etc/sysctl.d/nightlatchd.conf && sysctl --system; or use another checker";

/// The machine did not answer a ping.
#[derive(Debug, thiserror::Error)]
pub(super) enum PingError {
    #[error("its host cannot be pinged: {0}")]
    Host(#[from] TargetError),
    #[error("cannot look its host up: {0}")]
    Name(#[source] io::Error),
    #[error("its host has no address that can be pinged")]
    NoAddress,
    #[error(transparent)]
    Socket(#[from] PingSocketError),
    #[error("cannot ping it: {0}")]
    Network(#[from] io::Error),
    #[error("it answered none of {REQUESTS} pings")]
    Silent,
    #[error("no answer to a ping within {} seconds, the lookup of its name included", .0.as_secs())]
    Late(Duration),
}

impl PingError {
    /// True when the kernel does not let this server ping any host.
    pub(super) fn is_not_allowed(&self) -> bool {
        matches!(self, Self::Socket(PingSocketError::NotAllowed { .. }))
    }

    /// True when the kernel let this server ping.
    pub(super) fn shows_permission(&self) -> bool {
        matches!(self, Self::Silent | Self::Network(_))
    }
}

/// The reason why no host can be pinged; `None` when the kernel allows it.
pub(super) fn obstacle() -> Option<PingSocketError> {
    // The permission is the same for IPv6.
    ping::socket(Ipv4Addr::LOCALHOST.into())
        .err()
        .filter(|error| matches!(error, PingSocketError::NotAllowed { .. }))
}

/// Succeeds only after an address of `host` has answered. May be dropped at any time; a lookup under way then ends by
/// itself.
pub(super) async fn check(host: &str) -> Result<(), PingError> {
    within(LIMIT, host).await
}

async fn within(limit: Duration, host: &str) -> Result<(), PingError> {
    timeout(limit, reach(host))
        .await
        .unwrap_or(Err(PingError::Late(limit)))
}

async fn reach(host: &str) -> Result<(), PingError> {
    let target = ping_target(host)?;
    let may_be_here = match &target {
        TargetHost::Name(name) => name == "localhost",
        TargetHost::Address(_) | TargetHost::LinkLocal(..) => true,
    };
    // There are no ports.
    let addresses = look_up(target, 0).await.map_err(PingError::Name)?;
    let addresses = addresses
        .into_iter()
        .filter_map(|address| canonical(address, may_be_here));
    first_success(addresses, exchange, PingError::is_not_allowed)
        .await
        .map_err(|error| error.unwrap_or(PingError::NoAddress))
}

/// The address as it is pinged; `None` for one that is no machine's. The server itself answers 0.0.0.0 and loopback
/// addresses, to which some resolvers lead unwanted names, and /etc/hosts the name of the server.
fn canonical(address: SocketAddr, may_be_here: bool) -> Option<SocketAddr> {
    TargetHost::of_address(address.ip())?;
    let ip = address.ip().to_canonical();
    if ip.is_loopback() && !may_be_here {
        return None;
    }
    Some(match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, 0),
        IpAddr::V6(_) => address,
    })
}

async fn exchange(address: SocketAddr) -> Result<(), PingError> {
    let socket = UdpSocket::from_std(ping::socket(address.ip())?)?;
    let id = socket.local_addr()?.port();
    let mut echo = EchoExchange::new(address, id, random::bytes()?);
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fault = None;
    // One byte more than a reply has, so that a longer message is not taken for one.
    let mut bytes = [0; MESSAGE_BYTES + 1];
    loop {
        tokio::select! {
            _ = pace.tick() => {
                if echo.sent() == REQUESTS {
                    return Err(fault.map_or(PingError::Silent, PingError::Network));
                }
                // The network may come back before the last request.
                fault = socket.send_to(&echo.next_request(), address).await.err();
            }
            received = socket.recv_from(&mut bytes) => {
                let (count, source) = received?;
                if echo.is_answered_by(source, bytes.get(..count).unwrap_or_default()) {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
