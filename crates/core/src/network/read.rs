//! Parser of `network.conf`: one section for each link.

use std::str::FromStr;

use super::keywords::{self, Keyword, YesNo};
use super::{
    Bond, BondMode, Cidr, DHCP, Definition, DeviceMatch, FormatError, Link, LinkConflict, LinkKind,
    LinkName,
};

/// Every key, with the kinds of links that have it.
pub const KEYS: [(&str, &[&str]); 20] = [
    ("kind", &["device", "vlan", "bond", "bridge"]),
    ("match-mac", &["device"]),
    ("match-driver", &["device"]),
    ("match-path", &["device"]),
    ("id", &["vlan"]),
    ("parent", &["vlan"]),
    ("protocol", &["vlan"]),
    ("mode", &["bond"]),
    ("miimon", &["bond"]),
    ("lacp-rate", &["bond"]),
    ("hash-policy", &["bond"]),
    ("primary", &["bond"]),
    ("members", &["bond", "bridge"]),
    ("stp", &["bridge"]),
    ("forward-delay", &["bridge"]),
    ("mac", &["device", "vlan", "bond", "bridge"]),
    ("mtu", &["device", "vlan", "bond", "bridge"]),
    ("addresses", &["device", "vlan", "bond", "bridge"]),
    ("routes", &["device", "vlan", "bond", "bridge"]),
    ("stands-for", &["device", "vlan", "bond", "bridge"]),
];

/// An error in a `network.conf`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct NetworkConfError {
    /// Line number, from 1.
    pub line: usize,
    /// Name of the section with the error, if it can be the name of a link. The boot client leaves the section out.
    pub link: Option<LinkName>,
    /// The error itself.
    pub kind: NetworkConfErrorKind,
}

/// Kinds of errors in a `network.conf`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NetworkConfErrorKind {
    /// An unexpected value.
    #[error("expected {expected}, found {found:?}")]
    Expected { expected: String, found: String },
    /// A key that links of this kind lack, or a duplicate.
    #[error("{key} may not stand here: it is no key of a {kind}, or it stands here already")]
    Key { key: String, kind: String },
    /// A required key is missing.
    #[error("a {kind} needs {key}")]
    Missing {
        key: &'static str,
        kind: &'static str,
    },
    /// A conflict between links.
    #[error(transparent)]
    Conflict(#[from] LinkConflict),
}

impl Definition {
    /// Parses a file's text strictly.
    ///
    /// # Errors
    /// All errors, in the order in which they are found.
    pub fn parse(text: &str) -> Result<Self, Vec<NetworkConfError>> {
        match Self::recover(text) {
            (definition, faults) if faults.is_empty() => Ok(definition),
            (_, faults) => Err(faults),
        }
    }

    /// Parses a file's text and leaves out the links with errors: at boot a part of the network is better than none.
    pub fn recover(text: &str) -> (Self, Vec<NetworkConfError>) {
        let mut faults = Vec::new();
        let mut links = Vec::new();
        let mut lines = Vec::new();
        for section in sections(text, &mut faults) {
            match link(&section) {
                Ok(link) => {
                    links.push(link);
                    lines.push(section.line);
                }
                Err(fault) => faults.push(*fault),
            }
        }
        while let Some((index, conflict)) = super::conflict(&links) {
            faults.push(NetworkConfError {
                line: lines.remove(index),
                link: Some(links.remove(index).name),
                kind: conflict.into(),
            });
        }
        (Self::sorted(links), faults)
    }
}

/// One section: line and name of its header, and its keys, each with value and line.
struct LinkSection<'t> {
    line: usize,
    name: &'t str,
    keys: Vec<(&'t str, &'t str, usize)>,
}

/// Splits a file into sections: `[name]`, `key = value` in one line, comments at the start of a line. The full dialect
/// of the other files would take a tenth of the boot client's space for this whole module.
fn sections<'t>(text: &'t str, faults: &mut Vec<NetworkConfError>) -> Vec<LinkSection<'t>> {
    let mut sections: Vec<LinkSection<'t>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = number + 1;
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let header = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        match (header, line.split_once('='), sections.last_mut()) {
            (Some(name), ..) => sections.push(LinkSection {
                line: number,
                name,
                keys: Vec::new(),
            }),
            (None, Some((key, value)), Some(section)) => {
                section
                    .keys
                    .push((key.trim_end(), value.trim_start(), number));
            }
            _ => faults.push(NetworkConfError {
                line: number,
                link: None,
                kind: expected("[LINK], or KEY = VALUE below one", line),
            }),
        }
    }
    sections
}

fn expected(expected: impl Into<String>, found: &str) -> NetworkConfErrorKind {
    NetworkConfErrorKind::Expected {
        expected: expected.into(),
        found: found.to_owned(),
    }
}

/// Parses the section of one link up to its first error, which is boxed to reduce code size.
fn link(section: &LinkSection<'_>) -> Result<Link, Box<NetworkConfError>> {
    let name = section.parsed("", section.name)?;
    let word = section.text("kind").unwrap_or("device");
    section.check_keys(word)?;
    let kind = match word {
        "vlan" => LinkKind::Vlan {
            id: section
                .value("id")?
                .ok_or_else(|| section.missing("id", "vlan"))?,
            parent: section
                .value("parent")?
                .ok_or_else(|| section.missing("parent", "vlan"))?,
            protocol: section.keyword("protocol")?.unwrap_or_default(),
        },
        "bond" => LinkKind::Bond(section.bond()?),
        "bridge" => LinkKind::Bridge {
            members: section.members("bridge")?,
            stp: section.keyword("stp")?.unwrap_or(YesNo::No) == YesNo::Yes,
            forward_delay: section.value("forward-delay")?,
        },
        _ => LinkKind::Device(DeviceMatch {
            mac: section.value("match-mac")?,
            driver: section.text("match-driver").map(str::to_owned),
            path: section.text("match-path").map(str::to_owned),
        }),
    };
    let mut addresses = section.list("addresses", char::is_whitespace)?;
    let given = addresses.len();
    addresses.retain(|it| *it != AddressSetting::Dhcp);
    let statics = |it| match it {
        AddressSetting::Static(cidr) => Some(cidr),
        AddressSetting::Dhcp => None,
    };
    Ok(Link {
        name,
        kind,
        mac: section.value("mac")?,
        mtu: section.value("mtu")?,
        dhcp: addresses.len() < given,
        addresses: addresses.into_iter().filter_map(statics).collect(),
        routes: section.list("routes", |c| c == ',')?,
        stands_for: section.list("stands-for", char::is_whitespace)?,
    })
}

