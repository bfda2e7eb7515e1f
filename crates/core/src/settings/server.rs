//! The server's own settings: `[DEFAULT]` of `nightlatch.conf` or `mandos.conf` (mandos.conf(5)).

use std::path::PathBuf;

/// Everything `[DEFAULT]` can say. The command line overrides it key by key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSettings {
    /// Listen and announce on this interface only. Default: all.
    pub interface: Option<String>,
    /// Listen on this address only. Default: all.
    pub address: Option<String>,
    /// TCP port; `None` lets the kernel choose.
    pub port: Option<u16>,
    /// GnuTLS priority string, to be understood by `nightlatch-proto`.
    pub priority: Option<String>,
    /// Service name announced. Default `Mandos`, for stock peers show it.
    pub servicename: String,
    /// Log at debug level to standard error.
    pub debug: bool,
    /// Log level when not debugging.
    pub debuglevel: Option<String>,
    /// Offer the D-Bus interface.
    pub use_dbus: bool,
    /// Use IPv6 (dual stack); otherwise IPv4 only.
    pub use_ipv6: bool,
    /// Read the saved state at start.
    pub restore: bool,
    /// Where the state lives. Default `/var/lib/nightlatch`.
    pub statedir: PathBuf,
    /// A listening socket inherited as this descriptor.
    pub socket: Option<i32>,
    /// Accepted for Mandos's sake; the server never daemonises.
    pub foreground: bool,
    /// Announce by DNS-SD.
    pub zeroconf: bool,
    /// Nightlatch's own: at most this many checkers at once. Default 64.
    pub concurrent_checks: usize,
    /// Nightlatch's own: at most this many connections at once. Default 4096.
    pub max_connections: usize,
    /// Nightlatch's own: at most this many connections at once from one address. Default 32.
    pub max_connections_per_source: usize,
}
