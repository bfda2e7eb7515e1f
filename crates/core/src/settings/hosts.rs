//! The hosts to which a card's agent signs logins, as `[USER@]HOST[:PORT]`.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::Problem;
use super::one_section::{filled, words};
use crate::connect::is_interface_name;
use crate::digits;

/// Port of SSH servers (RFC 4253, 4).
const SSH_PORT: u16 = 22;

/// The longest name of a host in text form (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// A host to which logins are signed, by the name under which its key is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostRule {
    /// The user to become there; `None` for each one.
    pub user: Option<String>,
    /// The name or address as it is written, in lower case and without brackets. It is never resolved.
    pub host: String,
    /// The port, which is a part of the name only: an agent cannot see it. `None` for port 22.
    pub port: Option<NonZeroU16>,
}

/// A text is no such host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected [USER@]HOST[:PORT], an IPv6 address in brackets and no wildcards")]
pub struct NoHostRule;

impl HostRule {
    /// The name under which ssh(1) writes it into known_hosts.
    pub fn known_as(&self) -> String {
        match self.port {
            Some(port) => format!("[{}]:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

impl FromStr for HostRule {
    type Err = NoHostRule;

    fn from_str(text: &str) -> Result<Self, NoHostRule> {
        // A user of a directory may have an @ in its name; a host has none.
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) if is_user(user) => (Some(user.to_owned()), place),
            Some(_) => return Err(NoHostRule),
            None => (None, text),
        };
        let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, rest))) if is_ipv6(host) => (host, rest.strip_prefix(':').ok_or(rest)),
            Some(_) => return Err(NoHostRule),
            None => match place.split_once(':') {
                Some((host, port)) if is_name(host) => (host, Ok(port)),
                None if is_name(place) => (place, Err("")),
                _ => return Err(NoHostRule),
            },
        };
        let port: Option<NonZeroU16> = match port {
            Ok(port) => Some(digits::decimal(port).ok_or(NoHostRule)?),
            Err("") => None,
            Err(_) => return Err(NoHostRule),
        };
        Ok(Self {
            user,
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| port.get() != SSH_PORT),
        })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The hosts of a list; none when it is empty.
pub(super) fn hosts(raw: &str) -> Result<Vec<HostRule>, Problem> {
    let hosts: Result<Vec<HostRule>, Problem> = words(raw)
        .map(|word| {
            word.parse()
                .map_err(|NoHostRule| Problem::Host(word.to_owned()))
        })
        .collect();
    match (hosts?, filled(raw)) {
        // Commas alone are no list: without one, logins are signed everywhere.
        (hosts, Some(raw)) if hosts.is_empty() => Err(Problem::Host(raw.to_owned())),
        (hosts, _) => Ok(hosts),
    }
}

fn is_user(text: &str) -> bool {
    !text.is_empty()
        && !text
            .chars()
            .any(|letter| letter.is_control() || letter.is_whitespace())
}

fn is_name(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    // Four numbers with dots are an address, or a mistake.
    let looks_like_address = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_good_address = text.parse::<IpAddr>().is_ok() || !looks_like_address;
    let begins_well = text.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    begins_well && text.len() <= MAX_NAME && text.chars().all(is_letter) && is_good_address
}

fn is_ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, scope)) => address.parse::<Ipv6Addr>().is_ok() && is_interface_name(scope),
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_known_as_ssh_writes_it() {
        for (text, user, known_as) in [
            ("web1", None, "web1"),
            ("Web1.Example:22", None, "web1.example"),
            ("backup@web1:2222", Some("backup"), "[web1]:2222"),
            ("a@b@web1", Some("a@b"), "web1"),
            ("192.0.2.1:2222", None, "[192.0.2.1]:2222"),
            ("[2001:db8::1]", None, "2001:db8::1"),
            (
                "root@[2001:DB8::1]:2222",
                Some("root"),
                "[2001:db8::1]:2222",
            ),
            ("[fe80::1%eth0]", None, "fe80::1%eth0"),
        ] {
            let rule: HostRule = text.parse().unwrap();
            assert_eq!(rule.user.as_deref(), user, "{text}");
            assert_eq!(rule.known_as(), known_as, "{text}");
            assert_eq!(rule.to_string().parse(), Ok(rule), "{text}");
        }
    }

    #[test]
    fn what_could_mean_more_than_one_host_is_refused() {
        for odd in [
            "",
            "@web1",
            "web1@",
            "web1:",
            "web1:0",
            "web1:+22",
            "web1:65536",
            "*.example",
            "web?",
            "!web1",
            "|1|abc",
            "2001:db8::1",
            "[web1]:22",
            "[::1]22",
            "[::1",
            "[fe80::1%]",
            "192.0.2",
            "192.0.2.300",
            "-web1",
            "wéb1",
            "a b",
            "web1/24",
        ] {
            assert_eq!(odd.parse::<HostRule>(), Err(NoHostRule), "{odd}");
        }
        assert_eq!(hosts(""), Ok(Vec::new()));
        assert_eq!(hosts("web1, backup@db1\tdb2").unwrap().len(), 3);
        for empty in [",", " , "] {
            assert!(hosts(empty).is_err(), "{empty}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_as_it_was(text in "[a-z0-9@:.%\\[\\]-]{0,20}", any: String) {
            let _ = any.parse::<HostRule>();
            if let Ok(rule) = text.parse::<HostRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }
}