/// One item of `addresses`.
#[derive(PartialEq, Eq)]
enum AddressSetting {
    Dhcp,
    Static(Cidr),
}

impl FromStr for AddressSetting {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let wrong = |_| {
            FormatError("dhcp, or an address with the length of its network, such as 192.0.2.7/24")
        };
        match text {
            DHCP => Ok(Self::Dhcp),
            _ => text.parse().map(Self::Static).map_err(wrong),
        }
    }
}

impl LinkSection<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        let entry = self.keys.iter().find(|(known, ..)| *known == key);
        entry.map(|(_, value, _)| *value).filter(|v| !v.is_empty())
    }

    fn fault(&self, key: &str, wrong: NetworkConfErrorKind) -> Box<NetworkConfError> {
        let entry = self.keys.iter().find(|(known, ..)| *known == key);
        self.fault_in(entry.map_or(self.line, |(.., line)| *line), wrong)
    }

    fn fault_in(&self, line: usize, kind: NetworkConfErrorKind) -> Box<NetworkConfError> {
        Box::new(NetworkConfError {
            line,
            link: self.name.parse().ok(),
            kind,
        })
    }

    fn missing(&self, key: &'static str, kind: &'static str) -> Box<NetworkConfError> {
        self.fault("", NetworkConfErrorKind::Missing { key, kind })
    }

    /// Checks the kind, and that each key belongs to it and stands once.
    fn check_keys(&self, kind: &str) -> Result<(), Box<NetworkConfError>> {
        let kinds = KEYS[0].1;
        if !kinds.contains(&kind) {
            let kinds = format!("one of {}", kinds.join(", "));
            return Err(self.fault("kind", expected(kinds, kind)));
        }
        for (index, (key, _, line)) in self.keys.iter().enumerate() {
            let known = KEYS.iter().find(|(known, _)| known == key);
            let known = known.is_some_and(|(_, kinds)| kinds.contains(&kind));
            if !known || self.keys.iter().take(index).any(|(other, ..)| other == key) {
                let wrong = NetworkConfErrorKind::Key {
                    key: (*key).to_owned(),
                    kind: kind.to_owned(),
                };
                return Err(self.fault_in(*line, wrong));
            }
        }
        Ok(())
    }

    fn parsed<T: FromStr<Err = FormatError>>(
        &self,
        key: &str,
        text: &str,
    ) -> Result<T, Box<NetworkConfError>> {
        text.parse()
            .map_err(|error: FormatError| self.fault(key, expected(error.0, text)))
    }

    fn value<T: FromStr<Err = FormatError>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, Box<NetworkConfError>> {
        match self.text(key) {
            Some(text) => self.parsed(key, text).map(Some),
            None => Ok(None),
        }
    }

    fn list<T: FromStr<Err = FormatError>>(
        &self,
        key: &str,
        between: fn(char) -> bool,
    ) -> Result<Vec<T>, Box<NetworkConfError>> {
        let mut list = Vec::new();
        for item in self.text(key).unwrap_or_default().split(between) {
            if !item.trim().is_empty() {
                list.push(self.parsed(key, item)?);
            }
        }
        Ok(list)
    }

    fn members(&self, kind: &'static str) -> Result<Vec<LinkName>, Box<NetworkConfError>> {
        let mut members: Vec<LinkName> = Vec::new();
        for member in self.list("members", char::is_whitespace)? {
            if !members.contains(&member) {
                members.push(member);
            }
        }
        match members.is_empty() {
            true => Err(self.missing("members", kind)),
            false => Ok(members),
        }
    }

    fn bond(&self) -> Result<Bond, Box<NetworkConfError>> {
        let bond = Bond {
            mode: self.keyword("mode")?.unwrap_or(BondMode::RoundRobin),
            miimon: self.value("miimon")?.unwrap_or_default(),
            lacp_rate: self.keyword("lacp-rate")?,
            hash_policy: self.keyword("hash-policy")?,
            primary: self.value("primary")?,
            members: self.members("bond")?,
        };
        match &bond.primary {
            Some(primary) if !bond.members.contains(primary) => {
                Err(self.fault("primary", expected("one of the members", primary.as_str())))
            }
            _ => Ok(bond),
        }
    }

    fn keyword<T: Keyword>(&self, key: &'static str) -> Result<Option<T>, Box<NetworkConfError>> {
        let index = self.choice(key, T::KEYWORDS)?;
        Ok(index.and_then(|index| T::ALL.get(index).copied()))
    }

    fn choice(
        &self,
        key: &str,
        choices: &[(&str, u16)],
    ) -> Result<Option<usize>, Box<NetworkConfError>> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        match keywords::index_of(text, choices) {
            None => Err(self.fault(
                key,
                expected(format!("one of {}", keywords::list(choices)), text),
            )),
            index => Ok(index),
        }
    }
}
