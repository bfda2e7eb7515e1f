//! The servers of several `--connect` options, or of the key `connect`. Connections to all of them run in parallel.

use std::fmt;

use super::{Target, TargetError};
use crate::ini::is_space;

/// Value of the option that discards the servers before it.
pub const NONE: &str = "none";

/// Servers to connect to. Without any, servers are searched for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerList {
    /// In the given order, without duplicates.
    pub named: Vec<NamedServer>,
    /// Items that are no server.
    pub refused: Vec<RefusedServer>,
    /// Items that repeat a server.
    pub repeated: Vec<String>,
}

/// One server and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedServer {
    /// Host and port of the server.
    pub target: Target,
    /// The text as it was given.
    pub word: String,
}

/// An item that is no server.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{word:?} names no server: {why}")]
pub struct RefusedServer {
    /// The text as it was given.
    pub word: String,
    /// The parser's reason.
    pub why: TargetError,
}

impl ServerList {
    /// Parses the values of options, one server each. [`NONE`] discards those before it.
    pub fn from_options<'w>(values: impl IntoIterator<Item = &'w str>) -> Self {
        let mut servers = Self::default();
        for value in values {
            match value {
                NONE => servers = Self::default(),
                value => servers.add(value),
            }
        }
        servers
    }

    /// Parses a list in a file, with commas or white space between servers.
    pub fn parse_list(list: &str) -> Self {
        let mut servers = Self::default();
        let words = list.split(|c: char| c == ',' || is_space(c) || c == '\n');
        words
            .filter(|word| !word.is_empty())
            .for_each(|word| servers.add(word));
        servers
    }

    /// Hosts and ports in the given order.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.named.iter().map(|server| &server.target)
    }

    /// True when all given servers were refused.
    pub fn are_all_refused(&self) -> bool {
        self.named.is_empty() && !self.refused.is_empty()
    }

    fn add(&mut self, word: &str) {
        let word = word.to_owned();
        match word.parse() {
            Ok(target) if self.targets().any(|known| *known == target) => self.repeated.push(word),
            Ok(target) => self.named.push(NamedServer { target, word }),
            Err(why) => self.refused.push(RefusedServer { word, why }),
        }
    }
}

/// Prints it as a list in a file.
impl fmt::Display for ServerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, target) in self.targets().enumerate() {
            let between = if number == 0 { "" } else { ", " };
            write!(f, "{between}{target}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(values: &[&str]) -> ServerList {
        ServerList::from_options(values.iter().copied())
    }

    #[test]
    fn servers_are_kept_in_their_order() {
        let all = "[fe80::1%eth0]:4711, 192.0.2.1:4711, home.example:4711, [2001:db8::1]:4711";
        let written = "fe80::1%eth0:4711 ,192.0.2.1:4711\n\thome.example:4711,,2001:db8::1:4711,";
        let servers = ServerList::parse_list(written);
        assert_eq!(servers.to_string(), all);
        assert!(servers.refused.is_empty() && servers.repeated.is_empty());
        assert_eq!(servers.named[0].word, "fe80::1%eth0:4711");
        let values: Vec<&str> = all.split(", ").collect();
        assert_eq!(options(&values).to_string(), all);
        assert_eq!(ServerList::parse_list(" ,\n, "), ServerList::default());
    }

    #[test]
    fn a_bad_item_does_not_affect_good_ones() {
        let servers = ServerList::parse_list("192.0.2.1:4711, 192.0.2.2 :4711");
        assert_eq!(servers.to_string(), "192.0.2.1:4711");
        let told: Vec<String> = servers.refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "\"192.0.2.2\" names no server: expected ADDRESS:PORT, such as 192.0.2.7:4711 or [fe80::1%eth0]:4711; \
                 found no port",
                "\":4711\" names no server: expected an IP address or a host name, found \"\"",
            ]
        );
        assert!(!servers.are_all_refused());
        assert!(ServerList::parse_list("x").are_all_refused());
        assert!(!options(&[]).are_all_refused());
    }

    #[test]
    fn a_server_is_recognised_in_every_spelling() {
        let servers = options(&[
            "fe80::1:4711",
            "[fe80::1]:4711",
            "::ffff:192.0.2.1:1",
            "192.0.2.1:1",
        ]);
        assert_eq!(servers.to_string(), "[fe80::1]:4711, 192.0.2.1:1");
        assert_eq!(servers.repeated, ["[fe80::1]:4711", "192.0.2.1:1"]);
    }

    #[test]
    fn none_discards_the_servers_before_it() {
        let servers = options(&["192.0.2.1:1", "x", "none", "192.0.2.2:2"]);
        assert_eq!(servers, options(&["192.0.2.2:2"]));
        assert_eq!(options(&["192.0.2.1:1", "none"]), ServerList::default());
    }

    proptest! {
        #[test]
        fn a_parsed_list_prints_to_the_same_servers(
            list in "([-0-9a-fz:.%\\[\\]]{0,20}(:1)?[, \n]{1,2}){0,4}|.*",
        ) {
            let servers = ServerList::parse_list(&list);
            let again = ServerList::parse_list(&servers.to_string());
            prop_assert_eq!(
                servers.targets().collect::<Vec<_>>(),
                again.targets().collect::<Vec<_>>()
            );
            prop_assert!(again.refused.is_empty() && again.repeated.is_empty());
            let values: Vec<String> = servers.targets().map(ToString::to_string).collect();
            let options = ServerList::from_options(values.iter().map(String::as_str));
            prop_assert_eq!(options.to_string(), servers.to_string());
        }
    }
}
