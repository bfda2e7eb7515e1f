//! SSH: public host keys in files and on the wire.
//!
//! Pure. The key exchange itself belongs to `nightlatch-proto`.

mod host_key;
pub mod wire;
pub use host_key::{HostKey, HostKeyError, HostKeyKind, HostPublicKey, fingerprint};

use crate::connect::{Target, TargetError};

/// Port of SSH servers (RFC 4253, 4).
const PORT: u16 = 22;

/// Parses the address of an SSH server: `HOST`, `HOST:PORT`, an IPv6 address, or `[ADDRESS]:PORT`.
pub fn parse_endpoint(host: &str) -> Result<Target, TargetError> {
    let with_port = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, "")) => format!("{host}:{PORT}"),
        Some(_) => host.to_owned(),
        None if host.matches(':').count() == 1 => host.to_owned(),
        None if host.contains(':') => format!("[{host}]:{PORT}"),
        None => format!("{host}:{PORT}"),
    };
    with_port.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_port_of_their_own_or_the_usual_one() {
        for (host, target) in [
            ("tower.example", "tower.example:22"),
            ("tower.example:2222", "tower.example:2222"),
            ("192.0.2.1", "192.0.2.1:22"),
            ("192.0.2.1:2222", "192.0.2.1:2222"),
            ("2001:db8::1", "[2001:db8::1]:22"),
            ("[2001:db8::1]", "[2001:db8::1]:22"),
            ("[2001:db8::1]:2222", "[2001:db8::1]:2222"),
            ("fe80::1%eth0", "[fe80::1%eth0]:22"),
        ] {
            assert_eq!(parse_endpoint(host).unwrap().to_string(), target, "{host}");
        }
        for host in [
            "",
            "a b",
            "-x",
            "tower:",
            "tower:0",
            "tower:65536",
            "[::1",
            "[::1]x",
            "[tower]:22",
        ] {
            assert!(parse_endpoint(host).is_err(), "{host}");
        }
    }
}
